#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"
#include "master/core/replica_marks.h"

namespace dfs::master {

Result<EmptyReply> apply(OpContext& context, const ReportReplicasRequest& request) {
  if (context.chunks.nodes().find(request.node) == nullptr) {
    return make_error(ErrorCode::kStale, "the server is not registered");
  }
  ReplicaMarks marks(context);
  for (const ReplicaInfo& replica : request.damaged) {
    DFS_CHECK_OK(marks.mark({replica.chunk, request.node, ReplicaRowState::kDamaged},
                            "its server found bad blocks."));
  }
  for (const ChunkId chunk : request.lost) {
    DFS_CHECK_OK(marks.mark({chunk, request.node, ReplicaRowState::kMissing},
                            "its data directory was lost."));
  }
  marks.log_rest(request.node);
  return EmptyReply{};
}

}  // namespace dfs::master
