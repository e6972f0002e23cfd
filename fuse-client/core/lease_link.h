// The client's side of leases: hears what other clients are about to change of what is kept here,
// has it dropped and says so; and tells a master that was started anew what is kept.
//
// It speaks over the connection of MasterLink, which tells it of sessions, answered keep-alives and
// restarts. A change that was given up is in doubt until the master surely knows that it is not to
// be made any more: what it concerns is forgotten then, and again at the end, and nothing is kept
// in between, because the master need not tell this client of its own changes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/lease_term.h"
#include "proto/lease_messages.h"
#include "proto/rpc_client.h"

namespace dfs::client {

// A file this client has a write lease on.
struct WrittenFile {
  InodeId inode;
  std::uint64_t epoch = 0;  // of the lease
  friend bool operator==(const WrittenFile&, const WrittenFile&) = default;
};

// What comes of a notice.
struct NoticeOutcome {
  // Nothing of it is kept any more, and everything written of it is stored. Once.
  std::function<void()> dropped;
  // That takes long, and may not come before an own change is answered. At most once.
  std::function<void()> held_up;
};

struct LeaseEvents {
  // Everything that is kept on the master's word, what is being dropped included; and of that, the
  // files this client has write leases on.
  std::function<std::vector<InodeId>()> kept;
  std::function<std::vector<WrittenFile>()> written;
  // These change: has them dropped, and says what comes of it.
  std::function<void(const std::vector<LeaseChange>&, NoticeOutcome)> drop;
  // An own change of these was given up and may still be made, or not: forgets what is kept of
  // them, and returns what must be forgotten again when that is decided.
  std::function<std::vector<LeaseChange>(std::vector<LeaseChange>)> doubt;
  // Nothing the master said counts any more: the session or the term is over, or the master may
  // know less than it said because it lost power.
  std::function<void()> lost;
};

class LeaseLink {
 public:
  // What it needs of the session.
  struct Session {
    std::function<bool()> is_open;
    std::function<CallOptions()> call_options;
    std::function<void()> is_over;       // says the master
    std::function<void()> ask_for_news;  // by a keep-alive: the master may be another one
    std::function<void(std::uint64_t)> met_incarnation;
  };
  LeaseLink(World world, RpcClient& rpc, Session session);
  LeaseLink(const LeaseLink&) = delete;
  LeaseLink& operator=(const LeaseLink&) = delete;

  void on_events(LeaseEvents events) { events_ = std::move(events); }
  // How an answer that bears the number `lease` is to be taken.
  Told told(MonoTime sent_at, std::uint64_t lease) const {
    return {sent_at, lease != 0 && lease == received_ && !is_reclaiming_ && given_up_.empty()};
  }
  // The same of what a change tells besides its own outcome: it waits for no writers.
  Told told_besides(MonoTime sent_at, std::uint64_t lease) const {
    const bool is_leased = told(sent_at, lease).is_leased;
    return {sent_at, is_leased, is_leased};
  }
  const LeaseTerm& term() const { return term_; }

  // A session was opened, by a request sent then.
  void opened(MonoTime sent_at, Duration session_timeout);
  void keep_alive_answered(MonoTime sent_at);
  // The master is another one, or this session is new to it: it is told what is kept.
  void begin_reclaim(std::uint64_t incarnation);
  // No session for now.
  void pause();
  void stop();
  // What is kept counts no more.
  void lose();

  // The change with this sequence was given up.
  void give_up(std::uint64_t sequence, std::vector<LeaseChange> changes);
  // A request that said so was answered: the master makes no change up to there any more.
  void note_acknowledged(std::uint64_t acknowledged);
  // The session in which they were sent is over: the master refuses them.
  void forget_given_up() { given_up_.clear(); }

 private:
  void watch_term();
  void reclaim_now();
  void page_reclaimed(std::uint32_t page, const Result<RpcReply<ReclaimLeasesReply>>& reply);
  void poll();
  void poll_answered(CallId poll, const WaitForNoticesRequest& request,
                     const Result<RpcReply<WaitForNoticesReply>>& reply);
  void drop(const LeaseNotice& notice);
  void handled(std::uint64_t incarnation, std::uint64_t number);
  void note_held_up(std::uint64_t incarnation, std::uint64_t number);

  World world_;
  RpcClient& rpc_;
  Session session_;
  LeaseEvents events_;
  LeaseTerm term_;
  Timer term_timer_;
  Timer poll_timer_;
  bool has_lapsed_ = true;  // since the term ended: nothing is kept
  std::uint64_t incarnation_ = 0;
  bool is_reclaiming_ = false;
  std::map<std::uint32_t, CallId> reclaim_pages_;  // not answered yet
  std::set<CallId> polls_;                         // under way
  std::uint64_t received_ = 0;                     // the newest notice
  std::uint64_t handled_ = 0;                      // all up to there
  std::set<std::uint64_t> also_handled_;           // behind that, not yet told for sure
  std::set<std::uint64_t> dropping_;               // notices
  std::set<std::uint64_t> held_up_;                // of these, not yet told for sure
  std::map<std::uint64_t, std::vector<LeaseChange>> given_up_;  // by sequence
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace dfs::client
