#include <chrono>

#include "common/version.h"
#include "master/core/chunk_manager.h"
#include "master/core/lease_table.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"
#include "master/core/session_table.h"

namespace dfs::master {
namespace {

// Looks at every chunk and its replicas: a few microseconds each.
Status count_chunk(OpContext& context, const ChunkRow& chunk, ClusterStatusReply& reply) {
  ++reply.chunks;
  reply.live_bytes += chunk.live_bytes;
  reply.chunks_open += chunk.state == ChunkState::kSealed ? 0 : 1;
  if (chunk.state == ChunkState::kSealed && chunk.live_bytes == 0) {
    return ok();  // on its way out: nobody misses its replicas
  }
  DFS_TRY(const auto replicas, context.store.replicas(chunk.chunk));
  std::uint32_t good_and_live = 0;
  bool is_damaged = false;
  for (const ReplicaRow& replica : replicas) {
    const KnownNode* node = context.chunks.nodes().find(replica.node);
    const bool is_live = node != nullptr && node->is_up();
    good_and_live += is_live && replica.state == ReplicaRowState::kGood ? 1 : 0;
    is_damaged = is_damaged || replica.state == ReplicaRowState::kDamaged;
  }
  reply.chunks_degraded += good_and_live < chunk.policy.replicas ? 1 : 0;
  reply.chunks_unavailable += good_and_live == 0 ? 1 : 0;
  reply.chunks_damaged += is_damaged ? 1 : 0;
  return ok();
}

Status count_chunks(OpContext& context, ClusterStatusReply& reply) {
  constexpr std::size_t kChunksPerScan = 1024;
  ChunkId after;
  for (;;) {
    DFS_TRY(const auto chunks, context.store.scan_chunks(after, kChunksPerScan));
    for (const ChunkRow& chunk : chunks) {
      DFS_CHECK_OK(count_chunk(context, chunk, reply));
      after = chunk.chunk;
    }
    if (chunks.size() < kChunksPerScan) {
      return ok();
    }
  }
}

void count_nodes(ChunkManager& chunks, ClusterStatusReply& reply) {
  for (const auto& [id, node] : chunks.nodes().all()) {
    if (node.takes_chunks() && chunks.chunk_room_on(id) < kChunkCapacityBytesMin) {
      reply.nodes_full.push_back(node.row.address);
    }
    if (node.is_up()) {
      ++reply.nodes_up;
      reply.total_bytes += node.total_bytes();
      reply.available_bytes += node.available_bytes();
    } else {
      ++reply.nodes_down;
    }
  }
}

}  // namespace

Result<ClusterStatusReply> apply(OpContext& context, const ClusterStatusRequest& /*request*/) {
  ClusterStatusReply reply;
  DFS_TRY(reply.cluster_id, context.store.cluster_id());
  reply.version = kVersion;
  reply.uptime_s = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(context.uptime).count());
  DFS_TRY(reply.inodes, context.store.counter(Counter::kInodes));
  DFS_TRY(reply.orphans, context.store.orphan_count());
  reply.sessions = context.sessions.count();
  reply.leases = context.leases.count();
  reply.write_leases = context.leases.written_count();
  reply.leases_max = context.leases.leases_max();
  reply.recalls = context.leases.unhandled_count();
  reply.oldest_recall_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(context.leases.oldest_unhandled())
          .count());
  reply.leases_over_limit = context.leases.recalled_count();
  count_nodes(context.chunks, reply);
  DFS_CHECK_OK(count_chunks(context, reply));
  DFS_TRY(reply.database_bytes, context.store.database_bytes());
  DFS_TRY(const auto root, context.store.inode(kRootInode));
  if (root) {
    reply.root_policy = root->attributes.policy;
  }
  return reply;
}

}  // namespace dfs::master
