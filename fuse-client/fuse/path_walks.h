// Who was told to walk a path again, and what was found on the way.
//
// The kernel may come to an inode by a name that stands for it no more: it is suspect (see
// cache_dropper.h), or gone by now. It is answered ESTALE then, once: for the caller it walks the
// path again and asks for each name. What that finds is true, so what the caller then does with it
// is answered; a second ESTALE would reach the application. So
// - what is gone when it is used after a second walk has no name any more: ENOENT;
// - attributes of an inode that is gone when they are asked for are those with which it was found;
// - a change of what was found on a second walk is not acknowledged before the caller has used it:
//   else it could be gone again, where names stand for other files all the time.
// At most kWalksMax callers are remembered. Loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/ids.h"
#include "common/scheduler.h"
#include "proto/lease_messages.h"
#include "proto/namespace_messages.h"

namespace dfs::fuse {

inline constexpr std::size_t kWalksMax = 4096;
// Of so many names on its way a caller may use what it found; link(2) has two ways.
inline constexpr std::size_t kFoundMax = 64;
// A caller uses at once what it found; it may also have needed no more than the finding.
inline constexpr std::chrono::milliseconds kWalkTime{100};
// For so long a change of what was found waits for its use.
inline constexpr std::chrono::milliseconds kFoundWait{10};

enum class Use : std::uint8_t { kAttributes, kOpen };

class PathWalks {
 public:
  // The caller, a thread, uses an inode. After a walk it may ask for attributes of each that it
  // found, and then open, since to enter or open it the kernel needs to know its permissions: of a
  // file once, of a directory also to change names there, in rename(2) by either of its names.
  bool must_walk_again(pid_t caller, InodeId inode, Use use, bool is_suspect, MonoTime now);
  // It is answered ESTALE.
  void walk_again(pid_t caller, MonoTime now);
  // The request that comes next, or is being dealt with, is the last of its call.
  void call_ends(pid_t caller);
  // For each request, once it is known to be the last of its call or not: whether it comes after a
  // second walk, so that another ESTALE would reach the application.
  bool begins_after_second(pid_t caller, MonoTime now);
  // It has opened the directory, and may ask for its attributes then without a path, as opendir(3)
  // does: its call is over.
  void opened_directory(pid_t caller, InodeId inode, MonoTime now);
  // It asks for a name: what it uses from now on it has found.
  void asks_for_name(pid_t caller);
  // It asked for a name, and this is what the name stands for. `asks_again`: it has to ask for the
  // attributes, too.
  void found(pid_t caller, const Attributes& attributes, bool asks_again, MonoTime now);
  // With which the caller found it a moment ago.
  std::optional<Attributes> found_attributes(pid_t caller, InodeId inode, MonoTime now);
  // Whether a change of these must wait a moment for who found one of them on a second walk.
  bool are_awaited(const std::vector<LeaseChange>& changes, MonoTime now);

 private:
  struct Found {
    Attributes attributes;
    MonoTime at;
    int times_asked = 0;

    bool may_ask() const { return times_asked < (attributes.is_directory() ? 3 : 1); }
  };
  struct Walk {
    bool is_second = false;
    std::vector<Found> found = {};
    MonoTime began = {};   // when it was told
    MonoTime at = {};      // when it was told or last found something
    bool is_over = false;  // it has used what its path names, or is about to
    bool is_call_ending = false;
    bool has_asked = false;      // for a name
    InodeId opened_directory{};  // none: as usual

    Found* find(InodeId inode);
    void add(const Found& another);
  };
  // Where several callers come to one name at once, the kernel asks for one of them.
  void share_found(Walk& walk, InodeId inode, MonoTime now) const;
  void remember(pid_t caller, Walk walk);

  std::map<pid_t, Walk> walks_;
  std::map<InodeId, Found> found_by_anybody_;  // since somebody was told to walk again
  std::optional<MonoTime> newest_second_;
};

}  // namespace dfs::fuse
