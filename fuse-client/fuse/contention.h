// What several clients change by turns, as the kernel of this one is concerned.
//
// What the kernel keeps it must be told to drop, and that has two weak points: to drop a name it
// takes the lock of the directory, which a change of its own may hold that waits for the very
// change that is to be made known; and an answer that it has received but not yet looked at is kept
// though what it says was dropped in between. Both matter only where changes of several clients
// meet all the time. So what was taken back a moment ago is given to the kernel for no time: it
// asks whenever it uses it, and need not be told of the next change.
//
// Bounded: what does not fit counts as not contended. Loop thread only.
#pragma once

#include <set>
#include <string>
#include <unordered_map>

#include "common/ids.h"

namespace dfs::fuse {

// So long after the last time another client took something back.
inline constexpr std::chrono::seconds kContendedTime{1};
inline constexpr std::size_t kContendedInodesMax = 4096;
inline constexpr std::size_t kNamesWithoutTimeMax = 16384;

class Contention {
 public:
  // Another client is about to change the inode or, of a directory, names in it. Answers whether
  // one did already in the last kContendedTime.
  bool changes(InodeId inode, MonoTime now);
  // Whether the kernel is to be given it, or names in it, for no time.
  bool is_contended(InodeId inode, MonoTime now) const;

  // Whether the kernel asks each time it uses the name: it was given it for no time at last.
  bool is_without_time(InodeId directory, const std::string& name, MonoTime now) const;
  // The name is given for no time, or the kernel has dropped it. Counts as long as the directory is
  // contended.
  void note_without_time(InodeId directory, const std::string& name, MonoTime now);
  // The kernel moves what it believes the name to stand for, and for how long, to a new name.
  void renamed(InodeId directory, const std::string& name, InodeId new_directory,
               const std::string& new_name, MonoTime now);

  std::size_t inodes() const { return inodes_.size(); }
  std::size_t names() const { return name_count_; }

 private:
  struct Contended {
    MonoTime until;
    std::set<std::string> names_without_time;
  };

  void forget_quiet_ones(MonoTime now);

  std::unordered_map<InodeId, Contended> inodes_;
  std::size_t name_count_ = 0;
};

}  // namespace dfs::fuse
