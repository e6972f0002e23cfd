#include <chrono>

#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "master/core/open_chunks.h"
#include "master/core/operations.h"

namespace dfs::master {
namespace {

dfs::NodeState shown_state(const KnownNode& node) {
  if (!node.is_up()) {
    return dfs::NodeState::kDown;
  }
  return node.row.draining ? dfs::NodeState::kDraining : dfs::NodeState::kUp;
}

}  // namespace

Result<ListNodesReply> apply(OpContext& context, const ListNodesRequest& /*request*/) {
  ChunkManager& chunks = context.chunks;
  const MonoTime now = chunks.world().scheduler.now();
  ListNodesReply reply;
  for (const auto& [id, node] : chunks.nodes().all()) {
    NodeInfo info;
    info.node = id;
    info.uuid = node.row.uuid;
    info.address = node.row.address;
    info.zone = node.row.zone;
    info.state = static_cast<std::uint8_t>(shown_state(node));
    info.heard_ms_ago = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(now - node.heard).count());
    DFS_TRY(info.replicas, context.store.node_replica_count(id));
    info.reserved_bytes = chunks.open_chunks().unused_bytes_on(id);
    info.directories = node.directories;
    reply.nodes.push_back(std::move(info));
  }
  return reply;
}

}  // namespace dfs::master
