// Who has which lock and who waits for one: a pure table, without messages, sessions' lives and
// time (those are LockService's).
//
// A lock is given when no other owner holds one that forbids it. Those who wait are in one queue
// for each file and kind; when nothing stands in the way of one any more, what it wants is reserved
// for it, first come first served, and it is woken: it asks again, and only then has the lock. To
// all others a reservation is a lock. As on a local filesystem, somebody new who conflicts with no
// lock and no reservation does not wait for those who wait.
//
// A wait of range locks that would close a circle of owners who wait for each other is refused.
// (Only a new wait can close one: who is given a lock does not wait. An owner with several threads
// can be accused wrongly, as by the kernel.) Open file descriptions cannot be told from processes
// here and are treated the same; flocks may wait in circles for ever, as locally.
//
// Bounded: each of `Limits`, a wait counting as two locks. What makes no more of them always
// succeeds. Iteration is ordered by ids. Loop thread only.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/error_code.h"
#include "common/ids.h"
#include "proto/limits.h"
#include "proto/lock_ranges.h"

namespace dfs::master {

// A process or an open file, of one client.
struct LockOwner {
  SessionId session;
  std::uint64_t number = 0;
  friend auto operator<=>(const LockOwner&, const LockOwner&) = default;
};

struct LockWaitId {
  SessionId session;
  std::uint64_t number = 0;
  friend auto operator<=>(const LockWaitId&, const LockWaitId&) = default;
};

class LockTable {
 public:
  struct Limits {
    std::size_t per_file = kLocksPerFileMax;
    std::size_t per_session = kLocksPerSessionMax;
    std::size_t total = kLocksMax;
  };
  struct Request {
    LockFile file;
    LockOwner owner;
    LockSpan span;
    LockMode mode = LockMode::kNone;
    std::uint64_t wait = 0;  // of the owner's session; 0: does not wait
  };
  struct Outcome {
    // kOk (given, taken away, or waits), kLockConflict, kDeadlock, kTooManyLocks.
    ErrorCode code = ErrorCode::kOk;
    bool waits = false;
    friend bool operator==(const Outcome&, const Outcome&) = default;
  };
  struct Conflict {
    LockOwner owner;
    LockRange range;
  };

  LockTable() : LockTable(Limits{}) {}
  explicit LockTable(Limits limits) : limits_(limits) {}

  // Precondition: the span is valid. A wait that was there keeps its place when asked for again,
  // and is over when the outcome is anything but to wait.
  Outcome set(const Request& request);
  // The first lock or reservation that forbids it, by offset.
  std::optional<Conflict> test(const LockFile& file, const LockOwner& owner, LockSpan span,
                               LockMode mode) const;
  // No effect on what is not there.
  void drop_wait(const LockWaitId& wait);
  void drop_session(SessionId session);

  // Whether its turn has not come yet; false also for a wait that is not there.
  bool is_waiting(const LockWaitId& wait) const;
  // Sessions of waits whose turn has come since the last call.
  std::set<SessionId> take_woken();

  std::size_t count() const { return count_; }  // locks, and two for each wait
  std::size_t count_of(SessionId session) const;
  struct Waiter {
    LockWaitId id;
    LockFile file;
    std::optional<LockOwner> holder;  // the first in its way
  };
  // Who waits and whose turn has not come, at most so many. For people: looks at all locks of each
  // file concerned.
  std::vector<Waiter> waiters(std::size_t count_max) const;
  // For tests and figures.
  std::vector<LockRange> held(const LockFile& file, const LockOwner& owner) const;

 private:
  struct Wait {
    LockWaitId id;
    LockOwner owner;
    LockSpan span;
    LockMode mode = LockMode::kNone;
    bool is_reserved = false;
  };
  struct File {
    std::map<LockOwner, LockRanges> held;
    std::map<std::uint64_t, Wait> waits;  // by place in the queue
    std::size_t count = 0;                // locks and waits
  };
  struct WaitPlace {
    LockFile file;
    std::uint64_t place = 0;
  };

  Outcome set_range(File& file, const Request& request);
  Outcome give(File& file, const Request& request);
  Outcome refuse_or_wait(File& file, const Request& request);
  Outcome enqueue(File& file, const Request& request);
  bool would_deadlock(const LockFile& file, const Request& request) const;
  // Calls `found(holder, range)` for each that keeps `owner` from the lock, while it returns true.
  template <class Found>
  void each_in_the_way(const File& file, const LockOwner& owner, LockSpan span, LockMode mode,
                       Found found) const;
  bool is_free(const File& file, const LockOwner& owner, LockSpan span, LockMode mode) const;
  std::optional<Conflict> first_conflict(const File& file, const LockOwner& owner, LockSpan span,
                                         LockMode mode) const;
  void erase_wait(File& file, const LockWaitId& wait);
  void reserve(File& file);
  void account(const LockFile& key, File& file, SessionId session, std::size_t before,
               std::size_t after);
  bool has_room(const File& file, SessionId session, std::size_t more) const;
  void tidy(const LockFile& key);

  Limits limits_;
  std::map<LockFile, File> files_;
  std::map<LockWaitId, WaitPlace> waits_;
  std::map<LockOwner, std::set<LockWaitId>> waits_of_;
  std::map<SessionId, std::map<LockFile, std::size_t>> uses_;  // locks and waits
  std::map<SessionId, std::size_t> counts_;
  std::size_t count_ = 0;
  std::uint64_t next_place_ = 1;
  std::set<SessionId> woken_;
};

}  // namespace dfs::master
