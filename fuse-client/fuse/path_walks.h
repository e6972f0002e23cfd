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

#include <algorithm>
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
// A caller uses at once what it found; it may also have needed no more than the finding.
inline constexpr std::chrono::milliseconds kWalkTime{100};
// For so long a change of what was found waits for its use.
inline constexpr std::chrono::milliseconds kFoundWait{10};

enum class Use : std::uint8_t { kAttributes, kOpen };

class PathWalks {
 public:
  // The caller, a thread, uses an inode. After a walk it may ask for attributes once and then open,
  // since to open it the kernel needs to know its permissions.
  bool must_walk_again(pid_t caller, InodeId inode, Use use, bool is_suspect, MonoTime now) {
    const auto place = walks_.find(caller);
    const bool is_found =
        place != walks_.end() && place->second.is_second && place->second.found.inode == inode;
    const bool is_true = is_found && now - place->second.at <= kWalkTime &&
                         (use == Use::kOpen || !place->second.is_used);
    const bool is_allowed = !is_suspect || is_true;
    if (!is_allowed) {
      walk_again(caller, now);
    } else if (is_found && use == Use::kOpen) {
      walks_.erase(place);
    } else if (is_found) {
      place->second.is_used = true;
    }
    return !is_allowed;
  }
  // It is answered ESTALE.
  void walk_again(pid_t caller, MonoTime now) { remember(caller, {.is_second = true, .at = now}); }
  // It was answered ESTALE a moment ago: another one would reach the application.
  bool is_second(pid_t caller, MonoTime now) const {
    const auto place = walks_.find(caller);
    return place != walks_.end() && place->second.is_second && now - place->second.at <= kWalkTime;
  }
  // What it was told has been dealt with.
  void forget(pid_t caller) { walks_.erase(caller); }
  // It asked for a name, and this is what the name stands for. `asks_again`: it has to ask for the
  // attributes, too.
  void found(pid_t caller, const Attributes& attributes, bool asks_again, MonoTime now) {
    const auto place = walks_.find(caller);
    const bool is_second = place != walks_.end() && place->second.is_second;
    if (is_second && place->second.is_used) {
      return;
    }
    if (is_second || asks_again) {
      remember(caller, {.is_second = is_second, .found = attributes, .at = now});
    }
  }
  // With which the caller found it a moment ago.
  std::optional<Attributes> found_attributes(pid_t caller, InodeId inode, MonoTime now) const {
    const auto place = walks_.find(caller);
    const bool is_found = place != walks_.end() && place->second.found.inode == inode &&
                          now - place->second.at <= kWalkTime;
    return is_found ? std::optional(place->second.found) : std::nullopt;
  }
  // Whether a change of these must wait a moment for who found one of them on a second walk.
  bool are_awaited(const std::vector<LeaseChange>& changes, MonoTime now) {
    std::erase_if(walks_, [now](const auto& entry) { return now - entry.second.at > kWalkTime; });
    return std::any_of(walks_.begin(), walks_.end(), [&](const auto& entry) {
      const Walk& walk = entry.second;
      return walk.is_second && now - walk.at <= kFoundWait &&
             std::any_of(changes.begin(), changes.end(), [&](const LeaseChange& change) {
               return change.inode == walk.found.inode && change.names.empty();
             });
    });
  }

 private:
  struct Walk {
    bool is_second = false;
    Attributes found = {};  // no inode: nothing yet
    MonoTime at = {};       // when it was told or found that
    bool is_used = false;
  };
  void remember(pid_t caller, const Walk& walk) {
    if (walks_.size() >= kWalksMax && !walks_.contains(caller)) {
      walks_.clear();
    }
    walks_[caller] = walk;
  }

  std::map<pid_t, Walk> walks_;
};

}  // namespace dfs::fuse
