#include "chunkserver/core/master_reporter.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::chunkserver {

namespace {

constexpr std::chrono::seconds kRetryDelay{1};
constexpr std::chrono::seconds kCallTimeout{5};
// Longer: the master looks up every replica of a page in its database.
constexpr std::chrono::seconds kInventoryTimeout{20};
// Longer than the silence after which the connection is made anew and the call fails by itself.
constexpr std::chrono::milliseconds kPingTimeout = kLivenessTimeout + kPingInterval;
constexpr std::chrono::milliseconds kSpaceReportDelay{500};
constexpr std::size_t kPageReplicasMax = 4096;
constexpr std::chrono::milliseconds kHeartbeatMin{100};
constexpr std::chrono::milliseconds kHeartbeatMax{60'000};
constexpr ChunkId kLastChunk{std::numeric_limits<std::uint64_t>::max()};

RpcClient::Options client_options() {
  RpcClient::Options options;
  options.when_down = RpcClient::WhenDown::kFailCalls;
  // Calls are made anew instead, with what is true by then.
  options.resend_after = std::chrono::hours(1);
  return options;
}

CallOptions with_timeout(Duration timeout) {
  CallOptions options;
  options.timeout = timeout;
  return options;
}

}  // namespace

MasterReporter::MasterReporter(World world, Settings settings, DirectorySet& directories,
                               ReplicaStore& store, Hooks hooks)
    : world_(world),
      settings_(std::move(settings)),
      directories_(directories),
      store_(store),
      hooks_(std::move(hooks)),
      master_(world, settings_.master, "master " + settings_.master, client_options()),
      heartbeat_interval_(kHeartbeatInterval),
      watch_timer_(world.scheduler),
      register_timer_(world.scheduler),
      heartbeat_timer_(world.scheduler),
      inventory_timer_(world.scheduler),
      report_timer_(world.scheduler) {}

void MasterReporter::start() {
  DFS_ASSERT(state_ == State::kStopped);
  register_again();
  watch_master();
}

void MasterReporter::stop() {
  state_ = State::kStopped;
  watch_timer_.stop();
  forget_calls();
}

void MasterReporter::forget_calls() {
  ++registration_;
  register_timer_.stop();
  heartbeat_timer_.stop();
  inventory_timer_.stop();
  report_timer_.stop();
}

void MasterReporter::report_damaged(ChunkId chunk) {
  damaged_.insert(chunk);
  send_report();
}

void MasterReporter::report_lost(const std::vector<ChunkId>& chunks) {
  lost_.insert(chunks.begin(), chunks.end());
  send_report();
}

void MasterReporter::heartbeat_soon() {
  if (state_ == State::kRegistered && !is_heartbeat_sent_) {
    heartbeat_timer_.start(Duration::zero(), [this] { send_heartbeat(); });
  }
}

void MasterReporter::space_changed() {
  if (!std::exchange(is_space_changed_, true) && state_ == State::kRegistered &&
      !is_heartbeat_sent_) {
    plan_heartbeat();
  }
}

void MasterReporter::plan_heartbeat() {
  const Duration delay = is_space_changed_
                             ? std::min<Duration>(kSpaceReportDelay, heartbeat_interval_)
                             : heartbeat_interval_;
  heartbeat_timer_.start(delay, [this] { send_heartbeat(); });
}

void MasterReporter::watch_master() {
  master_.call(PingRequest{}, with_timeout(kPingTimeout),
               std::function<void(Result<RpcReply<PingReply>>)>(
                   alive_.guard([this](const auto& reply) { on_ping_reply(reply); })));
}

void MasterReporter::on_ping_reply(const Result<RpcReply<PingReply>>& reply) {
  if (state_ == State::kStopped) {
    return;
  }
  watch_timer_.start(kPingInterval, [this] { watch_master(); });
  const bool was_silent = std::exchange(is_master_silent_, !reply.has_value());
  if (!reply) {
    return;
  }
  const std::uint64_t known = std::exchange(master_incarnation_, reply->body.incarnation);
  if (known != 0 && known != master_incarnation_) {
    world_.log.info("The master was started anew, registering again.");
    register_again();
  } else if (was_silent && register_timer_.is_armed()) {
    register_timer_.stop();
    register_now();
  } else if (was_silent) {
    heartbeat_soon();
  }
}

void MasterReporter::register_now() {
  RegisterNodeRequest request;
  request.uuid = directories_.identity().node_uuid;
  request.cluster_id = directories_.identity().cluster_id;
  request.address = settings_.address;
  request.zone = settings_.zone;
  request.incarnation = settings_.incarnation;
  request.directories = directories_.infos();
  master_.call(request, with_timeout(kCallTimeout),
               std::function<void(Result<RpcReply<RegisterNodeReply>>)>(
                   in_this_registration([this](const auto& reply) { on_register_reply(reply); })));
}

void MasterReporter::on_register_reply(const Result<RpcReply<RegisterNodeReply>>& reply) {
  if (reply.code() == ErrorCode::kWrongCluster) {
    hooks_.on_fatal(make_error(ErrorCode::kWrongCluster, "the data directories belong to cluster " +
                                                             directories_.identity().cluster_id +
                                                             ", the master at " + settings_.master +
                                                             " to another one"));
    return;
  }
  if (!reply) {
    complain("Cannot register with the master, trying again.", reply.error());
    register_timer_.start(kRetryDelay, [this] { register_now(); });
    return;
  }
  auto accepted = accept_registration(reply->body);
  if (!accepted) {
    hooks_.on_fatal(accepted.error());
    return;
  }
  const RegisterNodeReply& body = reply->body;
  node_ = body.node;
  heartbeat_interval_ = std::clamp<Duration>(std::chrono::milliseconds(body.heartbeat_ms),
                                             kHeartbeatMin, kHeartbeatMax);
  state_ = State::kRegistered;
  master_incarnation_ = 0;  // it may be another than at the last ping, and knows this server now
  has_complained_ = false;
  world_.log.info("Registered with the master. node=" + std::to_string(node_.value) +
                  " cluster=" + body.cluster_id + " address=" + settings_.address);
  hooks_.on_registered(node_);
  start_inventory();
  send_report();
  plan_heartbeat();
}

Status MasterReporter::accept_registration(const RegisterNodeReply& reply) {
  const std::string& known = directories_.identity().cluster_id;
  if (!reply.node.is_set() || !is_identity_text(reply.cluster_id)) {
    return make_error(ErrorCode::kBadMessage, "the master at " + settings_.master +
                                                  " answered with no usable node or cluster id");
  }
  if (known.empty()) {
    auto adopted = directories_.adopt_cluster(reply.cluster_id);
    if (!adopted) {
      return make_error(adopted.code(),
                        "the cluster's id cannot be stored: " + adopted.error().detail);
    }
    return ok();
  }
  if (known != reply.cluster_id) {
    return make_error(ErrorCode::kWrongCluster, "the data directories belong to cluster " + known +
                                                    ", the master at " + settings_.master +
                                                    " to cluster " + reply.cluster_id);
  }
  return ok();
}

void MasterReporter::register_again() {
  forget_calls();
  state_ = State::kRegistering;
  is_heartbeat_sent_ = false;
  is_inventory_running_ = false;
  is_report_sent_ = false;
  register_now();
}

void MasterReporter::send_heartbeat() {
  DFS_ASSERT(state_ == State::kRegistered && !is_heartbeat_sent_);
  HeartbeatRequest request;
  request.node = node_;
  request.incarnation = settings_.incarnation;
  request.directories = directories_.infos();
  request.requests_in_progress = hooks_.load();
  is_space_changed_ = false;
  is_heartbeat_sent_ = true;
  master_.call(request, with_timeout(kCallTimeout),
               std::function<void(Result<RpcReply<HeartbeatReply>>)>(
                   in_this_registration([this](const auto& reply) { on_heartbeat_reply(reply); })));
}

void MasterReporter::on_heartbeat_reply(const Result<RpcReply<HeartbeatReply>>& reply) {
  is_heartbeat_sent_ = false;
  if (reply.code() == ErrorCode::kStale) {
    world_.log.info("The master does not know this server any more, registering again.");
    register_again();
    return;
  }
  if (!reply) {
    complain("A heartbeat was not answered.", reply.error());
    heartbeat_timer_.start(std::min<Duration>(kRetryDelay, heartbeat_interval_),
                           [this] { send_heartbeat(); });
    return;
  }
  has_complained_ = false;
  if (reply->body.inventory_wanted) {
    start_inventory();
  }
  plan_heartbeat();
}

void MasterReporter::start_inventory() {
  if (is_inventory_running_) {
    is_inventory_wanted_again_ = true;
    return;
  }
  is_inventory_running_ = true;
  is_inventory_wanted_again_ = false;
  inventory_at_ = ChunkId{};
  send_inventory_page();
}

void MasterReporter::send_inventory_page() {
  ReportInventoryRequest request;
  request.node = node_;
  request.incarnation = settings_.incarnation;
  request.first = inventory_at_;
  request.replicas = store_.page(inventory_at_, kPageReplicasMax);
  const bool is_last = request.replicas.size() < kPageReplicasMax;
  request.last = is_last ? kLastChunk : request.replicas.back().chunk;
  master_.call(request, with_timeout(kInventoryTimeout),
               std::function<void(Result<RpcReply<ReportInventoryReply>>)>(in_this_registration(
                   [this, request](const auto& reply) { on_inventory_reply(request, reply); })));
}

void MasterReporter::on_inventory_reply(const ReportInventoryRequest& page,
                                        const Result<RpcReply<ReportInventoryReply>>& reply) {
  if (!reply) {
    if (reply.code() == ErrorCode::kStale) {
      register_again();
      return;
    }
    complain("An inventory report was not answered, trying again.", reply.error());
    inventory_timer_.start(kRetryDelay, [this] { send_inventory_page(); });
    return;
  }
  // Only what was in the page: the master cannot know better about anything else.
  std::vector<ChunkId> unknown = reply->body.unknown;
  std::sort(unknown.begin(), unknown.end());
  std::vector<ChunkId> deleted;
  for (const ReplicaInfo& replica : page.replicas) {
    if (std::binary_search(unknown.begin(), unknown.end(), replica.chunk)) {
      deleted.push_back(replica.chunk);
    }
  }
  if (!deleted.empty()) {
    hooks_.delete_unknown(std::move(deleted));
  }
  if (page.last == kLastChunk) {
    is_inventory_running_ = false;
    if (is_inventory_wanted_again_) {
      start_inventory();
    }
    return;
  }
  inventory_at_ = page.last;
  send_inventory_page();
}

void MasterReporter::send_report() {
  if (state_ != State::kRegistered || is_report_sent_ || (damaged_.empty() && lost_.empty())) {
    return;
  }
  ReportReplicasRequest request;
  request.node = node_;
  std::erase_if(lost_, [this](ChunkId chunk) { return store_.find(chunk) != nullptr; });
  for (const ChunkId chunk : lost_) {
    if (request.lost.size() < kPageReplicasMax) {
      request.lost.push_back(chunk);
    }
  }
  std::erase_if(damaged_, [this](ChunkId chunk) { return store_.find(chunk) == nullptr; });
  for (const ChunkId chunk : damaged_) {
    if (request.damaged.size() < kPageReplicasMax) {
      request.damaged.push_back(store_.find(chunk)->info());
    }
  }
  if (request.damaged.empty() && request.lost.empty()) {
    return;
  }
  is_report_sent_ = true;
  master_.call(request, with_timeout(kCallTimeout),
               std::function<void(Result<RpcReply<EmptyReply>>)>(in_this_registration(
                   [this, request](const auto& reply) { on_report_reply(request, reply); })));
}

void MasterReporter::on_report_reply(const ReportReplicasRequest& sent,
                                     const Result<RpcReply<EmptyReply>>& reply) {
  is_report_sent_ = false;
  if (!reply) {
    if (reply.code() == ErrorCode::kStale) {
      register_again();
      return;
    }
    complain("A report of damaged or lost replicas was not answered, trying again.", reply.error());
    report_timer_.start(kRetryDelay, [this] { send_report(); });
    return;
  }
  for (const ReplicaInfo& replica : sent.damaged) {
    damaged_.erase(replica.chunk);
  }
  for (const ChunkId chunk : sent.lost) {
    lost_.erase(chunk);
  }
  send_report();
}

// One line each time the master goes away, not one for each call.
void MasterReporter::complain(const std::string& what, const Error& error) {
  if (!has_complained_) {
    has_complained_ = true;
    world_.log.warning(what + " master=" + settings_.master +
                       " reason=" + error_code_name(error.code) + ": " + error.detail);
  }
}

}  // namespace dfs::chunkserver
