// A process beside the client that ends the kernel's connection to it when the client dies.
//
// Normally the kernel does so: /dev/fuse is closed, all requests fail, the mount is a dead one. But
// a thread that tells the kernel to drop something can wait there for a lock that a program holds
// whose request waits for this client, and cannot be killed meanwhile: it keeps /dev/fuse open, and
// everybody waits for everybody. So a second process holds the file by which a connection is ended
// (Documentation/filesystems/fuse/fuse.rst, "abort", in Linux), and uses it when the first one's
// main thread is gone.
#pragma once

#include <string>

#include "common/real/owned_fd.h"
#include "common/result.h"

namespace dfs::mount {

class ConnectionGuard {
 public:
  // Forks. The caller must be the process's main thread, and the only one. The guard ends with the
  // process.
  static Result<ConnectionGuard> start();

  // The mount to guard; `device` is its "major:minor". Returns when it is guarded. From then on a
  // fatal signal (a crash, a failed assertion) ends the connection as well, before memory is
  // dumped. Fails with kNotSupported if this process may not end it: fusectl is not mounted, or the
  // mount is another user's.
  Status guard(const std::string& device);

  // Ends the connection now if it is guarded; later calls do nothing.
  void abort_connection();

 private:
  explicit ConnectionGuard(real::OwnedFd socket) : socket_(std::move(socket)) {}

  real::OwnedFd socket_;
};

}  // namespace dfs::mount
