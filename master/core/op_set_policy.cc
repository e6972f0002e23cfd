#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "master/core/placement.h"

namespace dfs::master {

Result<EmptyReply> apply(OpContext& context, const SetPolicyRequest& request) {
  if (!is_valid(request.policy)) {
    return make_error(ErrorCode::kInvalidArgument, "impossible storage policy");
  }
  DFS_TRY(InodeRow inode, require_inode(context, request.inode));
  inode.attributes.policy = request.policy;
  inode.attributes.ctime = context.now;
  DFS_CHECK_OK(context.store.put_inode(inode));
  context.durable = true;  // no client would tell it again after a power loss
  return EmptyReply{};
}

}  // namespace dfs::master
