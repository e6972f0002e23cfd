// What this client's programs have locked, as far as the master has said so: bookkeeping only.
//
// An owner is a process or an open file, as the kernel numbers them. Through which open file each
// byte was locked is remembered: when such a file is closed for good, what is left goes (that is
// how flocks and locks of open file descriptions end; a process's end when it closes any). The
// kernel may give the number of an open file to another one before the end of the first is heard
// of.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "fuse-client/core/client.h"
#include "proto/lock_messages.h"

namespace dfs::client {

struct LockHolder {
  LockFile file;
  std::uint64_t owner = 0;
  friend auto operator<=>(const LockHolder&, const LockHolder&) = default;
};

class HeldLocks {
 public:
  // The holder asks through that open file: noted before it is known whether it gets anything.
  void note_use(const LockHolder& holder, HandleId handle, std::uint32_t pid);
  // The master has set it, asked through `handle`. An flock is one lock: the span is then all.
  void set(const LockHolder& holder, LockSpan span, LockMode mode, HandleId handle);
  void replace(const LockHolder& holder, LockRanges ranges);
  // The master does not know this lock any more: the holder is to be told, once.
  void lose(const LockHolder& holder, LockSpan span);
  // Everything is lost. Those that held something, in order.
  std::vector<LockHolder> lose_all();
  // True once after a loss.
  bool take_loss(const LockHolder& holder);
  // Nothing is held and nothing to be told: forgets the holder if so.
  void tidy(const LockHolder& holder);

  bool knows(const LockHolder& holder) const { return entries_.contains(holder); }
  LockRanges ranges(const LockHolder& holder) const;
  // Who asked through the open file and is known still.
  std::vector<LockHolder> users_of(InodeId inode, HandleId handle) const;
  // The open file is gone: what of the holder's has to be unlocked for that.
  std::vector<LockSpan> end_use(const LockHolder& holder, HandleId handle);
  std::optional<std::uint32_t> pid_of(const LockHolder& holder) const;
  const auto& all() const { return entries_; }
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    LockRanges ranges;
    std::uint32_t pid = 0;                   // of who asked last
    std::map<HandleId, LockRanges> handles;  // what was locked through each, whatever the mode
    bool is_lost = false;
  };
  std::map<LockHolder, Entry> entries_;
};

}  // namespace dfs::client
