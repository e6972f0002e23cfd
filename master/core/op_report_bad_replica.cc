#include "master/core/chunk_manager.h"
#include "master/core/operations.h"
#include "master/core/replica_marks.h"

namespace dfs::master {

Result<EmptyReply> apply(OpContext& context, const ReportBadReplicaRequest& request) {
  const ErrorCode failure = error_code_from_wire(request.failure);
  ReplicaRow replica{request.chunk, request.node, ReplicaRowState::kDamaged};
  if (failure == ErrorCode::kNoSuchChunk) {
    replica.state = ReplicaRowState::kMissing;
  } else if (failure != ErrorCode::kCorrupt && failure != ErrorCode::kIo) {
    return make_error(ErrorCode::kInvalidArgument, "not a failure of a replica");
  }
  DFS_CHECK_OK(mark_replica(context, replica,
                            std::string("a reader found ") + error_code_name(failure) +
                                " in block " + std::to_string(request.block_offset) + "."));
  return EmptyReply{};
}

}  // namespace dfs::master
