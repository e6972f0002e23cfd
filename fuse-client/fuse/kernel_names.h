// Which inodes the kernel knows, how often it was told of each, and by which names it may come to
// it without asking.
//
// The names are those it was told in answers, and has moved itself since; it need not have kept
// them, nor do they need to stand for the inode still. Bounded: kNamesPerInode of an inode, and
// kBytesMax of all, but for what renames have made longer since: the kernel has those already. What
// does not fit may be given to the kernel for no time, as then it asks whenever it uses the name.
// About 100 bytes an inode. Loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/ids.h"

namespace dfs::fuse {

// Of a name in a directory.
struct KernelName {
  InodeId directory;
  std::string name;
  bool has_time = false;  // the kernel may use it without asking
  friend bool operator==(const KernelName&, const KernelName&) = default;
};

class KernelNames {
 public:
  static constexpr std::size_t kNamesPerInode = 8;
  static constexpr std::size_t kBytesMax = 32u << 20;  // a million names or so

  explicit KernelNames(std::size_t bytes_max = kBytesMax) : bytes_max_(bytes_max) {}

  // The kernel is told of it once more.
  void count(InodeId inode) { ++inodes_[inode].lookups; }
  // It was told so many times less. True: it knows the inode no more, and what was kept is gone.
  bool forget(InodeId inode, std::uint64_t count);
  std::uint64_t lookups(InodeId inode) const;
  bool contains(InodeId inode) const { return inodes_.contains(inode); }
  std::size_t size() const { return inodes_.size(); }

  // The kernel is about to be told that this name stands for the inode, which is counted before or
  // right after. False: it does not fit, and is to be given for no time.
  bool give(InodeId inode, const KernelName& name);
  // The kernel has moved what it believed the name to stand for.
  void renamed(InodeId inode, const KernelName& from, const KernelName& to);
  std::vector<KernelName> names(InodeId inode) const;  // the last one given is the last

 private:
  struct Known {
    std::uint64_t lookups = 0;
    std::string names;  // one behind the other, as `packed` has them
  };
  void set_names(Known& known, const std::vector<KernelName>& names);

  std::size_t bytes_max_;
  std::size_t bytes_ = 0;  // of all names
  std::unordered_map<InodeId, Known> inodes_;
};

}  // namespace dfs::fuse
