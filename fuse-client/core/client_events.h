// What a Client tells its owner, who keeps caches above it: the FUSE adapter, of the kernel's.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/ids.h"
#include "proto/lease_messages.h"

namespace dfs::client {

// What the owner must do to caches above (the kernel's). Called on the scheduler thread.
struct ClientEvents {
  // Contents or attributes changed behind the caller's back.
  std::function<void(InodeId)> invalidate_contents;
  // A session is about to be opened with this nonce, instead of the one before. 0: the master has
  // closed it, and there is none.
  std::function<void(std::uint64_t nonce)> has_session = {};
  // Other clients are about to make these changes: `dropped` is to be called, once, when nothing of
  // them is cached above any more. What was kept by the times given by Client::…_keep_for and what
  // was read through handles counts as cached.
  std::function<void(const std::vector<LeaseChange>&, std::function<void()> dropped)> drop_cached =
      {};
  // All is dropped and stored, and the others are about to go on with the contents of these files:
  // `done` is to be called, once, perhaps inside, when nothing that was said of them since is still
  // on its way to the caches above. From then on it counts no more.
  std::function<void(const std::vector<InodeId>& files, std::function<void()> done)> others_go_on =
      {};
  // Whether what stands above, the kernel, knows the inode: from lookup, create, … until forget().
  std::function<bool(InodeId)> is_known = {};
  // Another client asks for what is written to the file here.
  std::function<void(InodeId)> asked_for = {};
};

}  // namespace dfs::client
