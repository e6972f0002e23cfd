#include "master/core/master.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "common/assert.h"
#include "master/core/dispatch.h"
#include "master/core/number_reserve.h"
#include "master/core/once.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

// Requests in a row that met an I/O error of the store, before the disk counts as broken.
constexpr std::uint32_t kFailuresMax = 8;
constexpr std::chrono::seconds kNoteRetry{1};
// Sequences are stored as signed numbers.
constexpr std::uint64_t kSequenceMax =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

std::string describe(const Error& error) {
  return std::string("error=") + error_code_name(error.code) + " detail=" + error.detail;
}

}  // namespace

Master::Master(World world, Store& store, Options options)
    : world_(world),
      store_(store),
      options_(std::move(options)),
      started_(world.scheduler.now()),
      incarnation_(world.random.next_u64() | 1),  // never 0
      chunks_(world, store, *this, options_.chunks),
      sessions_(world, *this, incarnation_, options_.sessions),
      leases_(world.scheduler, world.random.next_u64() >> 2, options_.leases_max),
      // Twice, since a client first tells what a loss of power may have undone.
      locks_(world, incarnation_, 2 * options_.sessions.session_timeout),
      grace_(world, *this, sessions_, leases_, options_.boot_id),
      note_timer_(world.scheduler) {}

Master::~Master() = default;

Status Master::start() {
  DFS_CHECK_OK(store_.begin());
  auto prepared = prepare();
  if (prepared) {
    prepared = store_.commit(true);
  }
  if (!prepared) {
    store_.rollback();
    DFS_CHECK_OK(store_.note_failed_sync());
    return prepared;
  }
  DFS_CHECK_OK(chunks_.load());
  DFS_CHECK_OK(sessions_.load(store_));
  DFS_CHECK_OK(locks_.load(store_));
  sessions_.on_end([this](SessionId session) { locks_.session_ended(session); });
  locks_.on_answer([this](PeerId peer, Buffer head) {
    if (server_ != nullptr) {
      server_->send(peer, std::move(head));
    }
  });
  DFS_TRY(server_, RpcServer::create(world_, options_.listen_address, incarnation_,
                                     [this](RpcRequest request) { receive(std::move(request)); }));
  chunks_.start();
  sessions_.start();
  DFS_TRY(const std::string cluster_id, store_.cluster_id());
  world_.log.info("The master is serving address=" + server_->address() + " cluster=" + cluster_id +
                  " sessions=" + std::to_string(sessions_.count()));
  grace_.start([this] { grace_ended(); });
  return ok();
}

// What is committed here durably makes durable what the last process left, too.
Status Master::prepare() {
  DFS_CHECK_OK(skip_reserved_numbers(store_));
  DFS_TRY(index_base_, store_.counter(Counter::kReservedChange));
  index_bound_ = index_base_ + kChangeIndexStep;
  DFS_CHECK_OK(store_.set_counter(Counter::kReservedChange, index_bound_));
  return grace_.decide(store_);
}

void Master::stop() {
  if (server_ != nullptr && !is_stopped_) {
    note_orderly_stop();
  }
  is_stopped_ = true;
  queue_.clear();
  held_.clear();
  waiting_.clear();
  server_.reset();
}

void Master::note_orderly_stop() {
  auto noted = store_.begin();
  if (noted) {
    noted = grace_.note_orderly_stop(store_);
  }
  if (noted) {
    noted = store_.commit(true);
  }
  if (!noted) {
    store_.rollback();
    world_.log.error("The stop could not be written down, the next start may wait for clients " +
                     describe(noted.error()));
  }
}

Address Master::address() const {
  DFS_ASSERT(server_ != nullptr);
  return server_->address();
}

void Master::submit(InternalOperations::Operation operation, Done done, bool durable) {
  if (is_stopped_) {
    return;
  }
  Item item;
  item.operation = std::move(operation);
  item.done = std::move(done);
  item.durable = durable;
  queue_.push_back(std::move(item));
  schedule_batch();
}

void Master::receive(RpcRequest request) {
  if (is_stopped_ || take_lease_request(request) || is_repeated_while_waiting(request)) {
    return;
  }
  if (grace_.is_on() && request.envelope.type == MessageType::kReplayChanges) {
    take_replay(request);
  }
  const bool waits = grace_.is_on() && must_wait(request);
  std::deque<Item>& queue = waits ? held_ : queue_;
  if (queue.size() + waiting_.size() >= kQueueMax) {
    ++dropped_requests_;
    if (std::has_single_bit(dropped_requests_)) {  // one line for each doubling
      world_.log.warning("Requests are dropped, too many are waiting dropped=" +
                         std::to_string(dropped_requests_));
    }
    return;
  }
  Item item;
  item.request = std::move(request);
  item.since = world_.scheduler.now();
  queue.push_back(std::move(item));
  if (!waits) {
    schedule_batch();
  }
}

bool Master::must_wait(const RpcRequest& request) const {
  const master::Operation* operation = find_operation(request.envelope.type);
  return operation != nullptr && !operation->in_grace;
}

// The page waits like other requests and is answered when the grace period is over; what cannot be
// understood or is meant for another master is found out then, too.
void Master::take_replay(const RpcRequest& request) {
  const SessionId session = request.envelope.session;
  if (!sessions_.exists(session)) {
    return;
  }
  sessions_.heard_from(session, request.envelope.acknowledged);
  const auto page = decode_body<ReplayChangesRequest>(request.body);
  const Status taken = page ? sessions_.replays().add(session, *page) : Status(page.error());
  if (!taken) {
    world_.log.warning("Replayed changes are refused session=" + std::to_string(session.value) +
                       " " + describe(taken.error()));
  }
  grace_.look();
}

void Master::grace_ended() {
  sessions_.grace_over();
  index_ = durable_index_ = index_base_;
  std::move(held_.begin(), held_.end(), std::back_inserter(queue_));
  held_.clear();
  schedule_batch();
}

void Master::schedule_batch() {
  if (batch_is_posted_) {
    return;
  }
  batch_is_posted_ = true;
  world_.scheduler.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) {
      batch_is_posted_ = false;
      run_batch();
    }
  });
}

void Master::run_batch() {
  if (is_stopped_ || queue_.empty()) {
    return;
  }
  const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(std::min(queue_.size(), kBatchMax));
  std::vector<Item> items(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
  queue_.erase(queue_.begin(), end);
  run_items(items);
  put_aside(items);
  send_all_notices();
  wake_waiting();
  grace_.look();
  if (!is_stopped_ && !queue_.empty()) {
    schedule_batch();
  }
}

void Master::run_items(Items items) {
  if (attempt(items)) {
    failures_in_a_row_ = 0;
    return;
  }
  for (std::size_t index = 0; index < items.size() && !is_stopped_; ++index) {
    const Items single = items.subspan(index, 1);
    const Status status = attempt(single);
    if (status) {
      failures_in_a_row_ = 0;
    } else if (!is_stopped_) {
      answer_failure(single.front(), status.error());
    }
  }
}

// One transaction. On an error it is undone and nothing was answered.
Status Master::attempt(Items items) {
  BatchEnd end;
  OpContext context{.store = store_,
                    .chunks = chunks_,
                    .sessions = sessions_,
                    .leases = leases_,
                    .locks = locks_,
                    .now = world_.scheduler.wall_now(),
                    .session = {},
                    .durable = false,
                    .batch_end = &end,
                    .uptime = world_.scheduler.now() - started_,
                    .mono_now = world_.scheduler.now(),
                    .parked = [this](Duration age_min) { return parked(age_min); },
                    .index = index_,
                    .index_bound = index_bound_,
                    .durable_index = durable_index_};
  Status status = store_.begin();
  if (status) {
    status = apply_items(items, context);
  }
  if (status) {
#ifdef DFS_CANARY_ANSWER_BEFORE_COMMIT
    answer(items);
#endif
    status = store_.commit(context.durable);
    if (!status && status.code() != ErrorCode::kNoSpace) {
      store_.rollback();
      fail(status.error());
      return status;
    }
  }
  if (!status) {
    undo(end);
    if (store_.has_failed_sync()) {
      fail(status.error());
    }
    return status;
  }
  index_ = context.index;
  index_bound_ = context.index_bound;
  if (context.durable) {
    durable_index_ = index_;
  }
  for (const auto& task : end.committed) {
    task();
  }
#ifndef DFS_CANARY_ANSWER_BEFORE_COMMIT
  answer(items);
#endif
  return ok();
}

Status Master::apply_items(Items items, OpContext& context) {
  for (Item& item : items) {
    item.answer = {};
    item.outcome = ok();
    item.waits = false;
    DFS_CHECK_OK(apply_item(item, context));
    if (store_.is_broken()) {
      return make_error(ErrorCode::kIo, "an operation went on after the store had failed");
    }
  }
  return acknowledge(items, context);
}

// Only an error of the store comes back; what an operation refuses is its answer.
Status Master::apply_item(Item& item, OpContext& context) {
  if (item.operation) {
    context.session = {};
    context.durable |= item.durable;
    return item.operation(context);
  }
  return apply_request(item, context);
}

Status Master::apply_request(Item& item, OpContext& context) {
  const RpcRequest& request = item.request;
  const Envelope& envelope = request.envelope;
  const auto refuse = [&](ErrorCode code, const char* why) {
    item.answer = RpcServer::encode_failure(request.reply_address(), make_error(code, why));
    return ok();
  };
  if (std::exchange(item.wait.is_marked, false)) {
    leases_.end_waiting(item.wait.changes);
  }
  const master::Operation* operation = find_operation(envelope.type);
  if (operation == nullptr) {
    return refuse(ErrorCode::kNotSupported, "a master does not answer this request");
  }
  context.session = envelope.session;
  if (envelope.session.is_set() && envelope.type != MessageType::kOpenSession) {
    if (!sessions_.exists(envelope.session)) {
      return refuse(ErrorCode::kSessionExpired, "the session is over");
    }
    sessions_.heard_from(envelope.session, envelope.acknowledged);
  } else if (operation->needs_session) {
    return refuse(ErrorCode::kBadMessage, "the request needs a session");
  }
  if (operation->effect == Effect::kOnce) {
    if (envelope.sequence == 0 || envelope.sequence > kSequenceMax) {
      return refuse(ErrorCode::kBadMessage, "a change needs a sequence number");
    }
    DFS_TRY(std::optional<Buffer> repeated, answer_repeated(context, request, *operation));
    if (repeated) {
      item.answer = std::move(*repeated);
      return ok();
    }
  }
  DFS_TRY(item.waits, must_wait_for_leases(item, context));
  context.others_were_told = std::any_of(
      item.wait.noticed.begin(), item.wait.noticed.end(),
      [&](const auto& notice) { return std::get<SessionId>(notice.first) != context.session; });
  if (item.waits) {
    return ok();
  }
  if (operation->effect == Effect::kOnce) {
    DFS_TRY(item.answer, apply_once(context, request, *operation, item.is_withdrawn));
    return ok();
  }
  if (operation->effect == Effect::kNone && request.deadline < world_.scheduler.now()) {
    return ok();
  }
  context.unsettled.clear();
  auto answer = operation->apply(context, request);
  if (!answer && (store_.is_broken() || undoes_batch(answer.code()))) {
    return std::move(answer).error();
  }
  if (operation->effect == Effect::kNone && must_wait_for_writers(item, context)) {
    item.waits = true;
    return ok();
  }
  item.answer = answer ? std::move(*answer)
                       : RpcServer::encode_failure(request.reply_address(), answer.error());
  return ok();
}

// Once for each session, so that a batch of many requests drops kept answers with one statement.
Status Master::acknowledge(Items items, OpContext& context) {
  std::map<SessionId, std::uint64_t> newest;
  for (const Item& item : items) {
    const Envelope& envelope = item.request.envelope;
    if (!item.operation && envelope.acknowledged > 0 && sessions_.exists(envelope.session)) {
      std::uint64_t& number = newest[envelope.session];
      number = std::max(number, std::min(envelope.acknowledged, kSequenceMax));
    }
  }
  for (const auto& [session, number] : newest) {
    DFS_CHECK_OK(sessions_.acknowledge(context, session, number));
  }
  return ok();
}

void Master::undo(const BatchEnd& end) {
  store_.rollback();
  for (auto task = end.rolled_back.rbegin(); task != end.rolled_back.rend(); ++task) {
    (*task)();
  }
  const Status loaded = chunks_.load();
  if (!loaded) {
    fail(loaded.error());
  }
}

void Master::answer(Items items) {
  for (Item& item : items) {
    if (item.operation) {
      if (item.done) {
        item.done(ok());
      }
    } else if (!item.answer.empty() && server_ != nullptr) {
      server_->send(item.request.peer, std::move(item.answer));
    }
  }
}

void Master::answer_failure(Item& item, const Error& error) {
  world_.log.error("The database refused an operation type=" +
                   std::to_string(static_cast<unsigned>(item.request.envelope.type)) + " " +
                   describe(error));
  if (item.operation) {
    if (item.done) {
      item.done(error);
    }
  } else if (server_ != nullptr) {
    server_->fail(item.request.reply_address(), error);
  }
  if (error.code == ErrorCode::kIo && ++failures_in_a_row_ >= kFailuresMax) {
    fail(error);
  }
}

void Master::fail(const Error& error) {
  if (is_stopped_) {
    return;
  }
  world_.log.error("The master stops, its database has failed " + describe(error));
  is_stopped_ = true;
  queue_.clear();
  held_.clear();
  waiting_.clear();
  // Posted: the handler may destroy the master.
  world_.scheduler.post([this, alive = std::weak_ptr<char>(alive_), error] {
    if (!alive.expired()) {
      tell_failure(error);
    }
  });
}

// The next start must not take what it finds for all there was. As long as that cannot be written
// down there must be none: this process stays, with its lock, until it is told to stop.
void Master::tell_failure(const Error& error) {
  const Status noted = store_.note_failed_sync();
  if (!noted) {
    if (server_ != nullptr) {
      world_.log.error(
          "A sync failed, which cannot be written down: this is tried until it can be, or the "
          "master is told to stop. Start the machine anew before another master on this data, "
          "else changes may be missing unnoticed. " +
          describe(noted.error()));
      server_.reset();
    }
    note_timer_.start(kNoteRetry, [this, error] { tell_failure(error); });
  } else if (failed_) {
    failed_(error);
  }
}

}  // namespace dfs::master
