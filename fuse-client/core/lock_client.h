// Locks of this client's programs: asks the master for them, waits for their turn, keeps what is
// held, and tells it again to a master that was started anew.
//
// What is held changes only by the answer to a SetLock, and of one owner only one SetLock on the
// same bytes is under way at a time, so this client and the master always agree. A wait is a place
// in the master's queue, not a call: one AwaitLocks is under way for all of them, and a waiter
// whose turn has come asks again. So a wait that is interrupted has taken nothing.
//
// Unlocks never fail and are never given up: an interrupted one answers and goes on by itself. What
// comes later on that file waits for it. An interrupted SetLock under way is waited for a moment
// (kAnswerPatience); if the master gives the lock after that, it is put back to what it was. (A
// call that also makes a lock weaker, from exclusive to shared, could not be: it is waited for.)
//
// A session that ended has lost its locks: each holder is told once, by kIo from its next lock call
// or close; a line in the log says so at once. Bounded: kLockOpsMax calls of programs; at most
// kLockCallsMax SetLocks under way.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/held_locks.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/master_link.h"
#include "fuse-client/core/obstacle.h"

namespace dfs::client {

inline constexpr std::size_t kLockOpsMax = 8192;  // kTooManyLocks
inline constexpr std::chrono::milliseconds kAnswerPatience{1000};
inline constexpr std::chrono::milliseconds kUnlockRetryDelay{1000};

using LockOpId = StrongId<struct LockOpTag, std::uint64_t>;

class LockClient {
 public:
  struct Wanted {
    LockHolder holder;
    LockSpan span;
    LockMode mode = LockMode::kNone;
    HandleId handle;
    std::uint32_t pid = 0;
  };

  // Takes MasterLink::on_new_session too. `master` outlives this.
  LockClient(World world, MasterLink& master);

  // Fails with kLockConflict (without `wait`), kDeadlock, kTooManyLocks, kInvalidArgument,
  // kInterrupted, kIo (a lock of this holder was lost with the session, told once).
  LockOpId set(const Wanted& wanted, bool wait, Done<Unit> done);
  // What the op waits for; it may be over just now.
  Obstacle obstacle(LockOpId id) const;
  // As Client::interrupt. No effect on what is answered.
  void interrupt(LockOpId id);

  // Whether close(2) by that process has to unlock something.
  bool has_range_locks(InodeId inode, std::uint64_t owner) const;
  // Gives up every byte the process has locked of the file. Fails with kIo as set().
  LockOpId unlock_all(InodeId inode, std::uint64_t owner, Done<Unit> done);
  // The open file is gone, and with it what was locked through it and not given up. Nobody waits.
  void handle_released(InodeId inode, HandleId handle);

  std::optional<std::uint32_t> pid_of(const LockHolder& holder) const {
    return held_.pid_of(holder);
  }
  // What MasterLink::on_must_tell is to call.
  void tell_all();

  const HeldLocks& held() const { return held_; }
  std::size_t calls_pending() const { return ops_.size(); }

 private:
  enum class State {
    kToSend,
    kSent,
    kWaiting,  // in the master's queue
  };
  struct Op {
    Wanted wanted;
    bool waits = false;
    Done<Unit> done;  // null: nobody waits for it (any more)
    State state = State::kToSend;
    bool is_queued = false;  // the master has a place in its queue for it
    bool is_interrupted = false;
    // Its caller was told kInterrupted while it was under way. If the lock is given all the same,
    // what was there before is put back, step by step; `wanted` is then the step under way.
    bool is_given_up = false;
    std::optional<std::vector<LockRange>> steps_back;
    LockSpan area;             // of all that it does
    std::uint64_t number = 0;  // of the SetLock under way
    CallId call;
    MonoTime not_before{};
  };
  using Ops = std::map<LockOpId, Op>;

  LockOpId add(const Wanted& wanted, bool wait, Done<Unit> done);
  LockOpId answer_later(Done<Unit> done, Result<Unit> result);
  // Answers its caller, if one waits still. The op goes on.
  void answer(Op& op, Result<Unit> result);
  void end(Ops::iterator op, Result<Unit> result);
  void tidy(const LockHolder& holder);

  void pump();
  bool may_send(LockOpId id, const Op& op) const;
  void send(LockOpId id, Op& op);
  void ask_again(LockOpId id, Op& op, Duration delay = Duration::zero());
  void answered(LockOpId id, std::uint64_t number, const Result<SetLockReply>& reply);
  void failed(Ops::iterator op, const Error& error);
  void queued(Ops::iterator op);
  void given(Ops::iterator op);
  void refused(Ops::iterator op, ErrorCode code);
  void give_up(LockOpId id);
  bool weakens(const Op& op) const;
  void plan_steps_back(Op& op);
  void next_step_back(Ops::iterator op);
  std::uint64_t settled() const;

  void schedule_await();
  void send_await();
  void await_answered(std::uint64_t number, const Result<AwaitLocksReply>& reply);

  void forget_calls();
  void session_replaced();
  LockRanges claimed(const LockHolder& holder) const;
  void send_claims();
  void claims_answered(const std::vector<LockClaim>& claims,
                       const Result<ReclaimLocksReply>& reply);
  void report_loss(const LockHolder& holder, const char* why);

  World world_;
  MasterLink& master_;
  HeldLocks held_;
  Ops ops_;
  std::map<LockFile, std::set<LockOpId>> by_file_;
  std::set<LockOpId> to_send_;
  std::uint64_t next_op_ = 1;
  std::uint64_t next_number_ = 1;
  std::set<std::uint64_t> unsettled_;  // numbers of SetLocks under way
  CallId await_;
  std::uint64_t await_number_ = 0;
  bool is_await_posted_ = false;
  bool may_know_of_waits_ = false;  // the master may
  bool must_reclaim_ = false;       // nothing else is sent before that is done
  CallId reclaim_;
  std::uint64_t reclaim_number_ = 0;
  Timer retry_timer_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
