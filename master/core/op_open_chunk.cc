#include <algorithm>

#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "master/core/open_chunks.h"
#include "master/core/operations.h"
#include "master/core/placement.h"

namespace dfs::master {
namespace {

std::vector<PlacementNode> candidates(ChunkManager& chunks, const std::vector<NodeId>& avoid) {
  std::vector<PlacementNode> nodes;
  for (const auto& [id, state] : chunks.nodes().all()) {
    if (!state.takes_chunks()) {
      continue;
    }
    PlacementNode node;
    node.node = id;
    node.zone = state.row.zone;
    node.room_bytes = chunks.chunk_room_on(id);
    node.load = state.requests_in_progress + chunks.open_chunks().count_on(id);
    node.avoid = state.is_suspect || std::find(avoid.begin(), avoid.end(), id) != avoid.end();
    nodes.push_back(std::move(node));
  }
  return nodes;
}

OpenChunkReply reply_for(NodeTable& nodes, const ChunkRow& row, const std::vector<NodeId>& placed) {
  OpenChunkReply reply;
  reply.chunk = row.chunk;
  reply.epoch = row.epoch;
  reply.capacity_bytes = row.capacity_bytes;
  reply.nodes = placed;
  for (const NodeId node : placed) {
    reply.addresses.push_back(nodes.find(node)->row.address);
  }
  return reply;
}

}  // namespace

Result<OpenChunkReply> apply(OpContext& context, const OpenChunkRequest& request) {
  ChunkManager& chunks = context.chunks;
  if (!is_valid(request.policy)) {
    return make_error(ErrorCode::kInvalidArgument, "impossible storage policy");
  }
  OpenChunks& open_chunks = chunks.open_chunks();
  if (open_chunks.count_of(context.session) >= chunks.options().open_chunks_per_session_max) {
    return make_error(ErrorCode::kBusy, "the session has too many open chunks");
  }
  DFS_TRY(Placement placement,
          place_chunk(candidates(chunks, request.avoid), request.policy, chunks.world().random));
  DFS_TRY(const std::uint64_t id, context.take_number(Counter::kNextChunk));
  ChunkRow row;
  row.chunk = ChunkId{id};
  row.epoch = Epoch{1};
  row.capacity_bytes = placement.capacity_bytes;
  row.policy = request.policy;
  row.owner = context.session;
  DFS_CHECK_OK(context.store.put_chunk(row));
  for (const NodeId node : placement.nodes) {
    DFS_CHECK_OK(context.store.put_replica({row.chunk, node, ReplicaRowState::kGood}));
  }
  open_chunks.add({row.chunk, row.owner, row.capacity_bytes, 0, placement.nodes});
  context.on_rollback([&open_chunks, chunk = row.chunk] { open_chunks.remove(chunk); });
  return reply_for(chunks.nodes(), row, placement.nodes);
}

}  // namespace dfs::master
