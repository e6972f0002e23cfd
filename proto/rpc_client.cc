#include "proto/rpc_client.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "proto/limited_log.h"
#include "proto/pending_calls.h"
#include "proto/session_messages.h"

namespace dfs {
namespace {

// When the transport's queue is full; what arrives meanwhile tries at once.
constexpr std::chrono::milliseconds kSendRetryDelay{20};
// The interval between repetitions of one call doubles up to this many times resend_after, so that
// a server that is merely slow is not buried in copies.
constexpr int kResendBackoffMax = 8;

std::uint32_t deadline_ms(Duration timeout) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(ms, 0, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

class RpcClient::Impl {
 public:
  Impl(World world, Address address, std::string peer_name, Options options)
      : world_(world),
        address_(std::move(address)),
        peer_name_(std::move(peer_name)),
        options_(options),
        garbage_(world.log, world.scheduler),
        timer_(world.scheduler),
        // Random, so that an answer to an earlier client is never taken for one of ours; the lower
        // half, so that it never wraps.
        next_id_((world.random.next_u64() >> 1) + 1) {
    DFS_ASSERT(options_.ping_interval > Duration::zero());
    DFS_ASSERT(options_.liveness_timeout > options_.ping_interval);
    DFS_ASSERT(options_.resend_after > Duration::zero());
    DFS_ASSERT(options_.calls_in_flight_max > 0);
  }
  ~Impl() { DFS_ASSERT(callback_depth_ == 0); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::uint64_t next_id() { return next_id_++; }
  ClusterTag cluster() const { return options_.cluster; }
  void start(const Envelope& envelope, PendingCall call, Duration timeout);
  void cancel(CallId id);

  bool is_up() const { return is_up_; }
  void on_state_change(std::function<void(bool)> handler) { state_handler_ = std::move(handler); }
  const Address& address() const { return address_; }
  std::size_t calls_pending() const { return calls_.size() + refused_.size(); }

 private:
  bool keeps_calls() const { return options_.when_down == WhenDown::kKeepCalls; }
  MonoTime now() const { return world_.scheduler.now(); }
  MonoTime next_ping() const { return std::max(heard_at_, pinged_at_) + options_.ping_interval; }
  std::string name() const { return "peer=" + peer_name_ + " address=" + address_; }
  template <class Run>
  Task while_alive(Run run) {
    return [run = std::move(run), alive = std::weak_ptr<const Unit>(alive_)] {
      if (!alive.expired()) {
        run();
      }
    };
  }

  Status connect();
  void refuse_later(CallId id, RawDone done, Error error);
  void run_refused();
  void send_queued();
  bool send_call(CallId id, const PendingCall& call, Duration resend_in);
  void send_ping();

  void arm();
  void tick();
  void run_due();
  void go_down();
  void set_up(bool up);

  void receive(std::uint64_t connection_number, Message message);
  void receive_reply(Message message, Result<DecodedHead> decoded);
  void note_incarnation(std::span<const std::byte> ping_reply);
  void finish(CallId id, Result<RawReply> result);
  void fail_calls(const std::vector<CallId>& ids, const Error& error);

  World world_;
  const Address address_;
  const std::string peer_name_;
  const Options options_;
  LimitedLog garbage_;

  std::unique_ptr<Connection> connection_;
  std::uint64_t connection_number_ = 0;  // of connection_: what an earlier one brings is ignored
  PendingCalls calls_;
  // Calls that failed at once; their callbacks run in one posted task.
  std::map<CallId, std::pair<RawDone, Error>> refused_;
  bool is_refusal_posted_ = false;

  std::uint64_t incarnation_ = 0;  // of the peer, by its answers to pings; 0: not known
  bool is_up_ = true;
  bool is_garbage_heard_ = false;  // on connection_
  std::function<void(bool)> state_handler_;
  MonoTime heard_at_{};                       // of the last message, or since when we listen
  MonoTime pinged_at_{};                      // of the last ping
  MonoTime blocked_until_ = MonoTime::min();  // the transport's queue was full

  Timer timer_;
  MonoTime armed_for_{};
  std::uint64_t next_id_;
  int callback_depth_ = 0;
  // Expires with this object: posted tasks and messages on their way then go nowhere.
  std::shared_ptr<const Unit> alive_ = std::make_shared<const Unit>();
};

// --- Calls -------------------------------------------------------------------------------------

void RpcClient::Impl::start(const Envelope& envelope, PendingCall call, Duration timeout) {
  DFS_ASSERT(timeout >= Duration::zero());
  const CallId id{envelope.request_id};
  if (calls_.size() >= options_.calls_in_flight_max + options_.calls_queued_max) {
    refuse_later(id, std::move(call.done), make_error(ErrorCode::kBusy, "too many calls"));
    return;
  }
  if (call.bulk.size() > kBulkBytesMax) {
    refuse_later(id, std::move(call.done), make_error(ErrorCode::kTooLarge, "bulk over its limit"));
    return;
  }
  if (connection_ == nullptr) {
    auto connected = connect();
    if (!connected) {
      refuse_later(id, std::move(call.done), std::move(connected).error());
      return;
    }
  }
  const bool was_idle = calls_.empty();
  if (timeout > Duration::zero()) {
    call.deadline = now() + timeout;
  }
  calls_.add(id, std::move(call));
  if (was_idle) {
    heard_at_ = pinged_at_ = now();
    if (!is_up_ && keeps_calls()) {
      send_ping();  // it may have come back while nobody asked
    }
  }
  send_queued();
  arm();
}

void RpcClient::Impl::cancel(CallId id) {
  if (refused_.erase(id) > 0 || !calls_.take(id)) {
    return;
  }
  send_queued();
  arm();
}

void RpcClient::Impl::refuse_later(CallId id, RawDone done, Error error) {
  refused_.emplace(id, std::pair(std::move(done), std::move(error)));
  if (!is_refusal_posted_) {
    is_refusal_posted_ = true;
    world_.scheduler.post(while_alive([this] { run_refused(); }));
  }
}

void RpcClient::Impl::run_refused() {
  is_refusal_posted_ = false;  // calls refused from now on get a task of their own
  std::vector<CallId> ids;
  for (const auto& [id, refused] : refused_) {
    ids.push_back(id);
  }
  for (const CallId id : ids) {
    const auto at = refused_.find(id);
    if (at == refused_.end()) {
      continue;  // cancelled
    }
    auto [done, error] = std::move(at->second);
    refused_.erase(at);
    ++callback_depth_;
    done(std::move(error));
    --callback_depth_;
  }
}

void RpcClient::Impl::finish(CallId id, Result<RawReply> result) {
  auto call = calls_.take(id);
  DFS_ASSERT(call.has_value());
  ++callback_depth_;
  call->done(std::move(result));
  --callback_depth_;
}

void RpcClient::Impl::fail_calls(const std::vector<CallId>& ids, const Error& error) {
  for (const CallId id : ids) {
    if (calls_.find(id) != nullptr) {  // else cancelled by a callback before it
      finish(id, error);
    }
  }
}

// --- Sending -----------------------------------------------------------------------------------

Status RpcClient::Impl::connect() {
  const std::uint64_t number = ++connection_number_;
  auto handler = [this, number, alive = std::weak_ptr<const Unit>(alive_)](Message message) {
    if (!alive.expired()) {
      receive(number, std::move(message));
    }
  };
  DFS_TRY(connection_, world_.transport.connect(address_, std::move(handler)));
  blocked_until_ = MonoTime::min();
  is_garbage_heard_ = false;
  return ok();
}

void RpcClient::Impl::send_queued() {
  // Kept calls wait until the peer is known to be back, then go out in their order.
  if (connection_ == nullptr || (keeps_calls() && !is_up_) || now() < blocked_until_) {
    return;
  }
  while (calls_.sent_count() < options_.calls_in_flight_max) {
    const auto id = calls_.first_queued();
    if (!id || !send_call(*id, *calls_.find(*id), options_.resend_after)) {
      return;
    }
  }
}

// Returns whether the transport took it.
bool RpcClient::Impl::send_call(CallId id, const PendingCall& call, Duration resend_in) {
  const auto sent = connection_->send(Message{call.head, call.bulk});
  if (!sent) {
    blocked_until_ = now() + kSendRetryDelay;
    return false;
  }
  calls_.mark_sent(id, now(), resend_in);
  return true;
}

void RpcClient::Impl::send_ping() {
  pinged_at_ = now();
  Envelope envelope;
  envelope.version = kProtocolVersion;
  envelope.type = MessageType::kPing;
  envelope.request_id = next_id();
  const auto sent = connection_->send(Message{encode_message(envelope, PingRequest{}), {}});
  if (!sent) {
    blocked_until_ = now() + kSendRetryDelay;  // silence will tell, if it stays so
  }
}

// --- Time --------------------------------------------------------------------------------------

// The timer is never moved to a later time: a steady stream of calls must not restart it for each.
void RpcClient::Impl::arm() {
  if (calls_.empty()) {
    return;
  }
  MonoTime next = std::min(next_ping(), heard_at_ + options_.liveness_timeout);
  if (const auto due = calls_.first_due()) {
    next = std::min(next, due->first);
  }
  if (calls_.first_queued() && blocked_until_ > now()) {
    next = std::min(next, blocked_until_);
  }
  if (timer_.is_armed() && armed_for_ <= next) {
    return;
  }
  armed_for_ = std::max(next, now());
  timer_.start(armed_for_ - now(), [this] { tick(); });
}

void RpcClient::Impl::tick() {
  if (calls_.empty()) {
    return;
  }
  const Duration late = now() - armed_for_;
  if (late > options_.ping_interval) {
    // This process did not run: what the peer sent meanwhile may only be waiting to be read.
    heard_at_ = std::min(heard_at_ + late, now());
  }
  if (now() - heard_at_ >= options_.liveness_timeout) {
    go_down();
  } else if (now() >= next_ping()) {
    send_ping();
  }
  run_due();
  send_queued();
  arm();
}

void RpcClient::Impl::run_due() {
  const MonoTime until = now();
  for (auto due = calls_.first_due(); due && due->first <= until; due = calls_.first_due()) {
    const CallId id = due->second;
    PendingCall& call = *calls_.find(id);
    if (call.deadline <= until) {
      finish(id, make_error(ErrorCode::kTimedOut, "no answer in time from " + peer_name_));
      continue;
    }
    DFS_ASSERT(call.is_sent);
    const Duration resend_in =
        std::min(2 * call.resend_in, kResendBackoffMax * options_.resend_after);
    if (!send_call(id, call, resend_in)) {
      calls_.mark_sent(id, until, call.resend_in);  // as if lost: another turn will come
    }
  }
}

// Silent for liveness_timeout: whatever still waits in the connection is stale, so it ends.
void RpcClient::Impl::go_down() {
  const std::vector<CallId> ids = calls_.ids();
  connection_.reset();
  heard_at_ = pinged_at_ = now();
  if (is_up_) {
    world_.log.warning("peer is down " + name() + " calls=" + std::to_string(ids.size()));
  }
  if (!keeps_calls()) {
    set_up(false);
    fail_calls(ids,
               make_error(ErrorCode::kUnavailable,
                          is_garbage_heard_ ? "what answers there is no server of this protocol"
                                            : "no sign of life from " + peer_name_));
    return;
  }
  calls_.requeue_all();
  const auto connected = connect();
  set_up(false);
  if (connected) {
    send_ping();
  } else {
    fail_calls(ids, connected.error());
  }
}

void RpcClient::Impl::set_up(bool up) {
  if (is_up_ == up) {
    return;
  }
  is_up_ = up;
  if (state_handler_) {
    const auto handler = state_handler_;  // it may put another in its place
    ++callback_depth_;
    handler(up);
    --callback_depth_;
  }
}

// --- Receiving ---------------------------------------------------------------------------------

void RpcClient::Impl::receive(std::uint64_t connection_number, Message message) {
  if (connection_number != connection_number_) {
    return;
  }
  blocked_until_ = MonoTime::min();
  const auto head = message.head.bytes();
  // The envelope of a head over the limit is still read: the call it answers must not wait for
  // ever.
  auto decoded = decode_head(head.first(std::min(head.size(), kHeadBytesMax)));
  if (!decoded && decoded.code() != ErrorCode::kVersionMismatch) {
    is_garbage_heard_ = true;
    garbage_.warning("message refused: " + decoded.error().detail + " " + name());
    return;
  }
  heard_at_ = now();
  if (!is_up_) {
    world_.log.info("peer is up " + name() + " calls=" + std::to_string(calls_.size()));
    set_up(true);
  }
  receive_reply(std::move(message), std::move(decoded));
  send_queued();
  arm();
}

void RpcClient::Impl::receive_reply(Message message, Result<DecodedHead> decoded) {
  if (!decoded) {
    garbage_.warning("message refused: " + decoded.error().detail + " " + name());
    fail_calls(calls_.ids(), decoded.error());
    return;
  }
  Envelope& envelope = decoded->envelope;
  if (envelope.kind != MessageKind::kReply) {
    garbage_.warning("message refused: not a reply " + name());
    return;
  }
  if (envelope.type == MessageType::kPing && envelope.code == ErrorCode::kOk) {
    note_incarnation(decoded->body);
  }
  const CallId id{envelope.request_id};
  const PendingCall* call = calls_.find(id);
  if (call == nullptr || call->type != envelope.type) {
    return;  // an answer to a ping, to a repeated or to a forgotten call
  }
  if (message.head.size() > kHeadBytesMax || message.bulk.size() > kBulkBytesMax) {
    garbage_.warning("message refused: over its limit " + name());
    finish(id, make_error(ErrorCode::kBadMessage, "the reply is over its limit"));
    return;
  }
  if (envelope.code == ErrorCode::kWrongCluster && options_.cluster.is_set()) {
    envelope.code = ErrorCode::kUnavailable;
  }
  if (envelope.code != ErrorCode::kOk) {
    finish(id, make_error(envelope.code, std::move(envelope.detail)));
    return;
  }
  finish(id, RawReply{.head = std::move(message.head),
                      .body = decoded->body,
                      .bulk = std::move(message.bulk),
                      .stamp = envelope.stamp,
                      .durable_index = envelope.durable_index});
}

// A server that was started anew knows nothing of what was sent to the one before it.
void RpcClient::Impl::note_incarnation(std::span<const std::byte> ping_reply) {
  const auto reply = decode_body<PingReply>(ping_reply);
  if (!reply) {
    return;
  }
  const std::uint64_t before = std::exchange(incarnation_, reply->incarnation);
  if (before != 0 && before != incarnation_) {
    calls_.requeue_all();
  }
}

// --- RpcClient ---------------------------------------------------------------------------------

RpcClient::RpcClient(World world, Address address, std::string peer_name, Options options)
    : impl_(std::make_unique<Impl>(world, std::move(address), std::move(peer_name), options)) {}
RpcClient::~RpcClient() = default;

Envelope RpcClient::request_envelope(MessageType type, const CallOptions& options) {
  Envelope envelope;
  envelope.version = kProtocolVersion;
  envelope.type = type;
  envelope.request_id = impl_->next_id();
  envelope.session = options.session;
  envelope.sequence = options.sequence;
  envelope.acknowledged = options.acknowledged;
  envelope.deadline_ms = deadline_ms(options.timeout);
  envelope.cluster = impl_->cluster();
  return envelope;
}

void RpcClient::start(const Envelope& envelope, Buffer head, Buffer bulk, Duration timeout,
                      RawDone done) {
  PendingCall call;
  call.type = envelope.type;
  call.head = std::move(head);
  call.bulk = std::move(bulk);
  call.done = std::move(done);
  impl_->start(envelope, std::move(call), timeout);
}

void RpcClient::cancel(CallId call) { impl_->cancel(call); }
bool RpcClient::is_up() const { return impl_->is_up(); }
void RpcClient::on_state_change(std::function<void(bool up)> handler) {
  impl_->on_state_change(std::move(handler));
}
const Address& RpcClient::address() const { return impl_->address(); }
std::size_t RpcClient::calls_pending() const { return impl_->calls_pending(); }

}  // namespace dfs
