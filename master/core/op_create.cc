// Makes files, directories, symlinks and special files.
#include <optional>
#include <string>
#include <utility>

#include "master/core/lease_table.h"
#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "master/core/session_table.h"
#include "master/core/xattr_rows.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

bool is_device(std::uint32_t mode) {
  const std::uint32_t type = mode & kModeTypeMask;
  return type == kModeCharacterDevice || type == kModeBlockDevice;
}

bool is_known_type(std::uint32_t mode) {
  switch (mode & kModeTypeMask) {
    case kModeDirectory:
    case kModeRegular:
    case kModeSymlink:
    case kModeCharacterDevice:
    case kModeBlockDevice:
    case kModeFifo:
    case kModeSocket: return true;
    default: return false;
  }
}

Status validate(const CreateRequest& request) {
  if (!request.is_unnamed) {
    DFS_CHECK_OK(check_name(request.name));
  } else if ((request.mode & kModeTypeMask) != kModeRegular || !request.pin) {
    return make_error(ErrorCode::kInvalidArgument, "only an open file can be without a name");
  }
  if (!is_known_type(request.mode) || (request.mode & ~(kModeTypeMask | kModePermissions)) != 0) {
    return make_error(ErrorCode::kInvalidArgument, "not a mode an inode can have");
  }
  const bool is_symlink = (request.mode & kModeTypeMask) == kModeSymlink;
  if (request.symlink_target.size() > kSymlinkBytesMax) {
    return make_error(ErrorCode::kNameTooLong);
  }
  if (is_symlink == request.symlink_target.empty() ||
      request.symlink_target.find('\0') != std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument, "a symlink, and nothing else, has a target");
  }
  return ok();
}

InodeRow new_inode(const CreateRequest& request, const Attributes& parent, Timestamp now) {
  InodeRow row;
  row.parent = parent.inode;
  row.symlink_target = request.symlink_target;
  Attributes& attributes = row.attributes;
  attributes.mode = request.mode;
  attributes.uid = request.uid;
  attributes.gid = request.gid;
  attributes.link_count = 1;
  attributes.size_bytes = request.symlink_target.size();
  attributes.device = is_device(request.mode) ? request.device : 0;
  attributes.atime = now;
  attributes.mtime = now;
  attributes.ctime = now;
  attributes.policy = parent.policy;
  attributes.xattr_kinds = 0;
  if ((parent.mode & kModeSetGid) != 0) {
    attributes.gid = parent.gid;
  }
  if (attributes.is_directory()) {
    attributes.link_count = 2;
    attributes.size_bytes = kDirectorySizeBytes;
    attributes.mode |= parent.mode & kModeSetGid;
  }
  return row;
}

// What a new inode gets from its directory's default ACL, as text of its own attributes.
struct InheritedAcls {
  std::optional<std::string> access;
  std::optional<std::string> default_acl;
};

// Also takes from `mode` what the ACL, or without one the umask, does not allow.
Result<InheritedAcls> inherit_acls(OpContext& context, const InodeRow& parent, std::uint32_t umask,
                                   std::uint32_t& mode) {
  InheritedAcls acls;
  if ((mode & kModeTypeMask) == kModeSymlink) {
    return acls;
  }
  DFS_TRY(PosixAcl acl, stored_acl(context, parent, kDefaultAclName));
  if (acl.is_empty()) {
    mode &= ~(umask & kModeAccess);
    return acls;
  }
  if ((mode & kModeTypeMask) == kModeDirectory) {
    acls.default_acl = acl.encode();
  }
  acl.restrict_to(mode);
  mode = (mode & ~kModeAccess) | acl.permissions();
  if (!acl.is_only_mode()) {
    acls.access = acl.encode();
  }
  return acls;
}

Status put_acls(OpContext& context, const InheritedAcls& acls, InodeRow& row) {
  if (acls.access) {
    DFS_CHECK_OK(put_xattr(context, row, std::string(kAccessAclName), *acls.access));
  }
  if (acls.default_acl) {
    DFS_CHECK_OK(put_xattr(context, row, std::string(kDefaultAclName), *acls.default_acl));
  }
  return ok();
}

// Who makes a file to write it need not ask for the lease to do so: nobody else knows it.
void begin_writing(OpContext& context, InodeId inode) {
  context.leases.erase(inode);  // of an inode that a transaction undone had given this number
  if (!context.leases.has_yet_to_drop(context.session, inode)) {
    context.leases.begin_writing(context.session, inode);
  }
}

// Numbers the inode and writes it with what it inherits.
Status put_new_inode(OpContext& context, const InheritedAcls& acls, bool pin, InodeRow& row) {
  DFS_TRY(const std::uint64_t number, context.take_number(Counter::kNextInode));
  row.attributes.inode = InodeId{number};
  DFS_TRY(row.attributes.data_version, context.take_number(Counter::kDataVersion));
  DFS_CHECK_OK(put_acls(context, acls, row));
  DFS_CHECK_OK(context.store.put_inode(row));
  DFS_CHECK_OK(context.add_to_counter(Counter::kInodes, 1));
  if (pin) {
    context.sessions.pin(context, context.session, row.attributes.inode);
    if (row.attributes.is_regular() && !context.is_replay) {
      begin_writing(context, row.attributes.inode);
    }
  }
  return ok();
}

// An orphan from the start: the pin keeps it, and it goes with that unless it got a name. Its
// directory does not change.
Result<EntryReply> create_unnamed(OpContext& context, const CreateRequest& request,
                                  const InodeRow& directory) {
  InodeRow row = new_inode(request, directory.attributes, context.now);
  row.attributes.link_count = 0;
  DFS_TRY(const InheritedAcls acls,
          inherit_acls(context, directory, request.umask, row.attributes.mode));
  DFS_CHECK_OK(put_new_inode(context, acls, request.pin, row));
  DFS_CHECK_OK(context.store.put_orphan(
      {.inode = row.attributes.inode, .since = context.now, .unlinked_by = context.session}));
  DFS_TRY(EntryReply reply, make_entry_reply(context, row));
  reply.parent = directory.attributes;
  reply.write_epoch = context.leases.write_epoch(context.session, row.attributes.inode);
  return reply;
}

}  // namespace

Result<EntryReply> apply(OpContext& context, const CreateRequest& request) {
  DFS_CHECK_OK(validate(request));
  DFS_TRY(InodeRow parent, require_linked_directory(context, request.parent));
  if (request.is_unnamed) {
    return create_unnamed(context, request, parent);
  }
  context.grant(parent.attributes);
  DFS_TRY(const NamePlace place, find_name(context, request.parent, request.name));
  if (place.entry) {
    return make_error(ErrorCode::kExists);
  }
  if (place.free_cookie == 0) {
    return make_error(ErrorCode::kNoSpace, "too many names with one hash in a directory");
  }
  InodeRow row = new_inode(request, parent.attributes, context.now);
  DFS_TRY(const InheritedAcls acls,
          inherit_acls(context, parent, request.umask, row.attributes.mode));
  if (row.attributes.is_directory()) {
    if (parent.attributes.link_count >= kLinkCountMax) {
      return make_error(ErrorCode::kTooManyLinks);
    }
    ++parent.attributes.link_count;
  }

  DFS_CHECK_OK(put_new_inode(context, acls, request.pin, row));
  DFS_CHECK_OK(context.store.put_entry({.parent = request.parent,
                                        .cookie = place.free_cookie,
                                        .name = request.name,
                                        .inode = row.attributes.inode}));
  DFS_CHECK_OK(touch_directory(context, parent));
  DFS_CHECK_OK(context.store.put_inode(parent));
  DFS_TRY(EntryReply reply, make_entry_reply(context, row));
  reply.parent = parent.attributes;
  reply.write_epoch = context.leases.write_epoch(context.session, row.attributes.inode);
  return reply;
}

}  // namespace dfs::master
