// Kernel requests about extended attributes.
#include <linux/capability.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuse-client/core/waiting_text.h"
#include "fuse-client/fuse/caller.h"
#include "fuse-client/fuse/fuse_server.h"
#include "fuse-client/fuse/owner_check.h"
#include "fuse-client/fuse/umount_report.h"
#include "proto/xattr_kinds.h"

namespace dfs::fuse {
namespace {

// Not stored: the process that serves this mount, for umount.fuse.dfs to wait for.
constexpr const char* kClientPid = "dfs.client_pid";
// Not stored: the options that cannot be changed while this is mounted, for `mount -o remount`.
constexpr const char* kOwnOptions = "dfs.options";
// Not stored: the calls that wait in this client, for people; without asking anybody.
constexpr const char* kWaiting = "dfs.waiting";
// What may come between the question for the size and that for the text.
constexpr std::size_t kWaitingSlackBytes = 4096;
constexpr std::size_t kWaitingListedMax = 256;

// Names of system have meanings that the kernel would expect to be kept, and names outside of the
// namespaces none: local filesystems know neither.
bool is_unsupported(fuse_req_t request, std::string_view name) {
  if (xattr_kind(name) != 0) {
    return false;
  }
  const bool is_bare = name == "user." || name == "trusted." || name == "security.";
  fuse_reply_err(request, is_bare ? EINVAL : EOPNOTSUPP);
  return true;
}

// `size` 0 asks how large the answer is.
void reply_value(fuse_req_t request, const std::string& value, std::size_t size) {
  if (size == 0) {
    fuse_reply_xattr(request, value.size());
  } else if (value.size() > size) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, value.data(), value.size());
  }
}

void report_waiting(fuse_req_t request, std::size_t size) {
  FuseServer& server = server_of(request);
  std::uint64_t more = 0;
  const auto waits = server.client().waiting(kWaitingListedMax, more);
  const std::string text = client::describe(waits, more, server.client().master_answers());
  if (size == 0) {
    fuse_reply_xattr(request, text.size() + kWaitingSlackBytes);
  } else {
    reply_value(request, text, size);
  }
}

void report_for_umount(fuse_req_t request, std::size_t size) {
  if (size == 0) {
    fuse_reply_xattr(request, kUmountReportBytesMax);
    return;
  }
  FuseServer& server = server_of(request);
  auto done = server.answer<client::Unwritten>(
      request, [&server, request, size](const client::Unwritten& unwritten) {
        reply_value(request,
                    encode(UmountReport{.client_pid = getpid(),
                                        .umount_wait = server.umount_wait(),
                                        .unwritten = client::describe(unwritten)}),
                    size);
      });
  server.started(request, server.client().settle(server.umount_wait(), done));
}

void op_getxattr(fuse_req_t request, fuse_ino_t kernel_inode, const char* name, std::size_t size) {
  if (name == std::string_view(kUmountReportAttribute)) {
    report_for_umount(request, size);
    return;
  }
  if (name == std::string_view(kClientPid)) {
    reply_value(request, std::to_string(getpid()), size);
    return;
  }
  if (name == std::string_view(kOwnOptions)) {
    reply_value(request, server_of(request).own_options(), size);
    return;
  }
  if (name == std::string_view(kWaiting)) {
    report_waiting(request, size);
    return;
  }
  if (is_unsupported(request, name)) {
    return;
  }
  FuseServer& server = server_of(request);
  const InodeId inode = server.from_kernel(kernel_inode);
  // The kernel asks for security.capability before each write, and for ACLs at lookups.
  if (server.client().lacks_xattr(inode, name)) {
    fuse_reply_err(request, ENODATA);
    return;
  }
  auto done = server.answer<std::string>(
      request, [request, size](const std::string& value) { reply_value(request, value, size); });
  server.started(request, server.client().get_xattr(inode, name, done));
}

void set_xattr(fuse_req_t request, SetXattrRequest change) {
  FuseServer& server = server_of(request);
  server.started(request,
                 server.client().set_xattr(std::move(change), server.answer_unit(request)));
}

// As chmod(2) does, setting the access ACL takes the set-gid bit from an inode whose group the
// caller is not in. The kernel tells only servers that know a later protocol than libfuse's.
void set_access_acl(fuse_req_t request, const SetXattrRequest& acl) {
  const Caller caller = caller_of(request);
  if (caller.is_capable(CAP_FSETID)) {
    set_xattr(request, acl);
    return;
  }
  FuseServer& server = server_of(request);
  auto done =
      server.answer<Attributes>(request, [request, caller, acl](const Attributes& attributes) {
        SetXattrRequest change = acl;
        change.clear_set_gid = !caller.is_in(attributes.gid);
        set_xattr(request, std::move(change));
      });
  server.started(request, server.client().get_attributes(acl.inode, done));
}

void op_setxattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value,
                 std::size_t size, int flags) {
  if (is_unsupported(request, name)) {
    return;
  }
  FuseServer& server = server_of(request);
  SetXattrRequest change{.inode = server.from_kernel(inode),
                         .name = name,
                         .value = std::string(value, size),
                         .mode = static_cast<std::uint8_t>(XattrMode::kSet)};
  if ((flags & XATTR_CREATE) != 0) {
    change.mode = static_cast<std::uint8_t>(XattrMode::kCreateOnly);
  } else if ((flags & XATTR_REPLACE) != 0) {
    change.mode = static_cast<std::uint8_t>(XattrMode::kReplaceOnly);
  }
  if (name == kAccessAclName) {
    if_owner(server, request, change.inode, [request, change] { set_access_acl(request, change); });
  } else if (name == kDefaultAclName) {
    if_owner(server, request, change.inode, [request, change] { set_xattr(request, change); });
  } else {
    set_xattr(request, std::move(change));
  }
}

// As on local filesystems, who may not read trusted attributes is not told their names.
bool hides_trusted(fuse_req_t request, const std::vector<std::string>& names) {
  const auto is_trusted = [](const std::string& name) { return name.starts_with("trusted."); };
  return std::any_of(names.begin(), names.end(), is_trusted) &&
         !caller_of(request).is_capable(CAP_SYS_ADMIN);
}

void op_listxattr(fuse_req_t request, fuse_ino_t inode, std::size_t size) {
  FuseServer& server = server_of(request);
  auto done = server.answer<std::vector<std::string>>(
      request, [request, size](const std::vector<std::string>& names) {
        const bool hides = hides_trusted(request, names);
        std::string list;
        for (const std::string& name : names) {
          if (hides && name.starts_with("trusted.")) {
            continue;
          }
          list.append(name);
          list.push_back('\0');
        }
        reply_value(request, list, size);
      });
  server.started(request, server.client().list_xattrs(server.from_kernel(inode), done));
}

void op_removexattr(fuse_req_t request, fuse_ino_t inode, const char* name) {
  if (is_unsupported(request, name)) {
    return;
  }
  FuseServer& server = server_of(request);
  const InodeId changed = server.from_kernel(inode);
  const Task remove = [&server, request, changed, name = std::string(name)] {
    server.started(request,
                   server.client().remove_xattr(changed, name, server.answer_unit(request)));
  };
  if (name == std::string_view(kAccessAclName) || name == std::string_view(kDefaultAclName)) {
    if_owner(server, request, changed, remove);
  } else {
    remove();
  }
}

}  // namespace

void add_xattr_operations(fuse_lowlevel_ops& table) {
  table.getxattr = op_getxattr;
  table.setxattr = op_setxattr;
  table.listxattr = op_listxattr;
  table.removexattr = op_removexattr;
}

}  // namespace dfs::fuse
