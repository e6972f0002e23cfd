#include "master/core/lock_service.h"

#include <algorithm>
#include <string>

#include "common/assert.h"
#include "proto/all_messages.h"

namespace dfs::master {
namespace {

SetLockReply encode(const LockTable::Outcome& outcome) {
  return {.code = static_cast<std::uint16_t>(outcome.code), .waits = outcome.waits};
}

// What a SetLock or a claim asks for; nothing if that makes no sense.
template <class Body>
std::optional<LockTable::Request> decode(SessionId session, const Body& body) {
  if (body.kind > kLockKindMax || body.mode > kLockModeMax) {
    return std::nullopt;
  }
  LockTable::Request request{
      .file = {.inode = body.inode, .kind = static_cast<LockKind>(body.kind)},
      .owner = {.session = session, .number = body.owner},
      .span = {.start = body.start, .end = body.end},
      .mode = static_cast<LockMode>(body.mode)};
  const bool is_whole = request.span == LockSpan{};
  if (!request.span.is_valid() || (request.file.kind == LockKind::kFlock && !is_whole)) {
    return std::nullopt;
  }
  return request;
}

}  // namespace

LockService::LockService(World world, std::uint64_t incarnation, Duration tell_limit)
    : world_(world),
      incarnation_(incarnation),
      tell_limit_(tell_limit),
      tell_timer_(world.scheduler) {}

Status LockService::load(Store& store) {
  DFS_ASSERT(sessions_.empty() && not_told_yet_.empty());
  DFS_TRY(const std::vector<SessionRow> rows, store.sessions());
  for (const SessionRow& row : rows) {
    not_told_yet_.insert(row.session);
  }
  if (is_in_grace()) {
    tell_timer_.start(tell_limit_, [this] { give_up_waiting(); });
  }
  return ok();
}

// --- Locks ---------------------------------------------------------------------------------------

Result<std::optional<SetLockReply>> LockService::set(SessionId id, const SetLockRequest& request,
                                                     const ReplyAddress& to) {
  if (not_told_yet_.contains(id)) {
    return std::optional<SetLockReply>();
  }
  if (is_in_grace() && request.mode != static_cast<std::uint8_t>(LockMode::kNone)) {
    hold(id, request, to);
    return std::optional<SetLockReply>();
  }
  Session& session = sessions_[id];
  settle(session, request.settled);
  if (request.number <= session.settled) {
    // Its sender has the answer, or asks no more; one that still waits has lost count.
    return make_error(ErrorCode::kSessionExpired, "the answer to this lock call was dropped");
  }
  if (request.number - session.settled > kLockCallsMax) {
    return make_error(ErrorCode::kBusy, "too many locks are asked for at once");
  }
  const auto known = session.answers.find(request.number);
  if (known != session.answers.end()) {
    return std::optional(known->second);
  }
  const SetLockReply reply = apply(id, session, request);
  session.answers.emplace(request.number, reply);
  wake();
  return std::optional(reply);
}

SetLockReply LockService::apply(SessionId id, Session& session, const SetLockRequest& request) {
  std::optional<LockTable::Request> wanted = decode(id, request);
  if (!wanted) {
    return encode({.code = ErrorCode::kInvalidArgument});
  }
  wanted->wait = request.wait;
  const LockTable::Outcome outcome = table_.set(*wanted);
  if (outcome.waits) {
    session.waits
        .try_emplace(request.wait, Session::Wait{.asked = 0, .since = world_.scheduler.now()})
        .first->second.asked = request.number;
  } else {
    session.waits.erase(request.wait);
  }
  return encode(outcome);
}

void LockService::settle(Session& session, std::uint64_t up_to) {
  if (up_to > session.settled) {
    session.settled = up_to;
    session.answers.erase(session.answers.begin(), session.answers.upper_bound(up_to));
  }
}

Result<std::optional<TestLockReply>> LockService::test(SessionId id, const TestLockRequest& request,
                                                       const ReplyAddress& to) {
  if (not_told_yet_.contains(id)) {
    return std::optional<TestLockReply>();
  }
  if (is_in_grace()) {
    hold(id, request, to);
    return std::optional<TestLockReply>();
  }
  const LockSpan span{.start = request.start, .end = request.end};
  if (!span.is_valid() || request.mode > kLockModeMax) {
    return make_error(ErrorCode::kInvalidArgument, "no range that can be locked");
  }
  const auto conflict = table_.test({.inode = request.inode, .kind = LockKind::kRange},
                                    {.session = id, .number = request.owner}, span,
                                    static_cast<LockMode>(request.mode));
  TestLockReply reply;
  if (conflict) {
    reply = {.is_locked = true,
             .is_own_session = conflict->owner.session == id,
             .owner = conflict->owner.number,
             .mode = static_cast<std::uint8_t>(conflict->range.mode),
             .start = conflict->range.span.start,
             .end = conflict->range.span.end};
  }
  return std::optional(reply);
}

// --- Waits ---------------------------------------------------------------------------------------

Result<std::optional<AwaitLocksReply>> LockService::await(SessionId id,
                                                          const AwaitLocksRequest& request,
                                                          const ReplyAddress& to) {
  if (not_told_yet_.contains(id)) {
    return std::optional<AwaitLocksReply>();
  }
  if (request.waits.size() > kLocksPerSessionMax || request.asking.size() > kLocksPerSessionMax) {
    return make_error(ErrorCode::kBadMessage, "more waits than a session can have");
  }
  Session& session = sessions_[id];
  settle(session, request.settled);
  if (request.number < session.await_number) {
    return make_error(ErrorCode::kInterrupted, "the session asks anew since");
  }
  session.await_number = request.number;
  session.await.reset();
  std::set<std::uint64_t> wanted(request.waits.begin(), request.waits.end());
  wanted.insert(request.asking.begin(), request.asking.end());
  for (auto wait = session.waits.begin(); wait != session.waits.end();) {
    const std::uint64_t number = wait->first;
    if (wanted.contains(number) || wait->second.asked > request.newest) {
      ++wait;
      continue;
    }
    table_.drop_wait({id, number});
    wait = session.waits.erase(wait);
  }
  wake();
  AwaitLocksReply reply = ready(id, request.waits);
  if (!reply.ready.empty() || request.waits.empty()) {
    return std::optional(std::move(reply));
  }
  session.await = Await{.to = to, .waits = request.waits};
  return std::optional<AwaitLocksReply>();
}

AwaitLocksReply LockService::ready(SessionId id, const std::vector<std::uint64_t>& waits) const {
  AwaitLocksReply reply;
  for (const std::uint64_t wait : waits) {
    if (!table_.is_waiting({id, wait})) {
      reply.ready.push_back(wait);
    }
  }
  return reply;
}

std::vector<LockService::Waiting> LockService::waiting() const {
  std::vector<Waiting> waiting;
  for (const LockTable::Waiter& waiter : table_.waiters(kWaitsTold)) {
    const auto& waits = sessions_.at(waiter.id.session).waits;
    const auto wait = waits.find(waiter.id.number);
    if (wait == waits.end()) {
      continue;
    }
    waiting.push_back({.session = waiter.id.session,
                       .wait = waiter.id.number,
                       .inode = waiter.file.inode,
                       .since = wait->second.since,
                       .others = {}});
    if (waiter.holder) {
      waiting.back().others.push_back(waiter.holder->session);
    }
  }
  std::size_t left = kWaitsTold;
  for (const auto& [key, held] : held_) {
    if (left-- == 0) {
      break;
    }
    waiting.push_back({.session = held.session,
                       .request = key.second,
                       .inode = held.inode,
                       .since = held.since,
                       .others = {not_told_yet_.begin(), not_told_yet_.end()}});
  }
  return waiting;
}

void LockService::wake() {
  to_wake_.merge(table_.take_woken());
  if (to_wake_.empty() || is_wake_posted_) {
    return;
  }
  is_wake_posted_ = true;
  world_.scheduler.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) {
      is_wake_posted_ = false;
      wake_now();
    }
  });
}

void LockService::wake_now() {
  for (const SessionId id : std::exchange(to_wake_, {})) {
    const auto session = sessions_.find(id);
    if (session == sessions_.end() || !session->second.await) {
      continue;  // it has not asked yet, and hears it when it does
    }
    const AwaitLocksReply reply = ready(id, session->second.await->waits);
    if (!reply.ready.empty()) {
      const ReplyAddress to = session->second.await->to;
      session->second.await.reset();
      answer<AwaitLocksReply>(to, std::optional(reply));
    }
  }
}

template <class Reply>
void LockService::answer(const ReplyAddress& to, const Result<std::optional<Reply>>& reply) {
  if (!send_) {
    return;
  }
  if (!reply) {
    send_(to.peer, RpcServer::encode_failure(to, reply.error()));
  } else if (*reply) {
    send_(to.peer, RpcServer::encode_reply(to, **reply));
  }
}

// --- After a start -------------------------------------------------------------------------------

template <class Request>
void LockService::hold(SessionId session, const Request& request, const ReplyAddress& to) {
  const std::pair key{to.peer, to.request_id};
  if (held_.size() < kHeldMax || held_.contains(key)) {
    const auto before = held_.find(key);
    held_[key] = {.session = session,
                  .inode = request.inode,
                  .since = before == held_.end() ? world_.scheduler.now() : before->second.since,
                  .answer = [this, session, request, to] { answer_held(session, request, to); }};
  }
}

void LockService::answer_held(SessionId session, const SetLockRequest& request,
                              const ReplyAddress& to) {
  answer<SetLockReply>(to, set(session, request, to));
}

void LockService::answer_held(SessionId session, const TestLockRequest& request,
                              const ReplyAddress& to) {
  answer<TestLockReply>(to, test(session, request, to));
}

Result<std::optional<ReclaimLocksReply>> LockService::reclaim(SessionId id,
                                                              const ReclaimLocksRequest& request) {
  if (request.incarnation != incarnation_) {
    return make_error(ErrorCode::kInvalidArgument, "the locks are told to another master");
  }
  if (request.claims.size() > kLocksPerSessionMax) {
    return make_error(ErrorCode::kBadMessage, "more locks than a session can have");
  }
  Session& session = sessions_[id];
  if (!session.reclaimed) {
    session.reclaimed = take_claims(id, request);
    settle(session, request.settled);
  }
  const ReclaimLocksReply reply = *session.reclaimed;
  has_told(id);
  return std::optional(reply);
}

// A session of this master's time has nothing to tell: it began without locks.
ReclaimLocksReply LockService::take_claims(SessionId id, const ReclaimLocksRequest& request) {
  ReclaimLocksReply reply;
  const bool is_expected = not_told_yet_.contains(id);
  for (std::uint32_t index = 0; index < request.claims.size(); ++index) {
    const auto claim = decode(id, request.claims[index]);
    if (!is_expected || !claim || table_.set(*claim).code != ErrorCode::kOk) {
      reply.refused.push_back(index);
    }
  }
  if (!reply.refused.empty()) {
    world_.log.warning("Locks that a client says it holds are refused session=" +
                       std::to_string(id.value) + " locks=" + std::to_string(reply.refused.size()));
  }
  return reply;
}

void LockService::has_told(SessionId session) {
  if (not_told_yet_.erase(session) > 0 && !is_in_grace()) {
    grace_over();
  }
}

void LockService::give_up_waiting() {
  for (const SessionId session : not_told_yet_) {
    world_.log.warning(
        "A client does not say which locks it holds, it is taken to hold none session=" +
        std::to_string(session.value));
  }
  not_told_yet_.clear();
  grace_over();
}

void LockService::grace_over() {
  tell_timer_.stop();
  world_.log.info("All clients have told their locks, locks are given again. locks=" +
                  std::to_string(table_.count()) + " requests=" + std::to_string(held_.size()));
  for (const auto& [key, held] : std::exchange(held_, {})) {
    held.answer();
  }
}

void LockService::session_ended(SessionId session) {
  table_.drop_session(session);
  sessions_.erase(session);
  to_wake_.erase(session);
  std::erase_if(held_, [&](const auto& entry) { return entry.second.session == session; });
  has_told(session);
  wake();
}

}  // namespace dfs::master
