#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {

Result<EntryReply> apply(OpContext& context, const LinkRequest& request) {
  DFS_CHECK_OK(check_name(request.new_name));
  DFS_TRY(InodeRow parent, require_linked_directory(context, request.new_parent));
  DFS_TRY(InodeRow row, require_inode(context, request.inode));
  if (row.attributes.is_directory()) {
    return make_error(ErrorCode::kNotPermitted);
  }
  const bool never_had_a_name = row.attributes.link_count == 0 && row.parent.is_set();
  if (row.attributes.link_count == 0 && !never_had_a_name) {
    return make_error(ErrorCode::kNotFound, "the file was removed and is only held open");
  }
  if (row.attributes.link_count >= kLinkCountMax) {
    return make_error(ErrorCode::kTooManyLinks);
  }
  DFS_TRY(const std::uint64_t cookie,
          require_free_place(context, request.new_parent, request.new_name));

  if (never_had_a_name) {
    DFS_CHECK_OK(context.store.erase_orphan(request.inode));
  }
  row.parent = request.new_parent;
  ++row.attributes.link_count;
  row.attributes.ctime = context.now;
  DFS_CHECK_OK(context.store.put_inode(row));
  DFS_CHECK_OK(context.store.put_entry({.parent = request.new_parent,
                                        .cookie = cookie,
                                        .name = request.new_name,
                                        .inode = request.inode}));
  DFS_CHECK_OK(touch_directory(context, parent));
  DFS_CHECK_OK(context.store.put_inode(parent));
  DFS_TRY(EntryReply reply, make_entry_reply(context, row));
  reply.parent = parent.attributes;
  context.grant(parent.attributes);
  return reply;
}

}  // namespace dfs::master
