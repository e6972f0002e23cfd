#include "fuse-client/core/own_changes.h"

#include "common/assert.h"

namespace dfs::client {
namespace {

template <class Key>
void count_down(std::map<Key, std::uint32_t>& counts, const Key& key) {
  const auto place = counts.find(key);
  DFS_ASSERT(place != counts.end());
  if (--place->second == 0) {
    counts.erase(place);
  }
}

}  // namespace

void OwnChanges::begin(const ConcernedByChange& what) {
  for (const auto& name : what.names) {
    ++names_[name];
  }
  for (const InodeId inode : what.inodes) {
    ++(what.changes_links ? linked_ : inodes_)[inode];
  }
  any_inode_ += what.any_inode ? 1 : 0;
}

void OwnChanges::end(const ConcernedByChange& what) {
  for (const auto& name : what.names) {
    count_down(names_, name);
    if (!names_.contains(name)) {
      changed_names_.erase(name);
    }
  }
  for (const InodeId inode : what.inodes) {
    count_down(what.changes_links ? linked_ : inodes_, inode);
  }
  DFS_ASSERT(!what.any_inode || any_inode_ > 0);
  any_inode_ -= what.any_inode ? 1 : 0;
}

void OwnChanges::name_changes(InodeId directory, const std::string& name) {
  if (concern(directory, name)) {
    changed_names_.emplace(directory, name);
  }
}

}  // namespace dfs::client
