// Extended attributes: get, set, list, remove. Which names a user may touch is the kernel's work.
// ACLs are attributes to look at; setting one changes what its inode allows.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "master/core/xattr_rows.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

Status validate(const SetXattrRequest& request) {
  if (request.name.empty() || request.name.size() > kXattrNameBytesMax) {
    return make_error(ErrorCode::kBufferTooSmall);
  }
  if (xattr_kind(request.name) == 0) {
    return make_error(ErrorCode::kNotSupported, "a namespace of extended attributes not kept here");
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
    bytes += name != request.name ? name.size() + 1 : 0;
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

bool is_acl(const std::string& name) { return name == kAccessAclName || name == kDefaultAclName; }

// What the inode then has of it: nothing for an empty list and where the mode says all.
Status keep_acl(OpContext& context, const std::string& name, const PosixAcl& acl, InodeRow& row) {
  const bool is_said_by_mode = name == kAccessAclName && !acl.is_empty() && acl.is_only_mode();
  if (!acl.is_empty() && !is_said_by_mode) {
    return put_xattr(context, row, name, acl.encode());
  }
  const bool has_one = (row.attributes.xattr_kinds & xattr_kind(name)) != 0;
  return has_one ? erase_xattr(context, row, name) : ok();
}

Result<EmptyReply> set_acl(OpContext& context, const SetXattrRequest& request, InodeRow row) {
  Attributes& attributes = row.attributes;
  DFS_TRY(const PosixAcl acl, PosixAcl::decode(request.value));
  if (attributes.is_symlink()) {
    return make_error(ErrorCode::kNotSupported, "a symlink has no ACL");
  }
  if (request.name == kDefaultAclName && !attributes.is_directory() && !acl.is_empty()) {
    return make_error(ErrorCode::kAccessDenied, "only a directory has a default ACL");
  }
  DFS_CHECK_OK(check_list_has_room(context, request));
  DFS_CHECK_OK(keep_acl(context, request.name, acl, row));
  if (request.name == kAccessAclName && !acl.is_empty()) {
    attributes.mode = (attributes.mode & ~kModeAccess) | acl.permissions();
    if (request.clear_set_gid) {
      attributes.mode &= ~kModeSetGid;
    }
  }
  DFS_CHECK_OK(touch_inode(context, row));
  return EmptyReply{};
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
  if (is_acl(request.name)) {
    return set_acl(context, request, std::move(row));
  }
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
  DFS_CHECK_OK(put_xattr(context, row, request.name, request.value));
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
  if (!old && !is_acl(request.name)) {
    return make_error(ErrorCode::kNoAttribute);
  }
  if (old) {
    DFS_CHECK_OK(erase_xattr(context, row, request.name));
  }
  DFS_CHECK_OK(touch_inode(context, row));
  return EmptyReply{};
}

}  // namespace dfs::master
