#include <algorithm>
#include <limits>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"

namespace dfs::master {
namespace {

constexpr std::size_t kUuidDigits = 32;
constexpr std::size_t kAddressBytesMax = 263;  // a host name of 255 bytes, ':' and a port

Status check(OpContext& context, const RegisterNodeRequest& request) {
  const bool is_hex = std::all_of(request.uuid.begin(), request.uuid.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (request.uuid.size() != kUuidDigits || !is_hex) {
    return make_error(ErrorCode::kInvalidArgument, "a uuid is 32 hexadecimal digits");
  }
  const bool is_bounded = request.address.size() <= kAddressBytesMax &&
                          request.zone.size() <= kNameBytesMax &&
                          request.directories.size() <= kNodeDirectoriesMax;
  if (request.address.empty() || !is_bounded) {
    return make_error(ErrorCode::kInvalidArgument, "address, zone or directories out of bounds");
  }
  DFS_TRY(const std::string cluster_id, context.store.cluster_id());
  if (!request.cluster_id.empty() && request.cluster_id != cluster_id) {
    return make_error(ErrorCode::kWrongCluster, "the server belongs to cluster " +
                                                    request.cluster_id + ", this is " + cluster_id);
  }
  return ok();
}

// The server's row, new or brought up to date.
Result<NodeRow> update_row(OpContext& context, const RegisterNodeRequest& request) {
  NodeTable& nodes = context.chunks.nodes();
  const KnownNode* known = nodes.find_by_uuid(request.uuid);
  NodeRow row = known == nullptr ? NodeRow{} : known->row;
  const bool is_same =
      known != nullptr && row.address == request.address && row.zone == request.zone;
  if (is_same) {
    return row;
  }
  if (known == nullptr) {
    if (nodes.size() >= kNodesMax) {
      return make_error(ErrorCode::kBusy, "too many chunkservers");
    }
    DFS_TRY(const std::uint64_t id, context.take_number(Counter::kNextNode));
    DFS_ASSERT(id <= std::numeric_limits<std::uint32_t>::max());
    row.node = NodeId{static_cast<std::uint32_t>(id)};
    row.uuid = request.uuid;
  }
  row.address = request.address;
  row.zone = request.zone;
  DFS_CHECK_OK(context.store.put_node(row));
  context.durable = true;  // the server writes its id's cluster down: it must stay true
  return row;
}

}  // namespace

Result<RegisterNodeReply> apply(OpContext& context, const RegisterNodeRequest& request) {
  ChunkManager& chunks = context.chunks;
  DFS_CHECK_OK(check(context, request));
  DFS_TRY(const NodeRow row, update_row(context, request));
  DFS_TRY(const std::uint64_t next_chunk, context.store.counter(Counter::kNextChunk));
  KnownNode& node = chunks.nodes().put(row, chunks.world().scheduler.now());
  const bool is_restarted = !node.is_registered || node.incarnation != request.incarnation;
  node.is_registered = true;
  node.incarnation = request.incarnation;
  node.directories = request.directories;
  node.requests_in_progress = 0;
  node.written_bytes = 0;
  if (is_restarted) {
    // It reports its inventory by itself after this; if that gets lost, heartbeats ask for it.
    node.inventory_wanted = true;
    node.inventory_asked = true;
    node.inventory_bound = ChunkId{next_chunk};
    chunks.world().log.info("A chunkserver registered. node=" + std::to_string(row.node.value) +
                            " address=" + row.address + " zone=" + row.zone);
  }
  chunks.heard_from(node);
  DFS_TRY(std::string cluster_id, context.store.cluster_id());
  const auto heartbeat =
      std::chrono::duration_cast<std::chrono::milliseconds>(chunks.options().heartbeat_interval);
  return RegisterNodeReply{row.node, std::move(cluster_id),
                           static_cast<std::uint32_t>(heartbeat.count())};
}

}  // namespace dfs::master
