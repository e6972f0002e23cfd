// What the kernel does not tell about the process behind a request, from /proc. Read only where it
// decides something: few requests need it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "fuse-client/fuse/fuse_api.h"

namespace dfs::fuse {

struct Caller {
  uid_t uid = 0;
  std::vector<gid_t> groups;
  std::uint64_t capabilities = 0;  // effective; bit n: the capability numbered n

  bool is_in(gid_t group) const;
  bool is_capable(unsigned capability) const { return (capabilities >> capability & 1) != 0; }
};

// Only root has capabilities: those of others may be worth nothing outside of their user namespace.
// Of one that cannot be looked at (it ended, or lives in another pid namespace) the groups are the
// one the request names, and root has all capabilities.
Caller caller_of(fuse_req_t request);

// Whether the caller, whoever it is, has the capability, maybe in a user namespace alone: enough to
// leave to the kernel what it has allowed.
bool may_be_capable(fuse_req_t request, unsigned capability);

// Takes Groups and CapEff of a /proc/PID/status. False when they are not in it.
bool read_status(std::string_view status, Caller& caller);

// Whether a signal ends the thread of a /proc/TID/status, as soon as it does not wait any more: one
// has come that it does not catch, block or ignore. True if the text does not tell.
bool is_ending(std::string_view status);
bool is_ending(pid_t thread);

}  // namespace dfs::fuse
