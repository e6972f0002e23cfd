#include <optional>

#include "master/core/namespace_rows.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<UnlinkReply> apply(OpContext& context, const UnlinkRequest& request) {
  DFS_CHECK_OK(check_name(request.name));
  DFS_TRY(InodeRow parent, require_directory(context, request.parent));
  DFS_TRY(const EntryRow entry, require_entry(context, request.parent, request.name));
  DFS_TRY(std::optional<InodeRow> inode, context.store.inode(entry.inode));
  if (inode && inode->attributes.is_directory()) {
    return make_error(ErrorCode::kIsDirectory);
  }
  UnlinkReply reply{.inode = entry.inode, .link_count = 0, .parent = {}, .lease = 0};
  DFS_CHECK_OK(context.store.erase_entry(request.parent, entry.cookie));
  // A name without an inode is damage; removing it is all that can be done about it.
  if (inode) {
    DFS_CHECK_OK(drop_link(context, *inode));
    reply.link_count = inode->attributes.link_count;
    reply.is_open_elsewhere = is_open_elsewhere(context, entry.inode);
  }
  DFS_CHECK_OK(touch_directory(context, parent));
  DFS_CHECK_OK(context.store.put_inode(parent));
  reply.parent = parent.attributes;
  context.grant(parent.attributes);
  return reply;
}

}  // namespace dfs::master
