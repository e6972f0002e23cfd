// Paths of inodes, for people: by the directory an inode's row names, which is searched for it.
//
// Bounded: one finder looks at kEntriesLookedAtMax entries, after which only paths through what it
// has found already are known. What was renamed since begins is seen as it is. Lives within one
// operation. Errors are those of the Store.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "common/result.h"
#include "master/core/op_context.h"

namespace dfs::master {

// A few dozen milliseconds.
inline constexpr std::size_t kEntriesLookedAtMax = 65'536;

class PathFinder {
 public:
  struct Found {
    std::string path;         // one of them; empty: not known
    bool is_removed = false;  // the inode is gone, or only held open
  };

  explicit PathFinder(OpContext& context) : context_(context) {}

  Result<Found> find(InodeId inode);
  // The inode of a path from the root. Fails with kNotFound, kNotDirectory; the detail names it.
  // Fails with kNameTooLong, too: over kWaitPathBytesMax.
  Result<InodeId> resolve(const std::string& path);

 private:
  struct Name {
    InodeId parent;
    std::string name;  // empty: not known
  };
  Result<Name> name_of(InodeId inode, InodeId parent);

  OpContext& context_;
  std::map<InodeId, Name> names_;
  std::size_t entries_left_ = kEntriesLookedAtMax;
};

}  // namespace dfs::master
