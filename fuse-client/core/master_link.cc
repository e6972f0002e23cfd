#include "fuse-client/core/master_link.h"

#include <algorithm>

namespace dfs::client {
namespace {

constexpr std::chrono::seconds kCloseWait{3};
constexpr std::chrono::seconds kReopenDelay{1};
constexpr std::chrono::milliseconds kForgottenPinsDelay = kCreatedPinRest + kSessionKeepAlive;
constexpr std::chrono::milliseconds kKeepAliveIntervalMin{100};
constexpr std::chrono::milliseconds kWithdrawRetryDelay{500};
constexpr std::uint32_t kWithdrawalsMax = 4;
// A master that lives answers at once. Else it was lost, and is not to wait until it is sent again,
// which is done at growing distances.
constexpr std::chrono::seconds kWithdrawTimeout{1};

RpcClient::Options master_rpc_options() {
  RpcClient::Options options;
  options.when_down = RpcClient::WhenDown::kKeepCalls;
  return options;
}

}  // namespace

MasterLink::MasterLink(World world, Address master, std::string client_name)
    : world_(world),
      client_name_(std::move(client_name)),
      rpc_(world, std::move(master), "master", master_rpc_options()),
      start_timer_(world.scheduler),
      reopen_timer_(world.scheduler),
      busy_timer_(world.scheduler),
      kept_timer_(world.scheduler),
      alive_(std::make_shared<const bool>(true)),
      clock_(world.scheduler),
      leases_(world, rpc_,
              {.is_open = [this] { return state_ == State::kOpen; },
               .call_options = [this] { return options_for_session(); },
               .is_over = [this] { session_lost(session_); },
               .ask_for_news = [this] { schedule_keep_alive(Duration::zero()); },
               .met_incarnation = [this](std::uint64_t met) { master_incarnation(met); }}),
      keep_alive_timer_(world.scheduler),
      forgotten_pins_timer_(world.scheduler) {
  rpc_.on_state_change([this](bool up) { link_changed(up); });
}

MasterLink::~MasterLink() = default;

// --- Session -------------------------------------------------------------------------------------

void MasterLink::start(Duration connect_wait, Done<Unit> done) {
  DFS_ASSERT(state_ == State::kIdle);
  start_done_ = std::move(done);
  start_timer_.start(connect_wait, [this] {
    rpc_.cancel(opening_);
    start_finished(
        make_error(ErrorCode::kUnavailable, "no answer from the master at " + rpc_.address()));
  });
  nonce_ = world_.random.next_u64();
  open_session();
}

void MasterLink::open_session() {
  state_ = State::kOpening;
  OpenSessionRequest request;
  request.client_name = client_name_;
  request.nonce = nonce_;
  request.ends = dead_sessions_;
  request.cluster_id = cluster_id_;
  if (note_nonce_) {
    note_nonce_(nonce_);
  }
  const MonoTime sent_at = world_.scheduler.now();
  opening_ =
      rpc_.call(request, CallOptions{}, [this, sent_at](Result<RpcReply<OpenSessionReply>> reply) {
        opening_ = CallId{};
        if (reply) {
          clock_.heard(sent_at, reply->body.now);
          session_opened(reply->body);
          leases_.opened(sent_at, std::chrono::milliseconds(reply->body.session_timeout_ms));
        } else {
          session_failed(reply.error());
        }
      });
}

void MasterLink::session_opened(const OpenSessionReply& reply) {
  const bool is_replacement = session_.is_set();
  session_replaced(reply.losses);
  state_ = State::kOpen;
  dead_sessions_.clear();
  session_ = reply.session;
  cluster_id_ = reply.cluster_id;
  losses_ = reply.losses;
  next_sequence_ = 1;
  keep_alive_interval_ =
      std::max<Duration>(kKeepAliveIntervalMin, std::chrono::milliseconds(reply.keep_alive_ms));
  if (is_replacement) {
    world_.log.warning("The session expired; a new one was opened. session=" +
                       std::to_string(session_.value));
    leases_.lose();
    for (const auto& handler : new_session_) {
      handler();
    }
  }
  incarnation_ = reply.incarnation;
  leases_.begin_reclaim(incarnation_);
  if (is_replacement || reply.was_there) {
    tell_all_pins();
  }
  if (must_tell_ && reply.was_there) {
    must_tell_();
  }
  schedule_keep_alive(keep_alive_interval_);
  if (start_done_) {
    start_finished(ok());
  }
  pump();
}

void MasterLink::session_failed(const Error& error) {
  if (start_done_) {
    start_finished(error);
    return;
  }
  world_.log.error(std::string("The master refuses a new session. code=") +
                   error_code_name(error.code) + " detail=" + error.detail);
  if (error.code == ErrorCode::kVersionMismatch || error.code == ErrorCode::kWrongCluster) {
    // Waiting will not help whoever waits now.
    while (!held_.empty()) {
      give_up(calls_.find(*held_.begin()), error);
    }
  }
  schedule_reopening();
}

void MasterLink::schedule_reopening() {
  reopen_timer_.start(kReopenDelay, [this] { open_session(); });
}

void MasterLink::start_finished(Status status) {
  start_timer_.stop();
  if (!status) {
    state_ = State::kIdle;
  }
  auto done = std::exchange(start_done_, nullptr);
  done(std::move(status));
}

void MasterLink::session_lost(SessionId session) {
  if (state_ != State::kOpen || session != session_) {
    return;
  }
  if (keep_alive_.is_set()) {
    rpc_.cancel(keep_alive_);
    keep_alive_ = CallId{};
  }
  keep_alive_timer_.stop();
  leases_.pause();
  nonce_ = world_.random.next_u64();
  open_session();
}

void MasterLink::stop(Done<Unit> done) {
  const bool was_open = state_ == State::kOpen;
  state_ = State::kStopped;
  start_timer_.stop();
  reopen_timer_.stop();
  busy_timer_.stop();
  kept_timer_.stop();
  keep_alive_timer_.stop();
  forgotten_pins_timer_.stop();
  leases_.stop();
  if (!was_open) {
    world_.scheduler.post([done = std::move(done), alive = std::weak_ptr(alive_)] {
      if (!alive.expired()) {
        done(ok());
      }
    });
    return;
  }
  CallOptions options;
  options.timeout = kCloseWait;
  options.session = session_;
  options.acknowledged = acknowledged();
  rpc_.call(CloseSessionRequest{}, options,
            [this, done = std::move(done)](Result<RpcReply<CloseSessionReply>> reply) {
              if (!reply) {
                world_.log.warning("The session was not closed; it ends by time-out. session=" +
                                   std::to_string(session_.value));
              } else if (note_nonce_) {
                note_nonce_(0);
              }
              done(ok());
            });
}

void MasterLink::link_changed(bool up) {
  if (up) {
    // At once, because the answer tells whether the master restarted.
    if (state_ == State::kOpen) {
      schedule_keep_alive(Duration::zero());
    }
    return;
  }
  world_.log.warning("The master does not answer; calls wait for it. address=" + rpc_.address());
  for (auto call = calls_.begin(); call != calls_.end();) {
    const auto next = std::next(call);
    if (call->second.interrupted) {
      give_up(call, make_error(ErrorCode::kInterrupted));
    }
    call = next;
  }
}

void MasterLink::master_incarnation(std::uint64_t incarnation) {
  const std::uint64_t before = std::exchange(incarnation_, incarnation);
  if (before == 0 || before == incarnation) {
    return;
  }
  world_.log.info("The master restarted. session=" + std::to_string(session_.value));
  tell_all_pins();
  leases_.begin_reclaim(incarnation_);
  if (must_tell_) {
    must_tell_();
  }
}

// --- Calls ---------------------------------------------------------------------------------------

CallId MasterLink::submit(CallId id, Call call) {
  const bool is_full = held_.size() >= kCallsQueuedMax;
  const auto [place, inserted] = calls_.emplace(id, std::move(call));
  DFS_ASSERT(inserted);
  if (state_ == State::kStopped || is_full) {
    give_up(place, make_error(is_full ? ErrorCode::kBusy : ErrorCode::kUnavailable,
                              "the call to the master cannot be queued"));
    return id;
  }
  held_.insert(id);
  pump();
  return id;
}

void MasterLink::pump() {
  bool wants_pins = false;
  for (auto held = held_.begin(); held != held_.end();) {
    if (rpc_.calls_pending() >= kCallsSentMax) {
      break;  // the next answer goes on here
    }
    const CallId id = *held;
    Call& call = calls_.at(id);
    if (!may_send(call)) {
      wants_pins = wants_pins || call.pins_needed > pin_confirmed_;
      ++held;
      continue;
    }
    held = held_.erase(held);
    send(id, call);
  }
  if (wants_pins) {
    send_keep_alive();
  }
}

bool MasterLink::may_send(const Call& call) const {
  if (state_ != State::kOpen || is_replaying_ || call.not_before > world_.scheduler.now() ||
      call.pins_needed > pin_confirmed_) {
    return false;
  }
  if (!call.is_change) {
    return true;
  }
  const bool has_number = call.sequence != 0 && call.session == session_;
  return has_number ||
         (next_sequence_ - acknowledged() <= kUnsettledMax && unsettled_bytes_ < kKeptBytesMax);
}

void MasterLink::send(CallId id, Call& call) {
  DFS_ASSERT(!call.rpc.is_set());
  if (call.is_change && (call.sequence == 0 || call.session != session_)) {
    call.sequence = next_sequence_++;
    const std::size_t size_bytes = call.request != nullptr ? call.request->size_bytes() : 0;
    unsettled_.emplace(call.sequence, size_bytes);
    unsettled_bytes_ += size_bytes;
  }
  call.session = session_;
  CallOptions options;
  options.session = session_;
  options.sequence = call.sequence;
  options.acknowledged = call.acknowledged = acknowledged();
  call.rpc = call.send(options);
  DFS_ASSERT(calls_.contains(id));
}

std::uint64_t MasterLink::acknowledged() const {
  return unsettled_.empty() ? next_sequence_ - 1 : unsettled_.begin()->first - 1;
}

void MasterLink::settle_sequence(std::uint64_t sequence) {
  const auto place = unsettled_.find(sequence);
  DFS_ASSERT(place != unsettled_.end());
  unsettled_bytes_ -= place->second;
  unsettled_.erase(place);
}

void MasterLink::settle(const Call& call) {
  if (call.sequence != 0 && call.session == session_) {
    settle_sequence(call.sequence);
  }
}

bool MasterLink::finish(CallId id, ErrorCode code, const ChangeStamp& stamp,
                        std::uint64_t durable_index) {
  const auto place = calls_.find(id);
  DFS_ASSERT(place != calls_.end());
  place->second.rpc = CallId{};
  if (place->second.session == session_) {
    leases_.note_acknowledged(place->second.acknowledged);
  }
  if (code != ErrorCode::kOk && is_repeated(id, place->second, code)) {
    return false;
  }
  if (stamp.index > 0) {
    clock_.at_least(stamp.time);
  }
  const bool is_kept = place->second.request != nullptr && place->second.session == session_ &&
                       stamp.index > durable_index;
  if (is_kept) {
    keep(place->second, stamp);
  } else {
    settle(place->second);
  }
  note_durable(durable_index);
  calls_.erase(place);
  if (!held_.empty()) {
    pump();
  }
  return true;
}

bool MasterLink::is_repeated(CallId id, Call& call, ErrorCode code) {
  if (code == ErrorCode::kSessionExpired) {
    session_lost(call.session);
    if (call.is_change && !call.is_repeatable) {
      return false;
    }
    hold(id, call);
    return true;
  }
  // To a repeatable change it is the operation's own answer, kept under its number.
  if (code == ErrorCode::kBusy && !call.is_repeatable && call.busy_count < kBusyRetriesMax) {
    ++call.busy_count;
    call.not_before = world_.scheduler.now() + kBusyDelay;
    hold(id, call);
    if (!busy_timer_.is_armed()) {
      busy_timer_.start(kBusyDelay, [this] { busy_turn(); });
    }
    return true;
  }
  return false;
}

void MasterLink::busy_turn() {
  pump();
  MonoTime next = MonoTime::max();
  for (const CallId id : held_) {
    const MonoTime when = calls_.at(id).not_before;
    next = when > world_.scheduler.now() ? std::min(next, when) : next;
  }
  if (next != MonoTime::max()) {
    busy_timer_.start(next - world_.scheduler.now(), [this] { busy_turn(); });
  }
}

void MasterLink::hold(CallId id, Call& call) {
  held_.insert(id);
  if (call.interrupted) {
    give_up(calls_.find(id), make_error(ErrorCode::kInterrupted));
  } else if (state_ == State::kOpen && call.not_before <= world_.scheduler.now()) {
    pump();
  }
}

void MasterLink::give_up(Calls::iterator call, Error error) {
  if (call->second.rpc.is_set()) {
    rpc_.cancel(call->second.rpc);
  }
  // To the master the number counts as answered: a late copy of the request is refused then.
  settle(call->second);
  if (call->second.sequence != 0 && call->second.session == session_ &&
      call->second.request != nullptr) {
    leases_.give_up(call->second.sequence, call->second.request->lease_changes());
  }
  if (call->second.may_pin && call->second.sequence != 0) {
    // It may have made an inode and pinned it for nobody: only a list of all tells.
    forgotten_pins_timer_.start(kForgottenPinsDelay, [this] { tell_all_pins(); });
  }
  held_.erase(call->first);
  world_.scheduler.post([fail = std::move(call->second.fail), error = std::move(error),
                         alive = std::weak_ptr(alive_)]() mutable {
    if (!alive.expired()) {
      fail(std::move(error));
    }
  });
  calls_.erase(call);
}

void MasterLink::interrupt(CallId id) {
  const auto place = calls_.find(id);
  if (place == calls_.end()) {
    return;
  }
  const Call& call = place->second;
  if (!call.rpc.is_set() || !call.is_change || !rpc_.is_up()) {
    give_up(place, make_error(ErrorCode::kInterrupted));
    pump();
  } else if (!std::exchange(place->second.interrupted, true)) {
    withdraw(id);
  }
}

// A change can wait at the master for other clients, or for one that died.
void MasterLink::withdraw(CallId id) {
  const auto place = calls_.find(id);
  if (place == calls_.end() || !place->second.interrupted || state_ != State::kOpen) {
    return;
  }
  if (++place->second.withdrawals > kWithdrawalsMax) {
    // It waits for something else, such as other clients after a restart of the master.
    give_up(place, make_error(ErrorCode::kInterrupted));
    pump();
    return;
  }
  const WithdrawRequest request{.sequence = place->second.sequence};
  CallOptions options = options_for_session();
  options.timeout = kWithdrawTimeout;
  rpc_.call(request, options, [this, id](const Result<RpcReply<WithdrawReply>>& reply) {
    const auto call = calls_.find(id);
    if (call != calls_.end() && reply && reply->body.was_waiting) {
      call->second.withdrawals = 0;
    }
    // Again, until it is answered: it may be on its way there, or the master may die now
    // and be sent it anew.
    world_.scheduler.run_after(kWithdrawRetryDelay, [this, id, alive = std::weak_ptr(alive_)] {
      if (!alive.expired()) {
        withdraw(id);
      }
    });
  });
}

std::uint64_t MasterLink::request_of(CallId id) const {
  const auto place = calls_.find(id);
  return place == calls_.end() ? 0 : place->second.rpc.value;
}

void MasterLink::tell_soon() {
  if (state_ == State::kOpen) {
    schedule_keep_alive(Duration::zero());
  }
}

CallOptions MasterLink::options_for_session() const {
  CallOptions options;
  options.session = session_;
  options.acknowledged = acknowledged();
  return options;
}

// --- Pins ----------------------------------------------------------------------------------------

void MasterLink::pin(InodeId inode) {
  if (++pins_[inode] > 1) {
    return;
  }
  if (told_.contains(inode)) {
    dirty_unpins_.erase(inode);
    return;
  }
  dirty_unpins_.erase(inode);
  dirty_pins_.insert(inode);
  ++pin_generation_;
  schedule_keep_alive(kPinDelay);
}

void MasterLink::pin_directory(InodeId inode) {
  if (++pins_[inode] > 1) {
    return;
  }
  dirty_unpins_.erase(inode);
  if (!told_.contains(inode)) {
    directory_pins_.insert(inode);
  }
}

bool MasterLink::pin_created(InodeId inode, std::uint64_t mark) {
  if (mark != 0 && mark == pin_mark() && !dirty_pins_.contains(inode)) {
    told_.insert(inode);
  } else if (!told_.contains(inode)) {
    unsure_.insert(inode);
  }
  const bool is_sure = told_.contains(inode);
  pin(inode);
  return is_sure;
}

void MasterLink::unpin(InodeId inode) {
  const auto pinned = pins_.find(inode);
  DFS_ASSERT(pinned != pins_.end());
  if (--pinned->second > 0) {
    return;
  }
  pins_.erase(pinned);
  directory_pins_.erase(inode);
  if (told_.contains(inode) || unsure_.erase(inode) > 0) {
    dirty_unpins_.insert(inode);
    schedule_keep_alive(kUnpinDelay);
  }
  if (dirty_pins_.erase(inode) > 0 && dirty_pins_.empty()) {
    pins_covered();
  }
}

void MasterLink::pins_covered() {
  DFS_ASSERT(dirty_pins_.empty());
  pin_sent_ = pin_generation_;
  if (!keep_alive_.is_set()) {
    pin_confirmed_ = pin_generation_;
  }
}

void MasterLink::tell_all_pins() {
  tell_full_ = true;
  schedule_keep_alive(Duration::zero());
}

void MasterLink::schedule_keep_alive(Duration delay) {
  const MonoTime due = world_.scheduler.now() + delay;
  if (state_ == State::kStopped || (keep_alive_timer_.is_armed() && keep_alive_due_ <= due)) {
    return;
  }
  keep_alive_due_ = due;
  keep_alive_timer_.start(delay, [this] { send_keep_alive(); });
}

KeepAliveRequest MasterLink::next_keep_alive() {
  KeepAliveRequest request;
  request.sequence = ++keep_alives_sent_;
  if (tell_full_) {
    tell_full_ = false;
    request.full = true;
    told_.clear();
    directory_pins_.clear();
    for (const auto& [inode, count] : pins_) {
      dirty_pins_.insert(dirty_pins_.end(), inode);
    }
  }
  for (std::set<InodeId>* const untold : {&dirty_pins_, &directory_pins_}) {
    while (!untold->empty() && request.pinned.size() < kPinsPerMessageMax) {
      request.pinned.push_back(*untold->begin());
      told_.insert(*untold->begin());
      unsure_.erase(*untold->begin());
      untold->erase(untold->begin());
    }
  }
  while (!dirty_unpins_.empty() && request.unpinned.size() < kPinsPerMessageMax) {
    request.unpinned.push_back(*dirty_unpins_.begin());
    told_.erase(*dirty_unpins_.begin());
    dirty_unpins_.erase(dirty_unpins_.begin());
  }
  if (dirty_pins_.empty()) {
    pin_sent_ = pin_generation_;
  }
  if (tell_) {
    tell_(request);
  }
  return request;
}

void MasterLink::send_keep_alive() {
  if (state_ != State::kOpen || keep_alive_.is_set()) {
    return;  // whoever changes that sends or schedules the next one
  }
  keep_alive_timer_.stop();
  CallOptions options;
  options.session = session_;
  options.acknowledged = keep_alive_acknowledged_ = acknowledged();
  const MonoTime sent_at = world_.scheduler.now();
  keep_alive_ = rpc_.call(next_keep_alive(), options,
                          [this, sent_at](Result<RpcReply<KeepAliveReply>> reply) {
                            if (reply) {
                              clock_.heard(sent_at, reply->body.now);
                              leases_.keep_alive_answered(sent_at);
                              leases_.note_acknowledged(keep_alive_acknowledged_);
                            }
                            keep_alive_answered(reply);
                          });
}

void MasterLink::keep_alive_answered(const Result<RpcReply<KeepAliveReply>>& reply) {
  keep_alive_ = CallId{};
  if (!reply) {
    if (reply.code() == ErrorCode::kSessionExpired) {
      session_lost(session_);
      return;
    }
    world_.log.warning(std::string("A keep-alive was refused; all is told again. code=") +
                       error_code_name(reply.code()));
    tell_full_ = true;
    schedule_keep_alive(kReopenDelay);
    return;
  }
  pin_confirmed_ = pin_sent_;
  master_incarnation(reply->body.incarnation);
  note_durable(reply->durable_index);
  if (reply->body.wants_replay) {
    begin_replay(reply->body.incarnation);
  }
  if (!dirty_pins_.empty() || tell_full_) {
    send_keep_alive();
  } else {
    schedule_keep_alive(dirty_unpins_.empty() ? keep_alive_interval_ : Duration(kUnpinDelay));
  }
  if (!held_.empty()) {
    pump();
  }
}

}  // namespace dfs::client
