// The sessions: who is mounted, who was heard lately, and which inodes they hold open.
//
// A session itself is a row and survives a restart; when it was heard and what it pins are kept
// here only, and told again by the clients after a restart. Until every session found in the
// store has done so, or is over, nothing may be freed: that is the grace period, which ends after
// one session time-out at the latest because a session silent for that long is over.
// Bounded by kSessionsMax and kPinsMax. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/world.h"
#include "master/core/internal_operations.h"
#include "master/core/op_context.h"
#include "master/core/replays.h"
#include "master/core/store.h"
#include "proto/limits.h"
#include "proto/session_messages.h"
#include "proto/wait_messages.h"

namespace dfs::master {

class SessionTable {
 public:
  struct Options {
    Duration keep_alive = kSessionKeepAlive;
    Duration session_timeout = kSessionTimeout;
  };

  // `operations` need not work before start(). All arguments but options outlive this.
  SessionTable(World world, InternalOperations& operations, std::uint64_t incarnation,
               Options options);

  // Reads the sessions of the store; each has a whole time-out from now on. Once, before start().
  Status load(Store& store);
  // Called for each session that is over, behind the commit that ended it.
  void on_end(std::function<void(SessionId)> handler) { ended_ = std::move(handler); }
  // Begins to end sessions that are silent.
  void start();

  // --- For the request loop ----------------------------------------------------------------------
  bool exists(SessionId session) const { return sessions_.contains(session); }
  // Any request is a sign of life, and names what its session does not wait for any more.
  void heard_from(SessionId session, std::uint64_t acknowledged);
  std::size_t count() const { return sessions_.size(); }
  std::vector<SessionId> ids() const;
  // Whether the session has the answer to the change, or has given it up: not to be applied (any
  // more). Exact for what this master has heard; after a restart as acknowledged().
  bool is_late(SessionId session, std::uint64_t sequence) const;
  // Every change up to here was answered, the answer arrived and was dropped. 0 for an unknown
  // session.
  std::uint64_t acknowledged(SessionId session) const;
  // Precondition: exists(session). Drops kept replies, some dozens at a time.
  Status acknowledge(OpContext& context, SessionId session, std::uint64_t up_to_sequence);

  // --- For people (dfs-admin why) ----------------------------------------------------------------
  // As it is heard of at present; nothing of a session that is over.
  std::optional<WaitingClient> describe(SessionId session) const;
  // What each session told last of its calls that wait.
  struct ToldWaits {
    SessionId session;
    Duration age{};  // since it was told
    const std::vector<ClientWait>* waits = nullptr;
    std::uint64_t untold = 0;
  };
  std::vector<ToldWaits> told_waits() const;
  // Those that have yet to tell what a grace period after losses waits for.
  std::vector<SessionId> not_told_yet() const;

  // --- For the grace period (grace.h) ------------------------------------------------------------
  // Begins it: every session there is must tell its changes again. Those that have are not ended
  // for their silence before grace_over().
  void ask_for_replays();
  void grace_over() { is_in_grace_ = false; }
  // Each session found in the store has told its pins and, if asked, its changes, or is over.
  bool have_all_told() const { return not_told_yet_.empty() && replays_.is_complete(); }
  Replays& replays() { return replays_; }

  // --- For operations; inside a transaction ------------------------------------------------------
  // The same session for the same nonce. Fails with kBusy (kSessionsMax), kInvalidArgument,
  // kWrongCluster.
  Result<OpenSessionReply> open(OpContext& context, const OpenSessionRequest& request);
  // Fails with kBusy: more than kPinsMax. Precondition: exists(context.session).
  Result<KeepAliveReply> keep_alive(OpContext& context, const KeepAliveRequest& request);
  // Ends the session: its pins and kept replies are dropped, its chunks sealed.
  Status close(OpContext& context, SessionId session);
  // `session` made the inode and holds it open; undone with the transaction. Not in a replay.
  void pin(OpContext& context, SessionId session, InodeId inode);
  bool is_pinned_by_others(SessionId session, InodeId inode) const;

  // Whether the orphan's contents may go: nobody has it open, and nobody can be about to open it
  // who looked the name up before it was removed. For orphans that are inodes; the windows left of
  // a truncation (no inode row) need not ask.
  bool may_free(const OrphanRow& orphan) const;

 private:
  struct Session {
    std::uint64_t nonce = 0;
    std::uint64_t acknowledged = 0;        // and kept answers dropped
    std::uint64_t heard_acknowledged = 0;  // the newest heard
    MonoTime heard{};
    std::uint64_t keep_alive_sequence = 0;  // the newest seen
    // When the newest came, and the one before: that was answered before the newest was sent.
    Timestamp told;
    Timestamp told_before;
    // When the pin was made by this master (a new inode), or zero when the client told it.
    std::unordered_map<InodeId, MonoTime> pins;
    std::string client_name;
    std::vector<ClientWait> waits;
    std::uint64_t waits_untold = 0;
    MonoTime waits_told{};
  };

  SessionId unused_id();
  bool add_pin(Session& session, InodeId inode, MonoTime created);
  void remove_pin(Session& session, InodeId inode);
  void take_waits(Session& session, const KeepAliveRequest& request);
  void replace_pins(Session& session, const KeepAliveRequest& request);
  void forget(OpContext& context, SessionId session);
  Status end_dead(OpContext& context, const OpenSessionRequest& request);
  Status close_silent(OpContext& context);
  void schedule_expiry();

  World world_;
  InternalOperations& operations_;
  std::uint64_t incarnation_;
  Options options_;
  std::map<SessionId, std::shared_ptr<Session>> sessions_;
  std::map<std::uint64_t, SessionId> by_nonce_;
  std::unordered_map<InodeId, std::uint32_t> pin_counts_;
  std::set<SessionId> not_told_yet_;  // of the store, without a full keep-alive since the start
  Replays replays_;
  std::function<void(SessionId)> ended_;
  bool is_in_grace_ = false;
  Timer expiry_timer_;
};

}  // namespace dfs::master
