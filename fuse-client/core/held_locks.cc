#include "fuse-client/core/held_locks.h"

#include <utility>

namespace dfs::client {

void HeldLocks::note_use(const LockHolder& holder, HandleId handle, std::uint32_t pid) {
  Entry& entry = entries_[holder];
  entry.handles.try_emplace(handle);
  entry.pid = pid;
}

void HeldLocks::set(const LockHolder& holder, LockSpan span, LockMode mode, HandleId handle) {
  if (mode == LockMode::kNone && !knows(holder)) {
    return;
  }
  Entry& entry = entries_[holder];
  entry.ranges.set(span, mode);
  for (auto& [user, ranges] : entry.handles) {
    ranges.set(span, user == handle ? mode : LockMode::kNone);
  }
}

std::vector<LockSpan> HeldLocks::end_use(const LockHolder& holder, HandleId handle) {
  const auto entry = entries_.find(holder);
  if (entry == entries_.end() || !entry->second.handles.contains(handle)) {
    return {};
  }
  if (entry->second.handles.size() == 1) {
    return {LockSpan{}};  // also what is still being asked for
  }
  std::vector<LockSpan> spans;
  for (const LockRange& range : entry->second.handles.at(handle).all()) {
    spans.push_back(range.span);
  }
  entry->second.handles.erase(handle);
  return spans;
}

void HeldLocks::replace(const LockHolder& holder, LockRanges ranges) {
  entries_[holder].ranges = std::move(ranges);
}

void HeldLocks::lose(const LockHolder& holder, LockSpan span) {
  Entry& entry = entries_[holder];
  entry.ranges.set(span, LockMode::kNone);
  entry.is_lost = true;
}

std::vector<LockHolder> HeldLocks::lose_all() {
  std::vector<LockHolder> losers;
  for (auto& [holder, entry] : entries_) {
    if (!entry.ranges.empty()) {
      entry.ranges = {};
      entry.is_lost = true;
      losers.push_back(holder);
    }
  }
  return losers;
}

bool HeldLocks::take_loss(const LockHolder& holder) {
  const auto entry = entries_.find(holder);
  return entry != entries_.end() && std::exchange(entry->second.is_lost, false);
}

void HeldLocks::tidy(const LockHolder& holder) {
  const auto entry = entries_.find(holder);
  if (entry != entries_.end() && entry->second.ranges.empty() && !entry->second.is_lost) {
    entries_.erase(entry);
  }
}

LockRanges HeldLocks::ranges(const LockHolder& holder) const {
  const auto entry = entries_.find(holder);
  return entry == entries_.end() ? LockRanges{} : entry->second.ranges;
}

std::vector<LockHolder> HeldLocks::users_of(InodeId inode, HandleId handle) const {
  std::vector<LockHolder> users;
  const LockHolder first{.file = {.inode = inode, .kind = LockKind::kRange}, .owner = 0};
  for (auto entry = entries_.lower_bound(first);
       entry != entries_.end() && entry->first.file.inode == inode; ++entry) {
    if (entry->second.handles.contains(handle)) {
      users.push_back(entry->first);
    }
  }
  return users;
}

std::optional<std::uint32_t> HeldLocks::pid_of(const LockHolder& holder) const {
  const auto entry = entries_.find(holder);
  return entry == entries_.end() ? std::nullopt : std::optional(entry->second.pid);
}

}  // namespace dfs::client
