// One daemon for each data directory: an flock on DIR/lock, gone with the process however it ends.
#pragma once

#include <string>
#include <utility>

#include "common/real/owned_fd.h"
#include "common/result.h"

namespace dfs::real {

// Held as long as it lives. The file stays, with the pid of its last holder in it.
class DirectoryLock {
 public:
  // kLocked, naming the directory and the pid that holds it; or why DIR/lock cannot be opened.
  static Result<DirectoryLock> acquire(const std::string& directory);

 private:
  explicit DirectoryLock(OwnedFd file) : file_(std::move(file)) {}
  OwnedFd file_;
};

}  // namespace dfs::real
