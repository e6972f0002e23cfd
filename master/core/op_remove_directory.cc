#include "master/core/namespace_rows.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<UnlinkReply> apply(OpContext& context, const RemoveDirectoryRequest& request) {
  DFS_CHECK_OK(check_name(request.name));
  DFS_TRY(InodeRow parent, require_directory(context, request.parent));
  DFS_TRY(const EntryRow entry, require_entry(context, request.parent, request.name));
  DFS_TRY(InodeRow directory, require_directory(context, entry.inode));
  DFS_TRY(const bool is_empty, is_directory_empty(context, entry.inode));
  if (!is_empty) {
    return make_error(ErrorCode::kNotEmpty);
  }
  DFS_CHECK_OK(context.store.erase_entry(request.parent, entry.cookie));
  DFS_CHECK_OK(drop_link(context, directory));
  remove_subdirectory_link(parent);
  DFS_CHECK_OK(touch_directory(context, parent));
  DFS_CHECK_OK(context.store.put_inode(parent));
  context.grant(parent.attributes);
  return UnlinkReply{
      .inode = entry.inode, .link_count = 0, .parent = parent.attributes, .lease = 0};
}

}  // namespace dfs::master
