#include "fuse-client/core/lock_client.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::client {
namespace {

// Whether the master may have done what it answered with an error.
bool is_outcome_unknown(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBusy:
    case ErrorCode::kNotSupported:
    case ErrorCode::kBadMessage:
    case ErrorCode::kVersionMismatch: return false;
    default: return true;
  }
}

std::string describe(const LockHolder& holder) {
  return "inode=" + std::to_string(holder.file.inode.value) +
         (holder.file.kind == LockKind::kFlock ? " kind=flock" : " kind=range");
}

}  // namespace

LockClient::LockClient(World world, MasterLink& master)
    : world_(world), master_(master), retry_timer_(world.scheduler) {
  master_.on_new_session(lifetime_.guard([this] { session_replaced(); }));
}

// --- Calls of programs ---------------------------------------------------------------------------

LockOpId LockClient::set(const Wanted& wanted, bool wait, Done<Unit> done) {
  DFS_ASSERT(wanted.span.is_valid());
  if (held_.take_loss(wanted.holder)) {
    tidy(wanted.holder);
    return answer_later(std::move(done),
                        make_error(ErrorCode::kIo, "a lock was lost with the session"));
  }
  if (wanted.mode == LockMode::kNone) {
    if (!held_.knows(wanted.holder)) {
      return answer_later(std::move(done), ok());  // it has nothing and asks for nothing
    }
  } else {
    if (ops_.size() >= kLockOpsMax) {
      return answer_later(std::move(done), make_error(ErrorCode::kTooManyLocks));
    }
    held_.note_use(wanted.holder, wanted.handle, wanted.pid);
  }
  return add(wanted, wait, std::move(done));
}

bool LockClient::has_range_locks(InodeId inode, std::uint64_t owner) const {
  return held_.knows({.file = {.inode = inode, .kind = LockKind::kRange}, .owner = owner});
}

LockOpId LockClient::unlock_all(InodeId inode, std::uint64_t owner, Done<Unit> done) {
  Wanted wanted;
  wanted.holder = {.file = {.inode = inode, .kind = LockKind::kRange}, .owner = owner};
  return set(wanted, false, std::move(done));
}

void LockClient::handle_released(InodeId inode, HandleId handle) {
  for (const LockHolder& holder : held_.users_of(inode, handle)) {
    held_.take_loss(holder);
    for (const LockSpan& span : held_.end_use(holder, handle)) {
      Wanted wanted;
      wanted.holder = holder;
      wanted.span = span;
      add(wanted, false, nullptr);
    }
  }
}

LockOpId LockClient::add(const Wanted& wanted, bool wait, Done<Unit> done) {
  const LockOpId id{next_op_++};
  Op op;
  op.wanted = wanted;
  op.waits = wait;
  op.done = std::move(done);
  op.area = wanted.span;
  ops_.emplace(id, std::move(op));
  by_file_[wanted.holder.file].insert(id);
  to_send_.insert(id);
  pump();
  return id;
}

LockOpId LockClient::answer_later(Done<Unit> done, Result<Unit> result) {
  if (done) {
    world_.scheduler.post(
        lifetime_.guard([done = std::move(done), result = std::move(result)] { done(result); }));
  }
  return LockOpId{};
}

void LockClient::answer(Op& op, Result<Unit> result) {
  answer_later(std::exchange(op.done, nullptr), std::move(result));
}

void LockClient::end(Ops::iterator op, Result<Unit> result) {
  answer(op->second, std::move(result));
  if (op->second.is_queued) {
    schedule_await();  // which does not name it any more
  }
  const LockHolder holder = op->second.wanted.holder;
  const auto others = by_file_.find(holder.file);
  others->second.erase(op->first);
  if (others->second.empty()) {
    by_file_.erase(others);
  }
  to_send_.erase(op->first);
  ops_.erase(op);
  tidy(holder);
}

void LockClient::tidy(const LockHolder& holder) {
  const auto ops = by_file_.find(holder.file);
  const bool is_busy = ops != by_file_.end() &&
                       std::any_of(ops->second.begin(), ops->second.end(), [&](LockOpId id) {
                         return ops_.at(id).wanted.holder == holder;
                       });
  if (!is_busy) {
    held_.tidy(holder);
  }
}

// --- Interruption --------------------------------------------------------------------------------

void LockClient::interrupt(LockOpId id) {
  const auto op = ops_.find(id);
  if (op == ops_.end() || !op->second.done || op->second.is_interrupted) {
    return;
  }
  op->second.is_interrupted = true;
  const bool is_unlock = op->second.wanted.mode == LockMode::kNone;
  if (op->second.state == State::kSent || is_unlock) {
    world_.scheduler.run_after(kAnswerPatience, lifetime_.guard([this, id] { give_up(id); }));
    return;
  }
  end(op, make_error(ErrorCode::kInterrupted));
  pump();
}

void LockClient::give_up(LockOpId id) {
  const auto op = ops_.find(id);
  if (op == ops_.end() || !op->second.done) {
    return;
  }
  if (op->second.wanted.mode == LockMode::kNone) {
    answer(op->second, ok());
  } else if (op->second.state == State::kSent) {
    if (!weakens(op->second)) {
      op->second.is_given_up = true;
      answer(op->second, make_error(ErrorCode::kInterrupted));
    }
  } else {
    end(op, make_error(ErrorCode::kInterrupted));
    pump();
  }
}

// Whether it takes something from its owner, too, which could not be put back if another took it.
bool LockClient::weakens(const Op& op) const {
  const std::vector<LockRange> held = held_.ranges(op.wanted.holder).within(op.area);
  return op.wanted.holder.file.kind == LockKind::kRange &&
         std::any_of(held.begin(), held.end(),
                     [&](const LockRange& range) { return range.mode > op.wanted.mode; });
}

// --- SetLock -------------------------------------------------------------------------------------

std::uint64_t LockClient::settled() const {
  return unsettled_.empty() ? next_number_ - 1 : *unsettled_.begin() - 1;
}

void LockClient::pump() {
  if (must_reclaim_) {
    return;
  }
  MonoTime next = MonoTime::max();
  for (auto place = to_send_.begin(); place != to_send_.end();) {
    if (next_number_ - settled() > kLockCallsMax) {
      return;  // the next answer goes on here
    }
    const LockOpId id = *place++;
    Op& op = ops_.at(id);
    if (op.not_before > world_.scheduler.now()) {
      next = std::min(next, op.not_before);
    } else if (may_send(id, op)) {
      send(id, op);
    }
  }
  if (next != MonoTime::max() && !retry_timer_.is_armed()) {
    retry_timer_.start(next - world_.scheduler.now(), [this] { pump(); });
  }
}

Obstacle LockClient::obstacle(LockOpId id) const {
  const auto op = ops_.find(id);
  if (op == ops_.end() || op->second.state == State::kToSend) {
    return {.cause = must_reclaim_ ? WaitCause::kMaster : WaitCause::kOthers};
  }
  if (op->second.state == State::kWaiting) {
    return {.cause = WaitCause::kLock, .lock_wait = id.value};
  }
  return {.asked = op->second.call};
}

bool LockClient::may_send(LockOpId id, const Op& op) const {
  for (const LockOpId other_id : by_file_.at(op.wanted.holder.file)) {
    const Op& other = ops_.at(other_id);
    if (other_id == id || other.state == State::kWaiting) {
      continue;
    }
    const bool is_earlier = other_id < id;
    const bool overlaps = other.wanted.holder == op.wanted.holder && other.area.overlaps(op.area);
    // What is being put back comes before everything of its owner.
    const bool goes_first = op.is_given_up ? false : is_earlier || other.is_given_up;
    if (overlaps && (other.state == State::kSent || goes_first)) {
      return false;
    }
    // An unlock nobody waits for: what comes after it must find the bytes free.
    if (is_earlier && !other.done && other.wanted.mode == LockMode::kNone) {
      return false;
    }
  }
  return true;
}

void LockClient::send(LockOpId id, Op& op) {
  DFS_ASSERT(op.state == State::kToSend);
  op.state = State::kSent;
  op.number = next_number_++;
  unsettled_.insert(op.number);
  to_send_.erase(id);
  SetLockRequest request;
  request.inode = op.wanted.holder.file.inode;
  request.kind = static_cast<std::uint8_t>(op.wanted.holder.file.kind);
  request.owner = op.wanted.holder.owner;
  request.mode = static_cast<std::uint8_t>(op.wanted.mode);
  request.start = op.wanted.span.start;
  request.end = op.wanted.span.end;
  request.wait = op.waits ? id.value : 0;
  may_know_of_waits_ = may_know_of_waits_ || op.waits;
  request.number = op.number;
  request.settled = settled();
  op.call = master_.call(
      request, lifetime_.guard([this, id, number = op.number](const Result<SetLockReply>& reply) {
        answered(id, number, reply);
      }));
}

void LockClient::ask_again(LockOpId id, Op& op, Duration delay) {
  op.state = State::kToSend;
  op.not_before = world_.scheduler.now() + delay;
  to_send_.insert(id);
}

void LockClient::answered(LockOpId id, std::uint64_t number, const Result<SetLockReply>& reply) {
  const auto op = ops_.find(id);
  if (op == ops_.end() || op->second.state != State::kSent || op->second.number != number) {
    return;  // withdrawn by forget_calls()
  }
  unsettled_.erase(number);
  op->second.call = CallId{};
  const ErrorCode code = reply ? error_code_from_wire(reply->code) : reply.code();
  if (!reply) {
    failed(op, reply.error());
  } else if (reply->waits) {
    queued(op);
  } else if (code == ErrorCode::kOk) {
    given(op);
  } else {
    refused(op, code);
  }
  pump();
}

void LockClient::failed(Ops::iterator op, const Error& error) {
  Op& that = op->second;
  world_.log.warning(std::string("The master could not set a lock. ") +
                     describe(that.wanted.holder) + " code=" + error_code_name(error.code) +
                     " detail=" + error.detail);
  if (that.wanted.mode == LockMode::kNone || weakens(that) || that.steps_back) {
    ask_again(op->first, that, kUnlockRetryDelay);
    return;
  }
  if (!is_outcome_unknown(error.code)) {
    end(op, error);
    return;
  }
  answer(that, error);
  that.is_given_up = true;
  schedule_await();  // it may have a place in the queue
  given(op);         // perhaps; to put back what was not taken does no harm
}

void LockClient::queued(Ops::iterator op) {
  Op& that = op->second;
  if (that.wanted.holder.file.kind == LockKind::kFlock) {
    // Given up for the new mode, which the master would otherwise have given.
    held_.set(that.wanted.holder, that.wanted.span, LockMode::kNone, that.wanted.handle);
  }
  that.is_queued = true;
  if (that.is_interrupted) {
    end(op, make_error(ErrorCode::kInterrupted));
    return;
  }
  that.state = State::kWaiting;
  schedule_await();
}

void LockClient::given(Ops::iterator op) {
  Op& that = op->second;
  that.is_queued = false;
  if (that.is_given_up && !that.steps_back) {
    plan_steps_back(that);
  }
  held_.set(that.wanted.holder, that.wanted.span, that.wanted.mode, that.wanted.handle);
  if (that.steps_back) {
    next_step_back(op);
  } else {
    end(op, ok());
  }
}

void LockClient::refused(Ops::iterator op, ErrorCode code) {
  Op& that = op->second;
  that.is_queued = false;
  if (that.steps_back) {
    held_.lose(that.wanted.holder, that.wanted.span);
    report_loss(that.wanted.holder, "it was to be had back after an interrupted call");
    next_step_back(op);
    return;
  }
  if (that.wanted.holder.file.kind == LockKind::kFlock) {
    held_.set(that.wanted.holder, that.wanted.span, LockMode::kNone, that.wanted.handle);
  }
  end(op, make_error(code));
}

// --- Putting back --------------------------------------------------------------------------------

// From what it has been given to what was held before, which held_ still says.
void LockClient::plan_steps_back(Op& op) {
  op.steps_back.emplace();
  if (op.wanted.holder.file.kind == LockKind::kFlock) {
    op.steps_back->push_back({op.area, LockMode::kNone});  // what was before is given up
    return;
  }
  std::uint64_t next = op.area.start;
  for (const LockRange& before : held_.ranges(op.wanted.holder).within(op.area)) {
    if (before.span.start > next) {
      op.steps_back->push_back({{next, before.span.start - 1}, LockMode::kNone});
    }
    if (before.mode != op.wanted.mode) {
      op.steps_back->push_back(before);
    }
    next = before.span.end + 1;
  }
  if (next <= op.area.end) {
    op.steps_back->push_back({{next, op.area.end}, LockMode::kNone});
  }
}

void LockClient::next_step_back(Ops::iterator op) {
  Op& that = op->second;
  if (that.steps_back->empty()) {
    end(op, ok());
    return;
  }
  that.wanted.span = that.steps_back->back().span;
  that.wanted.mode = that.steps_back->back().mode;
  that.steps_back->pop_back();
  that.waits = false;
  ask_again(op->first, that);
}

// --- Waits ---------------------------------------------------------------------------------------

void LockClient::schedule_await() {
  if (!is_await_posted_) {
    is_await_posted_ = true;
    world_.scheduler.post(lifetime_.guard([this] {
      is_await_posted_ = false;
      send_await();
    }));
  }
}

void LockClient::send_await() {
  AwaitLocksRequest request;
  for (const auto& [id, op] : ops_) {
    if (op.state == State::kWaiting) {
      request.waits.push_back(id.value);
    } else if (op.is_queued || (op.waits && op.state == State::kSent)) {
      request.asking.push_back(id.value);
    }
  }
  const bool has_waits = !request.waits.empty() || !request.asking.empty();
  if (must_reclaim_ || (!has_waits && !may_know_of_waits_)) {
    return;
  }
  may_know_of_waits_ = has_waits;
  if (await_.is_set()) {
    master_.interrupt(await_);
  }
  request.number = ++await_number_;
  request.settled = settled();
  request.newest = next_number_ - 1;
  await_ = master_.call(
      request,
      lifetime_.guard([this, number = request.number](const Result<AwaitLocksReply>& reply) {
        await_answered(number, reply);
      }));
}

void LockClient::await_answered(std::uint64_t number, const Result<AwaitLocksReply>& reply) {
  if (number != await_number_ || !await_.is_set()) {
    return;
  }
  await_ = CallId{};
  if (!reply) {
    world_.log.warning(std::string("The master does not say whose turn it is. code=") +
                       error_code_name(reply.code()) + " detail=" + reply.error().detail);
    world_.scheduler.run_after(kUnlockRetryDelay, lifetime_.guard([this] { schedule_await(); }));
    return;
  }
  for (const std::uint64_t wait : reply->ready) {
    const auto op = ops_.find(LockOpId{wait});
    if (op != ops_.end() && op->second.state == State::kWaiting) {
      ask_again(op->first, op->second);
    }
  }
  const bool is_any_waiting = std::any_of(ops_.begin(), ops_.end(), [](const auto& entry) {
    return entry.second.state == State::kWaiting;
  });
  if (is_any_waiting) {
    schedule_await();
  }
  pump();
}

// --- A new master, a new session -----------------------------------------------------------------

// Whatever is under way is asked for anew, if it still is to be.
void LockClient::forget_calls() {
  if (await_.is_set()) {
    master_.interrupt(std::exchange(await_, CallId{}));
  }
  if (reclaim_.is_set()) {
    master_.interrupt(std::exchange(reclaim_, CallId{}));
  }
  must_reclaim_ = false;
  may_know_of_waits_ = false;
  unsettled_.clear();
  std::vector<LockOpId> over;
  for (auto& [id, op] : ops_) {
    if (op.state == State::kSent) {
      master_.interrupt(op.call);
    }
    op.call = CallId{};
    op.is_queued = false;
    if (op.steps_back || op.is_given_up) {
      over.push_back(id);  // the master does not have it
    } else {
      ask_again(id, op);
    }
  }
  for (const LockOpId id : over) {
    end(ops_.find(id), ok());
  }
}

void LockClient::session_replaced() {
  const std::vector<LockHolder> losers = held_.lose_all();
  for (const LockHolder& loser : losers) {
    report_loss(loser, "the session is over");
  }
  forget_calls();
  std::vector<LockOpId> ids;
  for (const auto& [id, op] : ops_) {
    ids.push_back(id);
  }
  for (const LockOpId id : ids) {
    const auto op = ops_.find(id);
    const bool is_told = op->second.done && held_.take_loss(op->second.wanted.holder);
    if (is_told) {
      end(op, make_error(ErrorCode::kIo, "a lock was lost with the session"));
    } else if (op->second.wanted.mode == LockMode::kNone) {
      end(op, ok());
    }
  }
  pump();
}

// What is held whichever of the calls under way the last master had applied.
LockRanges LockClient::claimed(const LockHolder& holder) const {
  LockRanges ranges = held_.ranges(holder);
  const auto ops = by_file_.find(holder.file);
  if (ops == by_file_.end()) {
    return ranges;
  }
  for (const LockOpId id : ops->second) {
    const Op& op = ops_.at(id);
    const bool may_be_applied = op.state == State::kSent || op.steps_back;
    if (op.wanted.holder != holder || !may_be_applied) {
      continue;
    }
    const bool is_flock = holder.file.kind == LockKind::kFlock;
    const bool is_same = !ranges.empty() && ranges.all().front().mode == op.wanted.mode;
    if (!is_flock || !is_same) {
      ranges.weaken(op.wanted.span, is_flock ? LockMode::kNone : op.wanted.mode);
    }
    for (const LockRange& step : op.steps_back.value_or(std::vector<LockRange>{})) {
      ranges.weaken(step.span, step.mode);
    }
  }
  return ranges;
}

void LockClient::tell_all() {
  std::vector<LockHolder> holders;
  for (const auto& [holder, entry] : held_.all()) {
    holders.push_back(holder);
  }
  for (const LockHolder& holder : holders) {
    held_.replace(holder, claimed(holder));
  }
  forget_calls();
  must_reclaim_ = true;
  send_claims();
}

void LockClient::send_claims() {
  ReclaimLocksRequest request;
  request.incarnation = master_.incarnation();
  request.settled = next_number_ - 1;
  for (const auto& [holder, entry] : held_.all()) {
    for (const LockRange& range : entry.ranges.all()) {
      request.claims.push_back({.inode = holder.file.inode,
                                .kind = static_cast<std::uint8_t>(holder.file.kind),
                                .owner = holder.owner,
                                .mode = static_cast<std::uint8_t>(range.mode),
                                .start = range.span.start,
                                .end = range.span.end});
    }
  }
  reclaim_ = master_.call(
      request, lifetime_.guard([this, number = ++reclaim_number_,
                                claims = request.claims](const Result<ReclaimLocksReply>& reply) {
        if (number == reclaim_number_ && reclaim_.is_set()) {
          claims_answered(claims, reply);
        }
      }));
}

void LockClient::claims_answered(const std::vector<LockClaim>& claims,
                                 const Result<ReclaimLocksReply>& reply) {
  reclaim_ = CallId{};
  if (!reply && is_outcome_unknown(reply.code())) {
    world_.log.warning(
        std::string("The master did not take the locks held here, it is told again.") +
        " code=" + error_code_name(reply.code()));
    world_.scheduler.run_after(kUnlockRetryDelay, lifetime_.guard([this, number = reclaim_number_] {
      if (number == reclaim_number_ && must_reclaim_) {
        send_claims();
      }
    }));
    return;
  }
  must_reclaim_ = false;
  for (const std::uint32_t index : reply ? reply->refused : std::vector<std::uint32_t>{}) {
    if (index < claims.size()) {
      const LockClaim& claim = claims[index];
      const LockHolder holder{
          .file = {.inode = claim.inode, .kind = static_cast<LockKind>(claim.kind)},
          .owner = claim.owner};
      held_.lose(holder, {.start = claim.start, .end = claim.end});
      report_loss(holder, "the restarted master refuses it");
    }
  }
  pump();
}

void LockClient::report_loss(const LockHolder& holder, const char* why) {
  world_.log.error("A lock is lost, its holder is told by its next lock call. " + describe(holder) +
                   " pid=" + std::to_string(held_.pid_of(holder).value_or(0)) + " reason=" + why);
}

}  // namespace dfs::client
