#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {

Result<EntryReply> apply(OpContext& context, const LookupRequest& request) {
  if (request.name.size() > kNameBytesMax) {
    return make_error(ErrorCode::kNameTooLong);
  }
  DFS_TRY(const InodeRow parent, require_directory(context, request.parent));
  context.grant(parent.attributes);
  if (request.name == ".") {
    return make_entry_reply(context, parent);
  }
  InodeId inode = parent.parent;
  if (request.name != "..") {
    // A name that cannot exist is simply not found.
    DFS_TRY(const EntryRow entry, require_entry(context, request.parent, request.name));
    inode = entry.inode;
  }
  DFS_TRY(const InodeRow row, require_inode(context, inode));
  return make_entry_reply(context, row);
}

}  // namespace dfs::master
