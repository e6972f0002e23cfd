// Locks of programs, as sessions ask for them: SetLocks applied once, waits that are told when it
// is their turn, and the time after a start in which clients tell again what they hold.
//
// Everything is in memory and no part of the batch's transaction. So that an answer stays true when
// a batch is rolled back and its requests are tried again: a SetLock is known by its number, the
// other requests change nothing when they come again.
//
// After a start, until each session found in the store has told its locks or is over, no lock is
// given and none is tested: such requests are kept and answered then (at most kHeldMax; more are
// dropped, their senders ask again). Of a session that has not told, everything is ignored: it is
// late, or will be asked again. A session that lives and does not tell within `tell_limit`, as a
// client that knows no locks, is taken to hold none. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "common/world.h"
#include "master/core/lock_table.h"
#include "master/core/store.h"
#include "proto/lock_messages.h"
#include "proto/rpc_server.h"

namespace dfs::master {

class LockService {
 public:
  static constexpr std::size_t kHeldMax = 8192;
  // Sends an encoded answer, now or never.
  using Send = std::function<void(PeerId, Buffer)>;

  LockService(World world, std::uint64_t incarnation, Duration tell_limit);

  // Reads which sessions must tell first. Once, before any request.
  Status load(Store& store);
  void on_answer(Send send) { send_ = std::move(send); }

  // Requests of sessions that exist. Nothing: it is answered later through Send, or not at all.
  // Fail with kBadMessage, kBusy (more SetLocks at once than kLockCallsMax).
  Result<std::optional<SetLockReply>> set(SessionId session, const SetLockRequest& request,
                                          const ReplyAddress& to);
  Result<std::optional<TestLockReply>> test(SessionId session, const TestLockRequest& request,
                                            const ReplyAddress& to);
  Result<std::optional<AwaitLocksReply>> await(SessionId session, const AwaitLocksRequest& request,
                                               const ReplyAddress& to);
  Result<std::optional<ReclaimLocksReply>> reclaim(SessionId session,
                                                   const ReclaimLocksRequest& request);

  // Its locks and waits are over.
  void session_ended(SessionId session);

  // Who waits for a lock, for people: at most kWaitsTold of those in the queue and of those that
  // came after a start.
  static constexpr std::size_t kWaitsTold = 1024;
  struct Waiting {
    SessionId session;
    std::uint64_t wait = 0;     // its number, or 0
    std::uint64_t request = 0;  // the id of a request kept until the grace period is over, or 0
    InodeId inode;
    MonoTime since{};
    std::vector<SessionId> others;  // who holds it, or whose locks are not known yet
  };
  std::vector<Waiting> waiting() const;

  bool is_in_grace() const { return !not_told_yet_.empty(); }
  const LockTable& table() const { return table_; }

 private:
  struct Await {
    ReplyAddress to;
    std::vector<std::uint64_t> waits;
  };
  struct Session {
    std::uint64_t settled = 0;                      // SetLocks up to here are ignored
    std::map<std::uint64_t, SetLockReply> answers;  // to those above it
    struct Wait {
      std::uint64_t asked = 0;  // the newest SetLock that asked
      MonoTime since{};
    };
    std::map<std::uint64_t, Wait> waits;
    std::uint64_t await_number = 0;  // the newest seen
    std::optional<Await> await;
    std::optional<ReclaimLocksReply> reclaimed;
  };
  struct Held {
    SessionId session;
    InodeId inode;
    MonoTime since{};
    std::function<void()> answer;
  };

  // Keeps a request until the grace period is over.
  template <class Request>
  void hold(SessionId session, const Request& request, const ReplyAddress& to);
  void answer_held(SessionId session, const SetLockRequest& request, const ReplyAddress& to);
  void answer_held(SessionId session, const TestLockRequest& request, const ReplyAddress& to);
  template <class Reply>
  void answer(const ReplyAddress& to, const Result<std::optional<Reply>>& reply);
  void settle(Session& session, std::uint64_t up_to);
  SetLockReply apply(SessionId id, Session& session, const SetLockRequest& request);
  AwaitLocksReply ready(SessionId id, const std::vector<std::uint64_t>& waits) const;
  ReclaimLocksReply take_claims(SessionId id, const ReclaimLocksRequest& request);
  void has_told(SessionId session);
  void give_up_waiting();
  void grace_over();
  void wake();
  void wake_now();

  World world_;
  std::uint64_t incarnation_;
  Duration tell_limit_;
  Timer tell_timer_;
  LockTable table_;
  Send send_;
  std::map<SessionId, Session> sessions_;  // those that ever asked
  std::set<SessionId> not_told_yet_;
  std::map<std::pair<PeerId, std::uint64_t>, Held> held_;  // by sender and request id
  std::set<SessionId> to_wake_;
  bool is_wake_posted_ = false;
  // Posted tasks hold it weakly.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace dfs::master
