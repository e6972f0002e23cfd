// Who was told to walk a path again, and what was found on the way.
//
// While an inode is suspect (see cache_dropper.h) the kernel may have come to it by a name that
// stands for it no more. It is answered ESTALE then, once: for the caller it walks the path again
// and asks for each name. What that finds is true, so what the caller then does with it is
// answered; a second ESTALE would reach the application.
// At most kWalksMax callers are remembered. Loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

#include "common/ids.h"
#include "common/scheduler.h"

namespace dfs::fuse {

inline constexpr std::size_t kWalksMax = 4096;
// A caller uses at once what it found; it may also have needed no more than the finding.
inline constexpr std::chrono::milliseconds kWalkTime{100};

enum class Use : std::uint8_t { kAttributes, kOpen };

class PathWalks {
 public:
  // The caller, a thread, uses an inode. After a walk it may ask for attributes once and then open,
  // since to open it the kernel needs to know its permissions.
  bool must_walk_again(pid_t caller, InodeId inode, Use use, bool is_suspect, MonoTime now) {
    const auto place = walks_.find(caller);
    const bool is_found = place != walks_.end() && place->second.found == inode;
    const bool is_true = is_found && now - place->second.found_at <= kWalkTime &&
                         (use == Use::kOpen || !place->second.is_used);
    const bool is_allowed = !is_suspect || is_true;
    if (!is_allowed) {
      if (walks_.size() >= kWalksMax) {
        walks_.clear();
      }
      walks_[caller] = {};
    } else if (is_found && use == Use::kOpen) {
      walks_.erase(place);
    } else if (is_found) {
      place->second.is_used = true;
    }
    return !is_allowed;
  }
  // It asked for a name, and this is what the name stands for.
  void found(pid_t caller, InodeId inode, MonoTime now) {
    const auto place = walks_.find(caller);
    if (place != walks_.end() && !place->second.is_used) {
      place->second.found = inode;
      place->second.found_at = now;
    }
  }

 private:
  struct Walk {
    InodeId found;  // unset: nothing yet
    MonoTime found_at;
    bool is_used = false;
  };
  std::map<pid_t, Walk> walks_;
};

}  // namespace dfs::fuse
