// What dfs-admin shows about chunks: those it names, and all of them in pages.
#include <algorithm>
#include <optional>

#include "master/core/chunk_manager.h"
#include "master/core/lease_table.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"
#include "master/core/session_table.h"

namespace dfs::master {
namespace {

constexpr std::size_t kDescriptionsMax = 1024;  // of one answer: well below kHeadBytesMax

std::optional<ReplicaState> shown_state(ReplicaRowState state) {
  switch (state) {
    case ReplicaRowState::kGood: return ReplicaState::kGood;
    case ReplicaRowState::kDamaged: return ReplicaState::kDamaged;
    case ReplicaRowState::kMissing: return ReplicaState::kMissing;
    case ReplicaRowState::kDeleting: return std::nullopt;
  }
  return std::nullopt;
}

Result<ChunkDescription> describe(OpContext& context, const ChunkRow& row) {
  ChunkDescription description;
  description.chunk = row.chunk;
  description.epoch = row.epoch;
  description.sealed = row.state == ChunkState::kSealed;
  description.length_bytes = row.length_bytes;
  description.live_bytes = row.live_bytes;
  description.policy = row.policy;
  DFS_TRY(const auto replicas, context.store.replicas(row.chunk));
  for (const ReplicaRow& replica : replicas) {
    const auto state = shown_state(replica.state);
    const KnownNode* node = context.chunks.nodes().find(replica.node);
    if (state && node != nullptr) {
      description.replicas.push_back(
          {replica.node, node->row.address, static_cast<std::uint8_t>(*state), node->is_up()});
    }
  }
  return description;
}

}  // namespace

Result<DescribeChunksReply> apply(OpContext& context, const DescribeChunksRequest& request) {
  if (request.chunks.size() > kDescriptionsMax) {
    return make_error(ErrorCode::kTooLarge, "too many chunks in one question");
  }
  DescribeChunksReply reply;
  for (const ChunkId chunk : request.chunks) {
    DFS_TRY(const auto row, context.store.chunk(chunk));
    if (row) {
      DFS_TRY(ChunkDescription description, describe(context, *row));
      reply.chunks.push_back(std::move(description));
    }
  }
  if (const auto writer = context.sessions.describe(context.leases.writer(request.written))) {
    reply.writer = writer->name;
  }
  return reply;
}

Result<ListChunksReply> apply(OpContext& context, const ListChunksRequest& request) {
  const std::size_t limit = std::clamp<std::size_t>(request.chunks_max, 1, kDescriptionsMax);
  DFS_TRY(const auto rows, context.store.scan_chunks(request.after, limit));
  ListChunksReply reply;
  for (const ChunkRow& row : rows) {
    DFS_TRY(ChunkDescription description, describe(context, row));
    reply.chunks.push_back(std::move(description));
  }
  reply.end = rows.size() < limit;
  return reply;
}

}  // namespace dfs::master
