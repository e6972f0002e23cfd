// The client's session with the master: numbers changes, repeats what a restart swallowed, keeps
// the session alive and tells which inodes are open.
//
// An answered change is kept until the master says that it is on stable storage (replies carry how
// far that is): the master's machine may lose it before, and then asks for it again (the grace
// period of master/core/grace.h; all calls wait meanwhile). When kept changes are many or old, the
// link asks the master to sync. A change that is neither unanswered nor kept is settled; up to the
// first that is not, the master may drop the answers it keeps.
//
// Calls go out in the order they were made, with two exceptions: changes wait while
// kUnsettledMax of them, or kKeptBytesMax, are not settled, and a change that can free an inode
// (unlink, rename) waits until the master has answered for every pin made before it, since a
// message may be lost alone and be sent again behind later ones. Pins are told within kPinDelay,
// unpins with less hurry, pins of directories with the next keep-alive: a removed one is not freed
// before each session was heard twice. At most kCallsQueuedMax calls wait here; more are kBusy.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/change_kinds.h"
#include "fuse-client/core/client.h"
#include "fuse-client/core/kept_changes.h"
#include "fuse-client/core/lease_link.h"
#include "fuse-client/core/master_call.h"
#include "fuse-client/core/master_clock.h"
#include "fuse-client/core/master_link_limits.h"
#include "proto/rpc_client.h"
#include "proto/session_messages.h"

namespace dfs::client {

class MasterLink {
 public:
  MasterLink(World world, Address master, std::string client_name);
  ~MasterLink();  // pending callbacks never run
  MasterLink(const MasterLink&) = delete;
  MasterLink& operator=(const MasterLink&) = delete;

  // Opens the session. Fails with kUnavailable (nobody answered within connect_wait),
  // kVersionMismatch, kInvalidArgument (address), or what the master refused it with.
  void start(Duration connect_wait, Done<Unit> done);
  // Closes the session; gives up after a few seconds. Other calls still waiting never answer.
  void stop(Done<Unit> done);

  // Waits through restarts of the master. When the session expired meanwhile, a new one is opened:
  // reads and repeatable changes are then repeated in it, another change fails with
  // kSessionExpired, its outcome unknown. Where another cluster answers, or another version, calls
  // fail with kWrongCluster, kVersionMismatch. Precondition: start() succeeded.
  // `after_pins`: not sent before the master has answered for every pin made until now.
  template <class Request>
  CallId call(const Request& request, Done<typename Request::Reply> done,
              bool after_pins = kCanFreeInode<Request>);

  // Gives up waiting while the master is unreachable, or for a read at any time: the callback runs
  // with kInterrupted. A change that waits at the master for other clients is withdrawn, one that
  // is being made is left to finish.
  void interrupt(CallId call);

  // The id of the request that is under way for the call; 0: none is.
  std::uint64_t request_of(CallId call) const;
  // For people: `fill` adds to each keep-alive what waits here, and one is sent soon.
  void on_tell(std::function<void(KeepAliveRequest&)> fill) { tell_ = std::move(fill); }
  void tell_soon();

  // Open inodes: what is pinned lives on after its last unlink. Counted: every pin has its unpin.
  void pin(InodeId inode);
  void pin_directory(InodeId inode);  // no change waits for it
  void unpin(InodeId inode);
  // The pin of an inode that a CreateRequest with `pin` gave: not told again when the master surely
  // has it. `mark` is pin_mark() from before that call. False: the answer was long under way, the
  // pin may have been given up, and the inode may be gone.
  std::uint64_t pin_mark() const { return keep_alive_.is_set() ? 0 : keep_alives_sent_ + 1; }
  bool pin_created(InodeId inode, std::uint64_t mark);

  // A new session replaced one that expired: the chunks of the old one are gone, and its locks.
  void on_new_session(std::function<void()> handler) { new_session_.push_back(std::move(handler)); }
  // The master may not know what the session holds: it was started anew.
  void on_must_tell(std::function<void()> handler) { must_tell_ = std::move(handler); }

  // Sessions to be ended when one is opened, and who hears of each that is opened or was closed.
  void set_sessions(std::vector<std::uint64_t> dead, std::function<void(std::uint64_t)> noted) {
    dead_sessions_ = std::move(dead);
    note_nonce_ = std::move(noted);
  }
  LeaseLink& leases() { return leases_; }
  const LeaseLink& leases() const { return leases_; }

  // An answered change of these inodes is gone with the power of the master's machine, and could
  // not be made again (a line in the log says why).
  void on_lost_change(std::function<void(const std::vector<InodeId>&)> handler) {
    lost_change_ = std::move(handler);
  }

  Timestamp wall_time() { return clock_.time(); }  // the master's
  SessionId session() const { return session_; }
  const std::string& cluster_id() const { return cluster_id_; }  // once start() succeeded
  std::uint64_t incarnation() const { return incarnation_; }     // of the master, as last heard
  bool is_up() const { return rpc_.is_up() && !is_replaying_; }

 private:
  enum class State { kIdle, kOpening, kOpen, kStopped };
  using Call = MasterCall;
  using Calls = std::map<CallId, Call>;

  CallId submit(CallId id, Call call);
  void pump();
  bool may_send(const Call& call) const;
  void send(CallId id, Call& call);
  // The call was answered with `code`. False: it will be repeated, the answer is not for its owner.
  bool finish(CallId id, ErrorCode code, const ChangeStamp& stamp, std::uint64_t durable_index);
  bool is_repeated(CallId id, Call& call, ErrorCode code);
  void hold(CallId id, Call& call);
  void busy_turn();
  void give_up(Calls::iterator call, Error error);
  void settle_sequence(std::uint64_t sequence);
  void settle(const Call& call);
  std::uint64_t acknowledged() const;

  void open_session();
  void session_opened(const OpenSessionReply& reply);
  void session_failed(const Error& error);
  void session_lost(SessionId session);
  void start_finished(Status status);
  void schedule_reopening();
  void link_changed(bool up);

  // master_link_replay.cc
  void keep(const Call& call, const ChangeStamp& stamp);
  void kept_for_long();
  void ask_to_sync();
  void note_durable(std::uint64_t index);
  void begin_replay(std::uint64_t incarnation);
  void hold_all();
  void page_answered(std::uint32_t page, const std::vector<KeptChange>& changes,
                     const Result<RpcReply<ReplayChangesReply>>& reply);
  void end_replay();
  void session_replaced(std::uint64_t losses);
  void report_lost(const KeptChange& change, ErrorCode code);

  void withdraw(CallId call);
  CallOptions options_for_session() const;
  void schedule_keep_alive(Duration delay);
  void send_keep_alive();
  KeepAliveRequest next_keep_alive();
  void pins_covered();
  void keep_alive_answered(const Result<RpcReply<KeepAliveReply>>& reply);
  void tell_all_pins();
  void master_incarnation(std::uint64_t incarnation);

  World world_;
  std::string client_name_;
  RpcClient rpc_;
  State state_ = State::kIdle;
  SessionId session_;
  std::string cluster_id_;  // of the sessions so far
  CallId opening_;          // the OpenSession under way
  std::uint64_t nonce_ = 0;
  std::vector<std::uint64_t> dead_sessions_;
  std::function<void(std::uint64_t)> note_nonce_;
  std::uint64_t incarnation_ = 0;
  Duration keep_alive_interval_ = kSessionKeepAlive;
  Done<Unit> start_done_;
  Timer start_timer_;
  Timer reopen_timer_;
  std::vector<std::function<void()>> new_session_;
  std::function<void()> must_tell_;
  std::function<void(KeepAliveRequest&)> tell_;
  std::function<void(const std::vector<InodeId>&)> lost_change_;

  Calls calls_;            // all not answered yet
  std::set<CallId> held_;  // those not sent, in order
  std::uint64_t next_call_ = 1;
  std::uint64_t next_sequence_ = 1;  // in this session
  // Sequences in this session of changes not settled, and what each may take to keep.
  std::map<std::uint64_t, std::size_t> unsettled_;
  std::size_t unsettled_bytes_ = 0;
  Timer busy_timer_;
  KeptChanges kept_;
  CallId sync_;  // under way, for what is kept
  Timer kept_timer_;
  bool is_replaying_ = false;
  std::uint64_t replay_incarnation_ = 0;
  std::map<std::uint32_t, CallId> replay_pages_;  // not answered yet
  std::uint64_t losses_ = 0;           // of the master, when nothing was kept from before
  std::shared_ptr<const bool> alive_;  // posted tasks ask whether this still exists

  MasterClock clock_;
  LeaseLink leases_;
  std::uint64_t keep_alive_acknowledged_ = 0;  // as the one under way says

  std::map<InodeId, std::uint32_t> pins_;  // how often each is open here
  std::set<InodeId> told_;                 // as the master has it, or will after keep_alive_
  std::set<InodeId> dirty_pins_;           // pinned, not told
  std::set<InodeId> directory_pins_;       // the same, without hurry
  std::set<InodeId> unsure_;               // of these, made and perhaps pinned by the master
  std::set<InodeId> dirty_unpins_;         // not pinned any more, the master may think so
  bool tell_full_ = false;
  std::uint64_t pin_generation_ = 0;  // rises with each pin that must be told
  std::uint64_t pin_sent_ = 0;        // covered by the keep-alive under way
  std::uint64_t pin_confirmed_ = 0;
  CallId keep_alive_;  // under way, one at a time: a late one would be ignored
  std::uint64_t keep_alives_sent_ = 0;
  MonoTime keep_alive_due_{};
  Timer keep_alive_timer_;
  Timer forgotten_pins_timer_;
};

template <class Request>
CallId MasterLink::call(const Request& request, Done<typename Request::Reply> done,
                        bool after_pins) {
  using Reply = typename Request::Reply;
  const CallId id{next_call_++};
  std::shared_ptr<const Request> kept;
  Call call;
  call.may_pin = std::is_same_v<Request, CreateRequest>;
  if constexpr (kIsKept<Request>) {
    const auto whole = std::make_shared<const KeptRequestOf<Request>>(request);
    kept = std::shared_ptr<const Request>(whole, &whole->request);
    call.request = whole;
  } else {
    kept = std::make_shared<const Request>(request);
  }
  call.is_change = kIsChange<Request>;
  call.is_repeatable = kIsRepeatable<Request>;
  call.pins_needed = after_pins ? pin_generation_ : 0;
  call.send = [this, id, kept, done](const CallOptions& options) {
    return rpc_.call(*kept, options, [this, id, done](Result<RpcReply<Reply>> reply) {
      if (!finish(id, reply.code(), reply ? reply->stamp : ChangeStamp{},
                  reply ? reply->durable_index : 0)) {
        return;
      }
      if (reply) {
        done(std::move(reply->body));
      } else {
        done(std::move(reply).error());
      }
    });
  };
  call.fail = [done = std::move(done)](Error error) { done(std::move(error)); };
  return submit(id, std::move(call));
}

}  // namespace dfs::client
