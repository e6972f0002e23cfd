#include "fuse-client/fuse/path_walks.h"

#include <algorithm>
#include <utility>

namespace dfs::fuse {

bool PathWalks::must_walk_again(pid_t caller, InodeId inode, Use use, bool is_suspect,
                                MonoTime now) {
  const auto place = walks_.find(caller);
  const bool is_known = place != walks_.end();
  const bool is_second = is_known && place->second.is_second;
  if (is_second) {
    share_found(place->second, inode, now);
  }
  Found* found = is_known ? place->second.find(inode) : nullptr;
  const bool is_true = is_second && found != nullptr && now - found->at <= kWalkTime &&
                       (use == Use::kOpen || found->may_ask());
  // Of a second walk only where it starts is not asked for by a name.
  const bool is_start = is_second && !place->second.has_asked;
  const bool is_opened = is_known && place->second.opened_directory == inode;
  const bool is_allowed =
      !is_suspect || is_true || ((is_start || is_opened) && now - place->second.at <= kWalkTime);
  if (!is_allowed) {
    walk_again(caller, now);
  } else if (found != nullptr) {
    ++found->times_asked;
    place->second.is_over |= use == Use::kOpen || !found->attributes.is_directory();
    place->second.is_call_ending |= use == Use::kOpen;
  }
  return !is_allowed;
}

void PathWalks::walk_again(pid_t caller, MonoTime now) {
  if (!newest_second_ || now - *newest_second_ > kWalkTime) {
    found_by_anybody_.clear();
  }
  newest_second_ = now;
  remember(caller, {.is_second = true, .began = now, .at = now});
}

void PathWalks::call_ends(pid_t caller) {
  if (const auto place = walks_.find(caller); place != walks_.end()) {
    place->second.is_over = place->second.is_call_ending = true;
  }
}

bool PathWalks::begins_after_second(pid_t caller, MonoTime now) {
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

void PathWalks::opened_directory(pid_t caller, InodeId inode, MonoTime now) {
  remember(caller, {.at = now, .opened_directory = inode});
}

void PathWalks::asks_for_name(pid_t caller) {
  if (const auto place = walks_.find(caller); place != walks_.end()) {
    place->second.has_asked = true;
    place->second.opened_directory = {};
  }
}

void PathWalks::found(pid_t caller, const Attributes& attributes, bool asks_again, MonoTime now) {
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

std::optional<Attributes> PathWalks::found_attributes(pid_t caller, InodeId inode, MonoTime now) {
  const auto place = walks_.find(caller);
  const Found* found = place == walks_.end() ? nullptr : place->second.find(inode);
  const bool is_young = found != nullptr && now - found->at <= kWalkTime;
  return is_young ? std::optional(found->attributes) : std::nullopt;
}

bool PathWalks::are_awaited(const std::vector<LeaseChange>& changes, MonoTime now) {
  std::erase_if(walks_, [now](const auto& entry) { return now - entry.second.at > kWalkTime; });
  return std::any_of(walks_.begin(), walks_.end(), [&](auto& entry) {
    Walk& walk = entry.second;
    return walk.is_second && !walk.is_call_ending &&
           std::any_of(changes.begin(), changes.end(), [&](const auto& change) {
             const Found* found = walk.find(change.inode);
             return found != nullptr && now - found->at <= kFoundWait && change.names.empty();
           });
  });
}

PathWalks::Found* PathWalks::Walk::find(InodeId inode) {
  const auto place = std::find_if(found.begin(), found.end(), [inode](const Found& each) {
    return each.attributes.inode == inode;
  });
  return place == found.end() ? nullptr : &*place;
}

void PathWalks::Walk::add(const Found& another) {
  if (Found* before = find(another.attributes.inode); before != nullptr) {
    *before = another;
  } else if (found.size() < kFoundMax) {
    found.push_back(another);
  }
  at = another.at;
}

void PathWalks::share_found(Walk& walk, InodeId inode, MonoTime now) const {
  const auto shared = found_by_anybody_.find(inode);
  if (shared != found_by_anybody_.end() && shared->second.at >= walk.began && !walk.is_over &&
      now - walk.began <= kWalkTime && walk.find(inode) == nullptr) {
    walk.add(shared->second);
  }
}

void PathWalks::remember(pid_t caller, Walk walk) {
  if (walks_.size() >= kWalksMax && !walks_.contains(caller)) {
    walks_.clear();
  }
  walks_[caller] = std::move(walk);
}

}  // namespace dfs::fuse
