#include "master/core/namespace_rows.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<ReadLinkReply> apply(OpContext& context, const ReadLinkRequest& request) {
  DFS_TRY(const InodeRow row, require_inode(context, request.inode));
  if (!row.attributes.is_symlink()) {
    return make_error(ErrorCode::kInvalidArgument, "not a symlink");
  }
  return ReadLinkReply{.target = row.symlink_target};
}

}  // namespace dfs::master
