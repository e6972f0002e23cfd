// Extended attributes: get, set, list, remove. Which names a user may touch is the kernel's work.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

Status validate(const SetXattrRequest& request) {
  if (request.name.empty() || request.name.size() > kXattrNameBytesMax) {
    return make_error(ErrorCode::kBufferTooSmall);
  }
  if (request.value.size() > kXattrValueBytesMax) {
    return make_error(ErrorCode::kArgumentTooBig);
  }
  if (request.mode > kXattrModeMax || request.name.find('\0') != std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument);
  }
  return ok();
}

// listxattr(2) must be able to return all names, each with its NUL.
Status check_list_has_room(OpContext& context, const SetXattrRequest& request) {
  DFS_TRY(const std::vector<std::string> names, context.store.xattr_names(request.inode));
  std::size_t bytes = request.name.size() + 1;
  for (const std::string& name : names) {
    bytes += name.size() + 1;
  }
  if (bytes > kXattrListBytesMax) {
    return make_error(ErrorCode::kNoSpace, "the inode has too many extended attributes");
  }
  return ok();
}

Status touch_inode(OpContext& context, InodeRow& row) {
  row.attributes.ctime = context.now;
  return context.store.put_inode(row);
}

}  // namespace

Result<GetXattrReply> apply(OpContext& context, const GetXattrRequest& request) {
  DFS_TRY(const InodeRow row, require_inode(context, request.inode));
  DFS_TRY(std::optional<std::string> value,
          context.store.xattr(row.attributes.inode, request.name));
  if (!value) {
    return make_error(ErrorCode::kNoAttribute);
  }
  return GetXattrReply{.value = std::move(*value)};
}

Result<EmptyReply> apply(OpContext& context, const SetXattrRequest& request) {
  DFS_CHECK_OK(validate(request));
  DFS_TRY(InodeRow row, require_inode(context, request.inode));
  DFS_TRY(const std::optional<std::string> old, context.store.xattr(request.inode, request.name));
  const auto mode = static_cast<XattrMode>(request.mode);
  if (old && mode == XattrMode::kCreateOnly) {
    return make_error(ErrorCode::kExists);
  }
  if (!old && mode == XattrMode::kReplaceOnly) {
    return make_error(ErrorCode::kNoAttribute);
  }
  if (!old) {
    DFS_CHECK_OK(check_list_has_room(context, request));
  }
  DFS_CHECK_OK(context.store.put_xattr(request.inode, request.name, request.value));
  DFS_CHECK_OK(touch_inode(context, row));
  return EmptyReply{};
}

Result<ListXattrsReply> apply(OpContext& context, const ListXattrsRequest& request) {
  DFS_TRY(const InodeRow row, require_inode(context, request.inode));
  DFS_TRY(std::vector<std::string> names, context.store.xattr_names(row.attributes.inode));
  return ListXattrsReply{.names = std::move(names)};
}

Result<EmptyReply> apply(OpContext& context, const RemoveXattrRequest& request) {
  DFS_TRY(InodeRow row, require_inode(context, request.inode));
  DFS_TRY(const std::optional<std::string> old, context.store.xattr(request.inode, request.name));
  if (!old) {
    return make_error(ErrorCode::kNoAttribute);
  }
  DFS_CHECK_OK(context.store.erase_xattr(request.inode, request.name));
  DFS_CHECK_OK(touch_inode(context, row));
  return EmptyReply{};
}

}  // namespace dfs::master
