#include "master/core/session_table.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/lease_table.h"

namespace dfs::master {
namespace {

constexpr std::size_t kClientNameBytesMax = 1024;
constexpr std::size_t kEndsMax = 64;
// Sessions ended by one step: each may have thousands of kept replies.
constexpr std::size_t kExpiredPerStepMax = 16;
constexpr MonoTime kToldByClient{};
// Kept answers are dropped this many at a time: a statement and a page less in most transactions.
constexpr std::uint64_t kAcknowledgeStep = 64;
static_assert(kAcknowledgeStep < kKeptRepliesMax / 2);

}  // namespace

SessionTable::SessionTable(World world, InternalOperations& operations, std::uint64_t incarnation,
                           Options options)
    : world_(world),
      operations_(operations),
      incarnation_(incarnation),
      options_(options),
      replays_(incarnation),
      expiry_timer_(world.scheduler) {
  DFS_ASSERT(options_.session_timeout > Duration::zero());
}

Status SessionTable::load(Store& store) {
  DFS_ASSERT(sessions_.empty());
  DFS_TRY(const std::vector<SessionRow> rows, store.sessions());
  for (const SessionRow& row : rows) {
    auto session = std::make_shared<Session>();
    session->nonce = row.nonce;
    session->acknowledged = row.acknowledged;
    session->heard = world_.scheduler.now();
    session->client_name = row.client_name;
    sessions_[row.session] = std::move(session);
    by_nonce_[row.nonce] = row.session;
    not_told_yet_.insert(row.session);
  }
  return ok();
}

void SessionTable::ask_for_replays() {
  is_in_grace_ = true;
  for (const auto& [id, session] : sessions_) {
    replays_.expect(id);
  }
}

void SessionTable::start() { schedule_expiry(); }

std::vector<SessionId> SessionTable::ids() const {
  std::vector<SessionId> ids;
  for (const auto& [id, session] : sessions_) {
    ids.push_back(id);
  }
  return ids;
}

void SessionTable::heard_from(SessionId session, std::uint64_t acknowledged) {
  const auto found = sessions_.find(session);
  if (found != sessions_.end()) {
    found->second->heard = world_.scheduler.now();
    found->second->heard_acknowledged = std::max(found->second->heard_acknowledged, acknowledged);
  }
}

bool SessionTable::is_late(SessionId session, std::uint64_t sequence) const {
  const auto found = sessions_.find(session);
  return found != sessions_.end() &&
         sequence <= std::max(found->second->acknowledged, found->second->heard_acknowledged);
}

std::uint64_t SessionTable::acknowledged(SessionId session) const {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? 0 : found->second->acknowledged;
}

Status SessionTable::acknowledge(OpContext& context, SessionId session,
                                 std::uint64_t up_to_sequence) {
  const auto found = sessions_.find(session);
  DFS_ASSERT(found != sessions_.end());
  if (up_to_sequence < found->second->acknowledged + kAcknowledgeStep) {
    return ok();
  }
  DFS_CHECK_OK(context.store.drop_replies(session, up_to_sequence));
  context.after_commit([kept = found->second, up_to_sequence] {
    kept->acknowledged = std::max(kept->acknowledged, up_to_sequence);
  });
  return ok();
}

Result<OpenSessionReply> SessionTable::open(OpContext& context, const OpenSessionRequest& request) {
  if (request.client_name.size() > kClientNameBytesMax || request.ends.size() > kEndsMax) {
    return make_error(ErrorCode::kInvalidArgument, "the client's name, or a list, is too long");
  }
  DFS_TRY(const std::string cluster_id, context.store.cluster_id());
  if (!request.cluster_id.empty() && request.cluster_id != cluster_id) {
    return make_error(ErrorCode::kWrongCluster, "the client belongs to another cluster than " +
                                                    cluster_id + ", which answers here");
  }
  DFS_CHECK_OK(end_dead(context, request));
  const auto known = by_nonce_.find(request.nonce);
  const bool was_there = known != by_nonce_.end();
  SessionId id = was_there ? known->second : SessionId{};
  if (!was_there) {
    if (sessions_.size() >= kSessionsMax) {
      return make_error(ErrorCode::kBusy, "too many clients are connected");
    }
    id = unused_id();
    DFS_CHECK_OK(context.store.put_session({.session = id,
                                            .client_name = request.client_name,
                                            .nonce = request.nonce,
                                            .opened = context.now,
                                            .acknowledged = 0}));
    // A client that outlives a power loss of the master goes on in its session.
    context.durable = true;
    auto session = std::make_shared<Session>();
    session->nonce = request.nonce;
    session->client_name = request.client_name;
    session->told = session->told_before = context.now;
    sessions_[id] = std::move(session);
    by_nonce_[request.nonce] = id;
    context.on_rollback([this, id, nonce = request.nonce] {
      sessions_.erase(id);
      by_nonce_.erase(nonce);
    });
  }
  heard_from(id, 0);
  DFS_TRY(const std::uint64_t losses, context.store.counter(Counter::kLosses));
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  const auto keep_alive = duration_cast<milliseconds>(options_.keep_alive).count();
  const auto timeout = duration_cast<milliseconds>(options_.session_timeout).count();
  return OpenSessionReply{.session = id,
                          .cluster_id = cluster_id,
                          .incarnation = incarnation_,
                          .keep_alive_ms = static_cast<std::uint32_t>(keep_alive),
                          .session_timeout_ms = static_cast<std::uint32_t>(timeout),
                          .losses = losses,
                          .was_there = was_there,
                          .now = context.now};
}

// Random, so that nobody takes a session for his own: not a client of another cluster that had this
// address before, nor one of a session opened after the backup that the database was restored from.
SessionId SessionTable::unused_id() {
  SessionId id;
  while (!id.is_set() || sessions_.contains(id)) {
    id = SessionId{world_.random.next_u64() >> 1};  // the store has signed numbers
  }
  return id;
}

Result<KeepAliveReply> SessionTable::keep_alive(OpContext& context,
                                                const KeepAliveRequest& request) {
  const auto found = sessions_.find(context.session);
  DFS_ASSERT(found != sessions_.end());
  Session& session = *found->second;
  const KeepAliveReply reply{.incarnation = incarnation_,
                             .wants_replay = replays_.waits_for(context.session),
                             .now = context.now};
  if (request.sequence <= session.keep_alive_sequence) {
    return reply;
  }
  // Pins are no part of the transaction, so this is right also if that is rolled back.
  const std::size_t kept = request.full ? 0 : session.pins.size();
  if (kept + request.pinned.size() > kPinsMax) {
    return make_error(ErrorCode::kBusy, "the session has too many files open");
  }
  session.keep_alive_sequence = request.sequence;
  session.told_before = std::exchange(session.told, context.now);
  take_waits(session, request);
  if (request.full) {
    replace_pins(session, request);
    not_told_yet_.erase(context.session);
  } else {
    for (const InodeId inode : request.pinned) {
      add_pin(session, inode, kToldByClient);
    }
  }
  for (const InodeId inode : request.unpinned) {
    remove_pin(session, inode);
  }
  if (request.full || !request.unpinned.empty()) {
    context.chunks.wake_reclaimer();
  }
  return reply;
}

void SessionTable::replace_pins(Session& session, const KeepAliveRequest& request) {
  const MonoTime now = world_.scheduler.now();
  std::vector<InodeId> dropped;
  for (const auto& [inode, created] : session.pins) {
    if (created == kToldByClient || now - created > kCreatedPinRest) {
      dropped.push_back(inode);
    }
  }
  for (const InodeId inode : dropped) {
    remove_pin(session, inode);
  }
  for (const InodeId inode : request.pinned) {
    add_pin(session, inode, kToldByClient);
  }
}

// --- For people ----------------------------------------------------------------------------------

void SessionTable::take_waits(Session& session, const KeepAliveRequest& request) {
  const std::size_t taken = std::min(request.waits.size(), kToldWaitsMax);
  session.waits.assign(request.waits.begin(),
                       request.waits.begin() + static_cast<std::ptrdiff_t>(taken));
  for (ClientWait& wait : session.waits) {
    wait.operation.resize(std::min(wait.operation.size(), kWaitWordBytesMax));
    wait.server.resize(std::min(wait.server.size(), kWaitNameBytesMax));
  }
  session.waits_untold = request.waits_untold + (request.waits.size() - taken);
  session.waits_told = world_.scheduler.now();
}

std::optional<WaitingClient> SessionTable::describe(SessionId id) const {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) {
    return std::nullopt;
  }
  using std::chrono::milliseconds;
  const auto silent =
      std::chrono::duration_cast<milliseconds>(world_.scheduler.now() - found->second->heard);
  const auto left = std::chrono::duration_cast<milliseconds>(options_.session_timeout) - silent;
  return WaitingClient{
      .session = id,
      .name = found->second->client_name.substr(0, kWaitNameBytesMax),
      .silent_ms = static_cast<std::uint64_t>(silent.count()),
      .ends_in_ms = static_cast<std::uint64_t>(std::max(left, milliseconds(0)).count())};
}

std::vector<SessionTable::ToldWaits> SessionTable::told_waits() const {
  std::vector<ToldWaits> told;
  for (const auto& [id, session] : sessions_) {
    if (!session->waits.empty()) {
      told.push_back({.session = id,
                      .age = world_.scheduler.now() - session->waits_told,
                      .waits = &session->waits,
                      .untold = session->waits_untold});
    }
  }
  return told;
}

std::vector<SessionId> SessionTable::not_told_yet() const {
  std::vector<SessionId> sessions;
  for (const auto& [id, session] : sessions_) {
    if (is_in_grace_ && (not_told_yet_.contains(id) || replays_.waits_for(id))) {
      sessions.push_back(id);
    }
  }
  return sessions;
}

// --- Pins ----------------------------------------------------------------------------------------

bool SessionTable::add_pin(Session& session, InodeId inode, MonoTime created) {
  const auto [position, is_new] = session.pins.try_emplace(inode, created);
  if (is_new) {
    ++pin_counts_[inode];
  } else if (created == kToldByClient) {
    position->second = kToldByClient;
  }
  return is_new;
}

void SessionTable::remove_pin(Session& session, InodeId inode) {
  if (session.pins.erase(inode) == 0) {
    return;
  }
  const auto count = pin_counts_.find(inode);
  DFS_ASSERT(count != pin_counts_.end() && count->second > 0);
  if (--count->second == 0) {
    pin_counts_.erase(count);
  }
}

void SessionTable::pin(OpContext& context, SessionId id, InodeId inode) {
  const auto found = sessions_.find(id);
  DFS_ASSERT(found != sessions_.end());
  // Before a replay the client has told what it has open now; since then it may have closed this.
  if (context.is_replay || !add_pin(*found->second, inode, world_.scheduler.now())) {
    return;
  }
  context.on_rollback([this, session = found->second, inode] { remove_pin(*session, inode); });
}

bool SessionTable::is_pinned_by_others(SessionId id, InodeId inode) const {
  const auto own = sessions_.find(id);
  const bool is_own = own != sessions_.end() && own->second->pins.contains(inode);
  const auto count = pin_counts_.find(inode);
  return !not_told_yet_.empty() ||  // who knows
         (count != pin_counts_.end() && count->second > (is_own ? 1U : 0U));
}

Status SessionTable::end_dead(OpContext& context, const OpenSessionRequest& request) {
  if (is_in_grace_) {
    return ok();  // what they told before they died is yet to be applied
  }
  for (const std::uint64_t nonce : request.ends) {
    const auto dead = by_nonce_.find(nonce);
    if (nonce != request.nonce && dead != by_nonce_.end()) {
      DFS_CHECK_OK(close(context, dead->second));
    }
  }
  return ok();
}

Status SessionTable::close(OpContext& context, SessionId session) {
  DFS_CHECK_OK(context.store.erase_session(session));
  DFS_CHECK_OK(context.chunks.seal_chunks_of(context, session));
  context.durable = true;  // else a power loss would bring it back, and it would be waited for
  forget(context, session);
  return ok();
}

void SessionTable::forget(OpContext& context, SessionId id) {
  const auto found = sessions_.find(id);
  DFS_ASSERT(found != sessions_.end());
  std::shared_ptr<Session> session = found->second;
  const bool was_told = not_told_yet_.erase(id) == 0;
  by_nonce_.erase(session->nonce);
  sessions_.erase(found);
  // The pins go with the commit only: until then the session may come back.
  context.after_commit([this, id, session, &chunks = context.chunks, &leases = context.leases] {
    while (!session->pins.empty()) {
      remove_pin(*session, session->pins.begin()->first);
    }
    replays_.forget(id);
    leases.forget(id);
    if (ended_) {
      ended_(id);
    }
    chunks.wake_reclaimer();
  });
  context.on_rollback([this, id, session, was_told] {
    sessions_[id] = session;
    by_nonce_[session->nonce] = id;
    if (!was_told) {
      not_told_yet_.insert(id);
    }
  });
}

// Who opened the file before it was removed pinned it before, too, and has said so with each
// keep-alive sent since. Who is not heard of is waited for as long as its session lasts.
bool SessionTable::may_free(const OrphanRow& orphan) const {
  if (!not_told_yet_.empty() || pin_counts_.contains(orphan.inode)) {
    return false;
  }
  return std::all_of(sessions_.begin(), sessions_.end(), [&](const auto& session) {
    return session.first == orphan.unlinked_by || session.second->told_before > orphan.since;
  });
}

void SessionTable::schedule_expiry() {
  const Duration interval = options_.session_timeout / 8;
  expiry_timer_.start(interval, [this, interval, planned = world_.scheduler.now() + interval] {
    if (world_.scheduler.now() - planned >= interval) {
      // It was this process that stood still (stopped, swapped out), so silence proves nothing.
      for (const auto& [id, session] : sessions_) {
        session->heard = world_.scheduler.now();
      }
    }
    const MonoTime limit = world_.scheduler.now() - options_.session_timeout;
    const bool is_any_silent = std::any_of(sessions_.begin(), sessions_.end(),
                                           [&](const auto& s) { return s.second->heard < limit; });
    if (!is_any_silent) {
      schedule_expiry();
      return;
    }
    operations_.submit(
        [this](OpContext& context) { return close_silent(context); },
        [this](const Status& status) {
          if (!status) {
            world_.log.warning("Silent sessions could not be ended error=" + status.error().detail);
          }
          schedule_expiry();
        },
        false);
  });
}

Status SessionTable::close_silent(OpContext& context) {
  const MonoTime limit = world_.scheduler.now() - options_.session_timeout;
  std::vector<SessionId> silent;
  for (const auto& [id, session] : sessions_) {
    if (is_in_grace_ && !not_told_yet_.contains(id) && !replays_.waits_for(id)) {
      if (session->heard < limit) {
        context.leases.stop_expecting_reclaim(id);
      }
      continue;  // its changes are yet to be applied
    }
    if (session->heard < limit && silent.size() < kExpiredPerStepMax) {
      silent.push_back(id);
    }
  }
  for (const SessionId id : silent) {
    const std::string name = sessions_.at(id)->client_name;
    DFS_CHECK_OK(close(context, id));
    context.after_commit([this, id, name] {
      world_.log.warning("A client was silent for too long, its session is over session=" +
                         std::to_string(id.value) + " client=" + name);
    });
  }
  return ok();
}

}  // namespace dfs::master
