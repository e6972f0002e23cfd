// Where else a filesystem is mounted: a bind mount, or a copy in another mount namespace, as
// containers and services have one. Its client goes on as long as there is one.
#pragma once

#include <optional>
#include <string>

#include "fuse-client/mount/mount_point.h"

namespace dfs::mount {

struct OtherMount {
  std::string directory;
  int pid = 0;  // of a process that sees it; 0: this one does
  std::string program;
};

// A mount of the same filesystem as `mount`, here or in the namespace of a process that this one
// may look at. A namespace without processes is not found.
std::optional<OtherMount> find_other_mount(const MountEntry& mount);

// "at DIR", "in another mount namespace, …".
std::string describe(const OtherMount& other);

}  // namespace dfs::mount
