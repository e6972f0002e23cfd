#include "master/core/lease_changes.h"
#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "master/core/truncate.h"
#include "master/core/xattr_rows.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

constexpr std::uint32_t kNanosecondsEnd = 1'000'000'000;

Status validate(const SetAttributesRequest& request, const Attributes& attributes) {
  if (request.mode && (*request.mode & ~kModePermissions) != 0) {
    return make_error(ErrorCode::kInvalidArgument, "mode has more than permission bits");
  }
  if ((request.atime && request.atime->nanoseconds >= kNanosecondsEnd) ||
      (request.mtime && request.mtime->nanoseconds >= kNanosecondsEnd)) {
    return make_error(ErrorCode::kInvalidArgument, "nanoseconds out of range");
  }
  if (!request.size_bytes) {
    return ok();
  }
  if (attributes.is_directory()) {
    return make_error(ErrorCode::kIsDirectory);
  }
  if (!attributes.is_regular()) {
    return make_error(ErrorCode::kInvalidArgument, "only regular files have a size to set");
  }
  if (*request.size_bytes > kFileBytesMax) {
    return make_error(ErrorCode::kFileTooBig);
  }
  return ok();
}

void set_mode_and_owner(const SetAttributesRequest& request, Attributes& attributes) {
  if (request.mode) {
    attributes.mode = (attributes.mode & kModeTypeMask) | *request.mode;
  }
  if (request.uid) {
    attributes.uid = *request.uid;
  }
  if (request.gid) {
    attributes.gid = *request.gid;
  }
  if (request.clear_set_id && attributes.is_regular()) {
    clear_set_id(attributes);
  }
}

// chmod(2) changes the access ACL along. Before anything is written: the ACL may be damaged.
Result<PosixAcl> acl_for_mode(OpContext& context, const InodeRow& row,
                              const SetAttributesRequest& request) {
  if (!request.mode) {
    return PosixAcl{};
  }
  DFS_TRY(PosixAcl acl, stored_acl(context, row, kAccessAclName));
  if (!acl.is_empty()) {
    acl.set_permissions(*request.mode);
  }
  return acl;
}

void set_times(const SetAttributesRequest& request, Timestamp now, Attributes& attributes) {
  if (request.atime_now || request.was_read) {
    attributes.atime = now;
  } else if (request.atime) {
    attributes.atime = *request.atime;
  }
  if (request.mtime_now || (request.size_bytes && !request.mtime)) {
    attributes.mtime = now;
  } else if (request.mtime) {
    attributes.mtime = *request.mtime;
  }
  if (!is_only_access(request)) {
    attributes.ctime = now;
  }
}

// Also to the size it has: what a client still has to store, from before it lost its session, must
// not come behind this.
Status set_size(OpContext& context, std::uint64_t size_bytes, InodeRow& row) {
  if (size_bytes < row.attributes.size_bytes) {
    DFS_CHECK_OK(cut_extents(context, row, size_bytes));
  }
  row.attributes.size_bytes = size_bytes;
  DFS_TRY(row.attributes.data_version, context.take_number(Counter::kDataVersion));
  return ok();
}

}  // namespace

Result<AttributesReply> apply(OpContext& context, const SetAttributesRequest& request) {
  DFS_TRY(InodeRow row, require_inode(context, request.inode));
  DFS_CHECK_OK(validate(request, row.attributes));
  DFS_TRY(const PosixAcl acl, acl_for_mode(context, row, request));
  const std::uint64_t version_before = row.attributes.data_version;
  set_mode_and_owner(request, row.attributes);
  if (request.size_bytes) {
    DFS_CHECK_OK(set_size(context, *request.size_bytes, row));
  }
  if (!acl.is_empty()) {
    DFS_CHECK_OK(put_xattr(context, row, std::string(kAccessAclName), acl.encode()));
  }
  set_times(request, context.now, row.attributes);
  DFS_CHECK_OK(context.store.put_inode(row));
  context.grant(row.attributes);
  return AttributesReply{.attributes = row.attributes, .data_version_before = version_before};
}

}  // namespace dfs::master
