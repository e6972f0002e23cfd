#include "master/core/lock_table.h"

#include <utility>

#include "common/assert.h"

namespace dfs::master {
namespace {

// Steps a search for a circle may take; what is farther is not found, and both wait.
constexpr std::size_t kDeadlockStepsMax = 100'000;

// A wait counts as what it may become: a range set in the middle of another makes two more.
constexpr std::size_t kWaitCost = 2;

bool forbids(LockMode held, LockMode wanted) {
  return held == LockMode::kExclusive || wanted == LockMode::kExclusive;
}

}  // namespace

// --- Asking --------------------------------------------------------------------------------------

template <class Found>
void LockTable::each_in_the_way(const File& file, const LockOwner& owner, LockSpan span,
                                LockMode mode, Found found) const {
  for (const auto& [holder, ranges] : file.held) {
    const auto range = holder == owner ? std::nullopt : ranges.first_conflict(span, mode);
    if (range && !found(holder, *range)) {
      return;
    }
  }
  for (const auto& [place, wait] : file.waits) {
    const bool is_in_the_way = wait.is_reserved && wait.owner != owner &&
                               wait.span.overlaps(span) && forbids(wait.mode, mode);
    if (is_in_the_way && !found(wait.owner, LockRange{wait.span, wait.mode})) {
      return;
    }
  }
}

bool LockTable::is_free(const File& file, const LockOwner& owner, LockSpan span,
                        LockMode mode) const {
  bool is_free = true;
  if (mode != LockMode::kNone) {
    each_in_the_way(file, owner, span, mode,
                    [&](const LockOwner&, const LockRange&) { return is_free = false; });
  }
  return is_free;
}

std::optional<LockTable::Conflict> LockTable::first_conflict(const File& file,
                                                             const LockOwner& owner, LockSpan span,
                                                             LockMode mode) const {
  std::optional<Conflict> first;
  if (mode != LockMode::kNone) {
    each_in_the_way(file, owner, span, mode, [&](const LockOwner& holder, const LockRange& range) {
      if (!first || range.span.start < first->range.span.start) {
        first = Conflict{holder, range};
      }
      return true;
    });
  }
  return first;
}

std::optional<LockTable::Conflict> LockTable::test(const LockFile& key, const LockOwner& owner,
                                                   LockSpan span, LockMode mode) const {
  const auto file = files_.find(key);
  return file == files_.end() ? std::nullopt : first_conflict(file->second, owner, span, mode);
}

bool LockTable::is_waiting(const LockWaitId& wait) const {
  const auto at = waits_.find(wait);
  return at != waits_.end() && !files_.at(at->second.file).waits.at(at->second.place).is_reserved;
}

std::set<SessionId> LockTable::take_woken() { return std::exchange(woken_, {}); }

std::size_t LockTable::count_of(SessionId session) const {
  const auto at = counts_.find(session);
  return at == counts_.end() ? 0 : at->second;
}

std::vector<LockRange> LockTable::held(const LockFile& key, const LockOwner& owner) const {
  const auto file = files_.find(key);
  if (file == files_.end() || !file->second.held.contains(owner)) {
    return {};
  }
  return file->second.held.at(owner).all();
}

// --- Setting -------------------------------------------------------------------------------------

LockTable::Outcome LockTable::set(const Request& request) {
  DFS_ASSERT(request.span.is_valid());
  const LockWaitId wait{request.owner.session, request.wait};
  const auto waiting = waits_.find(wait);
  if (waiting != waits_.end() && waiting->second.file != request.file) {
    drop_wait(wait);  // the number was used for something else; an honest client never does that
  }
  File& file = files_[request.file];
  const Outcome outcome = set_range(file, request);
  if (!outcome.waits) {
    erase_wait(file, wait);
  }
  reserve(file);
  tidy(request.file);
  return outcome;
}

LockTable::Outcome LockTable::set_range(File& file, const Request& request) {
  if (request.file.kind == LockKind::kFlock && request.mode != LockMode::kNone) {
    const auto held = file.held.find(request.owner);
    if (held != file.held.end()) {
      if (held->second.all().front().mode == request.mode) {
        return {};
      }
      Request unlock = request;
      unlock.mode = LockMode::kNone;
      give(file, unlock);
    }
  }
  return is_free(file, request.owner, request.span, request.mode) ? give(file, request)
                                                                  : refuse_or_wait(file, request);
}

LockTable::Outcome LockTable::give(File& file, const Request& request) {
  const auto held = file.held.find(request.owner);
  LockRanges ranges = held == file.held.end() ? LockRanges{} : held->second;
  const std::size_t before = ranges.count();
  ranges.set(request.span, request.mode);
  const std::size_t after = ranges.count();
  const bool has_waited = waits_.contains({request.owner.session, request.wait});
  if (after > before && !has_waited && !has_room(file, request.owner.session, after - before)) {
    return {.code = ErrorCode::kTooManyLocks};
  }
  if (!ranges.empty()) {
    file.held[request.owner] = std::move(ranges);
  } else if (held != file.held.end()) {
    file.held.erase(held);
  }
  account(request.file, file, request.owner.session, before, after);
  return {};
}

LockTable::Outcome LockTable::refuse_or_wait(File& file, const Request& request) {
  if (request.wait == 0) {
    return {.code = ErrorCode::kLockConflict};
  }
  const auto waiting = waits_.find({request.owner.session, request.wait});
  if (waiting != waits_.end()) {
    Wait& wait = file.waits.at(waiting->second.place);
    const bool is_same =
        wait.owner == request.owner && wait.span == request.span && wait.mode == request.mode;
    if (is_same) {
      return {.waits = true};
    }
    erase_wait(file, wait.id);
  }
  return enqueue(file, request);
}

LockTable::Outcome LockTable::enqueue(File& file, const Request& request) {
  if (!has_room(file, request.owner.session, kWaitCost)) {
    return {.code = ErrorCode::kTooManyLocks};
  }
  if (request.file.kind == LockKind::kRange && would_deadlock(request.file, request)) {
    return {.code = ErrorCode::kDeadlock};
  }
  const LockWaitId id{request.owner.session, request.wait};
  const std::uint64_t place = next_place_++;
  file.waits.emplace(
      place, Wait{.id = id, .owner = request.owner, .span = request.span, .mode = request.mode});
  waits_.emplace(id, WaitPlace{request.file, place});
  waits_of_[request.owner].insert(id);
  account(request.file, file, request.owner.session, 0, kWaitCost);
  return {.waits = true};
}

// Follows who waits for whom from those in the way of `request`, to see whether it leads back.
bool LockTable::would_deadlock(const LockFile& key, const Request& request) const {
  std::size_t steps = 0;
  std::set<LockOwner> seen;
  std::vector<LockOwner> to_visit;
  const auto visit = [&](const LockOwner& owner, const LockRange&) {
    if (seen.insert(owner).second) {
      to_visit.push_back(owner);
    }
    return ++steps < kDeadlockStepsMax;
  };
  each_in_the_way(files_.at(key), request.owner, request.span, request.mode, visit);
  while (!to_visit.empty() && steps < kDeadlockStepsMax) {
    const LockOwner owner = to_visit.back();
    to_visit.pop_back();
    const auto waits = waits_of_.find(owner);
    if (waits == waits_of_.end()) {
      continue;
    }
    for (const LockWaitId& id : waits->second) {
      const WaitPlace& at = waits_.at(id);
      const File& file = files_.at(at.file);
      const Wait& wait = file.waits.at(at.place);
      if (at.file.kind == LockKind::kRange && !wait.is_reserved) {
        each_in_the_way(file, owner, wait.span, wait.mode, visit);
      }
    }
    if (seen.contains(request.owner)) {
      return true;
    }
  }
  return false;
}

// --- Waits ---------------------------------------------------------------------------------------

void LockTable::erase_wait(File& file, const LockWaitId& id) {
  const auto at = waits_.find(id);
  if (at == waits_.end()) {
    return;
  }
  const auto wait = file.waits.find(at->second.place);
  DFS_ASSERT(wait != file.waits.end());
  const auto others = waits_of_.find(wait->second.owner);
  others->second.erase(id);
  if (others->second.empty()) {
    waits_of_.erase(others);
  }
  const LockFile key = at->second.file;
  file.waits.erase(wait);
  waits_.erase(at);
  account(key, file, id.session, kWaitCost, 0);
}

void LockTable::drop_wait(const LockWaitId& id) {
  const auto at = waits_.find(id);
  if (at == waits_.end()) {
    return;
  }
  const LockFile key = at->second.file;
  File& file = files_.at(key);
  erase_wait(file, id);
  reserve(file);
  tidy(key);
}

std::vector<LockTable::Waiter> LockTable::waiters(std::size_t count_max) const {
  std::vector<Waiter> waiters;
  for (const auto& [id, at] : waits_) {
    if (waiters.size() == count_max) {
      break;
    }
    const File& file = files_.at(at.file);
    const Wait& wait = file.waits.at(at.place);
    if (wait.is_reserved) {
      continue;
    }
    const auto conflict = first_conflict(file, wait.owner, wait.span, wait.mode);
    waiters.push_back({.id = id,
                       .file = at.file,
                       .holder = conflict ? std::optional(conflict->owner) : std::nullopt});
  }
  return waiters;
}

// A reservation never stands in the way of an earlier one that was not possible without it: each
// makes less possible, so one pass is enough.
void LockTable::reserve(File& file) {
  for (auto& [place, wait] : file.waits) {
    if (!wait.is_reserved && is_free(file, wait.owner, wait.span, wait.mode)) {
      wait.is_reserved = true;
      woken_.insert(wait.id.session);
    }
  }
}

void LockTable::drop_session(SessionId session) {
  const auto uses = uses_.find(session);
  if (uses == uses_.end()) {
    return;
  }
  const std::map<LockFile, std::size_t> files = uses->second;
  for (const auto& [key, number] : files) {
    File& file = files_.at(key);
    for (auto wait = file.waits.begin(); wait != file.waits.end();) {
      const LockWaitId id = (wait++)->second.id;
      if (id.session == session) {
        erase_wait(file, id);
      }
    }
    const LockOwner first{session, 0};
    for (auto held = file.held.lower_bound(first);
         held != file.held.end() && held->first.session == session;) {
      const std::size_t before = held->second.count();
      held = file.held.erase(held);
      account(key, file, session, before, 0);
    }
    reserve(file);
    tidy(key);
  }
  woken_.erase(session);
  DFS_ASSERT(!uses_.contains(session) && !counts_.contains(session));
}

// --- Bounds --------------------------------------------------------------------------------------

bool LockTable::has_room(const File& file, SessionId session, std::size_t more) const {
  return file.count + more <= limits_.per_file && count_of(session) + more <= limits_.per_session &&
         count_ + more <= limits_.total;
}

void LockTable::account(const LockFile& key, File& file, SessionId session, std::size_t before,
                        std::size_t after) {
  const auto change = [&](std::size_t& count) {
    DFS_ASSERT(count >= before);
    count = count - before + after;
    return count;
  };
  if (before == after) {
    return;
  }
  change(file.count);
  change(count_);
  if (change(uses_[session][key]) == 0) {
    uses_[session].erase(key);
  }
  if (change(counts_[session]) == 0) {
    counts_.erase(session);
    uses_.erase(session);
  }
}

void LockTable::tidy(const LockFile& key) {
  const auto file = files_.find(key);
  if (file->second.count == 0) {
    DFS_ASSERT(file->second.held.empty() && file->second.waits.empty());
    files_.erase(file);
  }
}

}  // namespace dfs::master
