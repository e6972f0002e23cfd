#include "fuse-client/fuse/owner_check.h"

#include <linux/capability.h>

#include <cerrno>
#include <functional>
#include <utility>

#include "fuse-client/fuse/caller.h"

namespace dfs::fuse {
namespace {

// Who has the capability need not own the inode.
void check(FuseServer& server, fuse_req_t request, InodeId inode, unsigned capability,
           std::function<bool(const Attributes&)> is_restricted, Task go) {
  const uid_t caller = fuse_req_ctx(request)->uid;
  if (caller == 0) {
    go();
    return;
  }
  const auto known = [request, caller, capability, restricts = std::move(is_restricted),
                      run = std::move(go)](const Attributes& attributes) {
    if (restricts(attributes) && attributes.uid != caller && !may_be_capable(request, capability)) {
      fuse_reply_err(request, EPERM);
      return;
    }
    run();
  };
  if (const auto kept = server.client().kept_attributes(inode)) {
    known(*kept);
    return;
  }
  server.started(request,
                 server.client().get_attributes(inode, server.answer<Attributes>(request, known)));
}

}  // namespace

bool is_for_owner(const client::AttributeChange& change, const Attributes& now) {
  if (change.uid || change.gid || change.atime || change.mtime) {
    return true;
  }
  if (!change.mode) {
    return false;
  }
  const std::uint32_t differing = (now.mode & kModePermissions) ^ *change.mode;
  return (differing & ~(now.mode & (kModeSetUid | kModeSetGid))) != 0;
}

void if_owner(FuseServer& server, fuse_req_t request, const client::AttributeChange& change,
              Task go) {
  check(
      server, request, change.inode, change.uid || change.gid ? CAP_CHOWN : CAP_FOWNER,
      [change](const Attributes& now) { return is_for_owner(change, now); }, std::move(go));
}

void if_owner(FuseServer& server, fuse_req_t request, InodeId inode, Task go) {
  check(
      server, request, inode, CAP_FOWNER, [](const Attributes&) { return true; }, std::move(go));
}

}  // namespace dfs::fuse
