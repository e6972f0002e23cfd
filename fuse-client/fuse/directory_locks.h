// Directories that the kernel keeps locked while it waits for answers to requests about names
// there: changes of them, and look-ups, which may be the first part of changes.
//
// A directory that another client has moved the kernel moves, too, when it is told of it at the new
// place. It does so only if it gets the locks of the old place and, between two directories, of all
// renames at once; else the look-up fails with ESTALE (__d_unalias in Linux' fs/dcache.c), after a
// second try for the program. So such a look-up waits for a moment, see look_up() in
// ops_namespace.cc. Loop thread only.
#pragma once

#include <algorithm>
#include <map>

#include "common/ids.h"
#include "fuse-client/fuse/fuse_api.h"

namespace dfs::fuse {

class DirectoryLocks {
 public:
  // A request is about names in a directory, or in two.
  void begins(fuse_req_t request, InodeId directory) { begins(request, directory, directory); }
  void begins(fuse_req_t request, InodeId directory, InodeId other) {
    locked_[request] = {directory, other};
  }
  // It is about to be answered.
  void ends(fuse_req_t request) { locked_.erase(request); }
  // Whether the kernel would not get the locks to move what is in the directory elsewhere.
  bool hinder_move_from(InodeId directory) const {
    return std::any_of(locked_.begin(), locked_.end(), [directory](const auto& entry) {
      const Pair& pair = entry.second;
      return pair.directory != pair.other || pair.directory == directory;
    });
  }

 private:
  struct Pair {
    InodeId directory;
    InodeId other;
  };
  std::map<fuse_req_t, Pair> locked_;
};

}  // namespace dfs::fuse
