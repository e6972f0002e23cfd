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
#include <utility>
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
  bool must_walk_again(pid_t caller, InodeId inode, Use use, bool is_suspect, MonoTime now) {
    const auto place = walks_.find(caller);
    const bool is_second = place != walks_.end() && place->second.is_second;
    if (is_second) {
      share_found(place->second, inode, now);
    }
    Found* found = place == walks_.end() ? nullptr : place->second.find(inode);
    const bool is_true = is_second && found != nullptr && now - found->at <= kWalkTime &&
                         (use == Use::kOpen || found->may_ask());
    // Of a second walk only where it starts is not asked for by a name.
    const bool is_start = is_second && place->second.found.empty() && use == Use::kAttributes &&
                          now - place->second.at <= kWalkTime;
    const bool is_allowed = !is_suspect || is_true || is_start;
    if (!is_allowed) {
      walk_again(caller, now);
    } else if (found != nullptr) {
      ++found->times_asked;
      place->second.is_over = use == Use::kOpen || !found->attributes.is_directory();
      place->second.is_call_ending = use == Use::kOpen;
    }
    return !is_allowed;
  }
  // It is answered ESTALE.
  void walk_again(pid_t caller, MonoTime now) {
    if (!newest_second_ || now - *newest_second_ > kWalkTime) {
      found_by_anybody_.clear();
    }
    newest_second_ = now;
    remember(caller, {.is_second = true, .began = now, .at = now});
  }
  // The request that comes next, or is being dealt with, is the last of its call.
  void call_ends(pid_t caller) {
    if (const auto place = walks_.find(caller); place != walks_.end()) {
      place->second.is_over = place->second.is_call_ending = true;
    }
  }
  // For each request, once it is known to be the last of its call or not: whether it comes after a
  // second walk, so that another ESTALE would reach the application.
  bool begins_after_second(pid_t caller, MonoTime now) {
    const auto place = walks_.find(caller);
    if (place == walks_.end()) {
      return false;
    }
    const bool is_second = place->second.is_second && now - place->second.at <= kWalkTime;
    if (place->second.is_call_ending) {
      walks_.erase(place);
    }
    return is_second;
  }
  // It asked for a name, and this is what the name stands for. `asks_again`: it has to ask for the
  // attributes, too.
  void found(pid_t caller, const Attributes& attributes, bool asks_again, MonoTime now) {
    const auto place = walks_.find(caller);
    const Found found{.attributes = attributes, .at = now};
    if (newest_second_ && now - *newest_second_ <= kWalkTime &&
        found_by_anybody_.size() < kWalksMax) {
      found_by_anybody_.insert_or_assign(attributes.inode, found);
    }
    if (place == walks_.end() || !place->second.is_second) {
      if (asks_again) {
        remember(caller, {.found = {found}, .at = now});
      }
    } else if (!place->second.is_over) {
      place->second.add(found);
    }
  }
  // With which the caller found it a moment ago.
  std::optional<Attributes> found_attributes(pid_t caller, InodeId inode, MonoTime now) {
    const auto place = walks_.find(caller);
    const Found* found = place == walks_.end() ? nullptr : place->second.find(inode);
    const bool is_young = found != nullptr && now - found->at <= kWalkTime;
    return is_young ? std::optional(found->attributes) : std::nullopt;
  }
  // Whether a change of these must wait a moment for who found one of them on a second walk.
  bool are_awaited(const std::vector<LeaseChange>& changes, MonoTime now) {
    std::erase_if(walks_, [now](const auto& entry) { return now - entry.second.at > kWalkTime; });
    return std::any_of(walks_.begin(), walks_.end(), [&](const auto& entry) {
      const Walk& walk = entry.second;
      return walk.is_second && !walk.is_call_ending &&
             std::any_of(changes.begin(), changes.end(), [&](const auto& change) {
               const Found* found = walk.find(change.inode);
               return found != nullptr && now - found->at <= kFoundWait && change.names.empty();
             });
    });
  }

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

    const Found* find(InodeId inode) const {
      const auto place = std::find_if(found.begin(), found.end(), [inode](const Found& each) {
        return each.attributes.inode == inode;
      });
      return place == found.end() ? nullptr : &*place;
    }
    void add(const Found& another) {
      if (Found* before = find(another.attributes.inode); before != nullptr) {
        *before = another;
      } else if (found.size() < kFoundMax) {
        found.push_back(another);
      }
      at = another.at;
    }
    Found* find(InodeId inode) { return const_cast<Found*>(std::as_const(*this).find(inode)); }
  };
  // Where several callers come to one name at once, the kernel asks for one of them.
  void share_found(Walk& walk, InodeId inode, MonoTime now) const {
    const auto shared = found_by_anybody_.find(inode);
    if (shared != found_by_anybody_.end() && shared->second.at >= walk.began && !walk.is_over &&
        now - walk.began <= kWalkTime && walk.find(inode) == nullptr) {
      walk.add(shared->second);
    }
  }
  void remember(pid_t caller, Walk walk) {
    if (walks_.size() >= kWalksMax && !walks_.contains(caller)) {
      walks_.clear();
    }
    walks_[caller] = std::move(walk);
  }

  std::map<pid_t, Walk> walks_;
  std::map<InodeId, Found> found_by_anybody_;  // since somebody was told to walk again
  std::optional<MonoTime> newest_second_;
};

}  // namespace dfs::fuse
