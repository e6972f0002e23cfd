// The process behind a mount: joins the client core, the FUSE adapter and the real world, runs
// until the mount is gone.
#pragma once

#include <functional>
#include <string>

#include "common/result.h"
#include "fuse-client/mount/mount_request.h"

namespace dfs::mount {

// Mounts at `directory` (prepared by prepare_mount_point) and serves it. Calls `ready` once the
// kernel and the filesystem have shaken hands. Returns when it was unmounted, or SIGTERM or SIGINT
// had it flush and unmount; the error is why it could not be mounted, or the first write that was
// lost at the end. Blocks the calling thread, which must be the only one.
Status run_client(const MountRequest& request, const std::string& directory,
                  const std::function<void()>& ready);

}  // namespace dfs::mount
