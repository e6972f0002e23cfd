#include "master/core/lease_table.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {

Result<EmptyReply> apply(OpContext& context, const ReleaseWriteLeasesRequest& request) {
  if (request.inodes.size() > kReleasedLeasesMax) {
    return make_error(ErrorCode::kInvalidArgument, "too many leases are given up at once");
  }
  for (const InodeId inode : request.inodes) {
    context.leases.end_writing(context.session, inode);
  }
  return EmptyReply{};
}

}  // namespace dfs::master
