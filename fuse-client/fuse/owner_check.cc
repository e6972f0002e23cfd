#include "fuse-client/fuse/owner_check.h"

#include <linux/capability.h>

#include <cerrno>
#include <functional>
#include <utility>

#include "fuse-client/fuse/caller.h"

namespace dfs::fuse {
namespace {

constexpr std::uint32_t kModeSticky = 01000;

// Runs `known` with what the inode is like, perhaps inside; or answers what was wrong.
void with_attributes(FuseServer& server, fuse_req_t request, InodeId inode,
                     std::function<void(const Attributes&)> known) {
  if (const auto kept = server.client().kept_attributes(inode)) {
    known(*kept);
    return;
  }
  server.started(request, server.client().get_attributes(
                              inode, server.answer<Attributes>(request, std::move(known))));
}

// Who has the capability need not own the inode.
bool may_pass_for_owner(fuse_req_t request, const Attributes& attributes, unsigned capability) {
  return attributes.uid == fuse_req_ctx(request)->uid || may_be_capable(request, capability);
}

void check(FuseServer& server, fuse_req_t request, InodeId inode, unsigned capability,
           std::function<bool(const Attributes&)> is_restricted, Task go) {
  if (fuse_req_ctx(request)->uid == 0) {
    go();
    return;
  }
  with_attributes(
      server, request, inode,
      [request, capability, restricts = std::move(is_restricted),
       run = std::move(go)](const Attributes& attributes) {
        if (restricts(attributes) && !may_pass_for_owner(request, attributes, capability)) {
          fuse_reply_err(request, EPERM);
        } else {
          run();
        }
      });
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

void if_may_remove(FuseServer& server, fuse_req_t request, InodeId directory,
                   const std::string& name, Task go) {
  const uid_t caller = fuse_req_ctx(request)->uid;
  if (caller == 0) {
    go();
    return;
  }
  const auto found = [request, go](const Attributes& named) {
    if (may_pass_for_owner(request, named, CAP_FOWNER)) {
      go();
    } else {
      fuse_reply_err(request, EPERM);
    }
  };
  with_attributes(server, request, directory,
                  [&server, request, directory, caller, name, found, go](const Attributes& now) {
                    if ((now.mode & kModeSticky) == 0 || now.uid == caller) {
                      go();
                      return;
                    }
                    server.started(
                        request, server.client().lookup(directory, name,
                                                        server.answer<Attributes>(request, found)));
                  });
}

}  // namespace dfs::fuse
