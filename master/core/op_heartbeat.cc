#include <algorithm>

#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"

namespace dfs::master {
namespace {

// One line when a directory fails and one when it works again.
void log_directories(Log& log, const KnownNode& node, const std::vector<DirectoryInfo>& now) {
  for (const DirectoryInfo& directory : now) {
    const auto before =
        std::find_if(node.directories.begin(), node.directories.end(),
                     [&](const DirectoryInfo& d) { return d.path == directory.path; });
    const bool had_failed = before != node.directories.end() && before->failed;
    if (directory.failed != had_failed) {
      log.write(directory.failed ? LogLevel::kError : LogLevel::kInfo,
                std::string("A data directory of a chunkserver ") +
                    (directory.failed ? "failed: " + directory.failure : "works again.") +
                    " node=" + std::to_string(node.row.node.value) +
                    " address=" + node.row.address + " path=" + directory.path);
    }
  }
}

}  // namespace

Result<HeartbeatReply> apply(OpContext& context, const HeartbeatRequest& request) {
  ChunkManager& chunks = context.chunks;
  KnownNode* node = chunks.nodes().find(request.node);
  if (node == nullptr || !node->is_registered || node->incarnation != request.incarnation) {
    return make_error(ErrorCode::kStale, "the server is not registered");
  }
  if (request.directories.size() > kNodeDirectoriesMax) {
    return make_error(ErrorCode::kInvalidArgument, "too many data directories");
  }
  if (!node->is_up()) {
    node->inventory_wanted = true;  // it may have missed fences while it was silent
  }
  log_directories(chunks.world().log, *node, request.directories);
  node->directories = request.directories;
  node->requests_in_progress = request.requests_in_progress;
  node->written_bytes = 0;
  chunks.heard_from(*node);
  if (node->inventory_wanted && !node->inventory_asked) {
    DFS_TRY(const std::uint64_t next_chunk, context.store.counter(Counter::kNextChunk));
    node->inventory_asked = true;
    node->inventory_bound = ChunkId{next_chunk};
  }
  return HeartbeatReply{node->inventory_wanted};
}

}  // namespace dfs::master
