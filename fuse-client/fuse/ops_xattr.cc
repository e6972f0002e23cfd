// Kernel requests about extended attributes.
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "fuse-client/fuse/fuse_server.h"
#include "fuse-client/fuse/umount_report.h"

namespace dfs::fuse {
namespace {

constexpr const char* kCapability = "security.capability";
// Not stored: the process that serves this mount, for umount.fuse.dfs to wait for.
constexpr const char* kClientPid = "dfs.client_pid";

// POSIX ACLs and their like have a meaning that the kernel would expect to be kept: a stored ACL
// that changes no mode would make `cp -a` believe it had set the permissions.
bool is_unsupported(fuse_req_t request, std::string_view name) {
  if (!name.starts_with("system.")) {
    return false;
  }
  fuse_reply_err(request, EOPNOTSUPP);
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
  if (is_unsupported(request, name)) {
    return;
  }
  FuseServer& server = server_of(request);
  const InodeId inode = server.from_kernel(kernel_inode);
  const bool is_capability = name == std::string_view(kCapability);
  if (is_capability && server.capability_known_absent(inode)) {
    fuse_reply_err(request, ENODATA);
    return;
  }
  if (name == std::string_view(kClientPid)) {
    reply_value(request, std::to_string(getpid()), size);
    return;
  }
  auto done = [&server, request, inode, size, is_capability](Result<std::string> value) {
    server.ended(request);
    if (value) {
      reply_value(request, *value, size);
      return;
    }
    if (is_capability && value.code() == ErrorCode::kNoAttribute) {
      server.note_capability_absent(inode);
    }
    FuseServer::reply_error(request, value.error());
  };
  server.started(request, server.client().get_xattr(inode, name, done));
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
  // When it is set, too: a question asked before may be answered "absent" until then.
  auto done = [&server, request, inode = change.inode](Result<Unit> result) {
    server.forget_capability(inode);
    server.answer_unit(request)(std::move(result));
  };
  server.forget_capability(change.inode);
  server.started(request, server.client().set_xattr(std::move(change), done));
}

void op_listxattr(fuse_req_t request, fuse_ino_t inode, std::size_t size) {
  FuseServer& server = server_of(request);
  auto done = server.answer<std::vector<std::string>>(
      request, [request, size](const std::vector<std::string>& names) {
        std::string list;
        for (const std::string& name : names) {
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
  server.started(request, server.client().remove_xattr(server.from_kernel(inode), name,
                                                       server.answer_unit(request)));
}

}  // namespace

void add_xattr_operations(fuse_lowlevel_ops& table) {
  table.getxattr = op_getxattr;
  table.setxattr = op_setxattr;
  table.listxattr = op_listxattr;
  table.removexattr = op_removexattr;
}

}  // namespace dfs::fuse
