// A MasterLink and a master that answers what the test wants and keeps what it was asked.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fuse-client/core/master_link.h"
#include "proto/rpc_server.h"
#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {

class MasterLinkTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kFirstNotice = 500;

  MasterLinkTest() { start_master(1); }

  void start_master(std::uint64_t incarnation) {
    incarnation_ = incarnation;
    master_host_ = std::make_unique<FakeHost>(events_, network_, "master", 100 + incarnation);
    auto server = RpcServer::create(master_host_->world(), kFakeMaster, incarnation,
                                    [this](const RpcRequest& request) { answer(request); });
    ASSERT_TRUE(server.has_value());
    server_ = std::move(*server);
  }
  void kill_master() {
    network_.drop_host("master");
    master_host_->scheduler.kill();
    server_.reset();
    master_host_.reset();
  }

  void open_session(const RpcRequest& request) {
    opens_.push_back(*decode_body<OpenSessionRequest>(request.body));
    if (open_refusal_ != ErrorCode::kOk) {
      server_->fail(request.reply_address(), make_error(open_refusal_));
      return;
    }
    ++session_.value;
    server_->reply(request.reply_address(),
                   OpenSessionReply{session_, "cluster", incarnation_, 5000, 60000, losses_,
                                    session_was_there_});
  }

  void answer(const RpcRequest& request) {
    ReplyAddress to = request.reply_address();
    if (request.envelope.type == MessageType::kOpenSession) {
      open_session(request);
      return;
    }
    if (request.envelope.type == MessageType::kReclaimLeases) {
      reclaims_.push_back(*decode_body<ReclaimLeasesRequest>(request.body));
      if (reclaim_refusals_ > 0) {
        --reclaim_refusals_;
        server_->fail(to, make_error(ErrorCode::kInvalidArgument));
        return;
      }
      server_->reply(to, ReclaimLeasesReply{.lease = kFirstNotice});
      return;
    }
    if (request.envelope.type == MessageType::kWaitForNotices) {
      polls_.emplace_back(to, *decode_body<WaitForNoticesRequest>(request.body));
      return;
    }
    if (request.envelope.type == MessageType::kWithdraw) {
      withdrawals_.push_back(*decode_body<WithdrawRequest>(request.body));
      if (loses_withdrawals_) {
        return;
      }
      server_->reply(to, WithdrawReply{.was_waiting = is_waiting_});
      return;
    }
    seen_.push_back(request);
    if (request.envelope.session != session_) {
      server_->fail(to, make_error(ErrorCode::kSessionExpired));
      return;
    }
    const bool in_grace = request.envelope.type == MessageType::kKeepAlive ||
                          request.envelope.type == MessageType::kReplayChanges;
    if (is_silent_ || (wants_replay_ && !in_grace)) {
      return;
    }
    if (gives_stamps_ && request.envelope.sequence != 0) {
      to.stamp = {.index = ++last_index_, .time = {}, .inode = {}};
    }
    to.durable_index = durable_index_;
    switch (request.envelope.type) {
      case MessageType::kKeepAlive:
        if (!is_silent_to_keep_alives_) {
          keep_alives_.push_back(*decode_body<KeepAliveRequest>(request.body));
          server_->reply(to, KeepAliveReply{incarnation_, wants_replay_});
        }
        break;
      case MessageType::kReplayChanges:
        replays_.push_back(*decode_body<ReplayChangesRequest>(request.body));
        replay_addresses_.push_back(to);
        break;
      case MessageType::kSyncMetadata:
        if (!is_silent_to_syncs_) {
          to.durable_index = durable_index_ = last_index_;
          server_->reply(to, EmptyReply{});
        }
        break;
      case MessageType::kSetXattr: server_->reply(to, EmptyReply{}); break;
      case MessageType::kUnlink: server_->reply(to, UnlinkReply{}); break;
      case MessageType::kSetAttributes: server_->reply(to, AttributesReply{}); break;
      case MessageType::kGetAttributes: server_->reply(to, AttributesReply{}); break;
      case MessageType::kCloseSession: server_->reply(to, CloseSessionReply{}); break;
      default:
        if (!on_other_ || !on_other_(request)) {
          server_->fail(to, make_error(ErrorCode::kNotSupported));
        }
    }
  }

  void start() {
    std::optional<Status> started;
    link_.start(std::chrono::seconds(10), [&](Status status) { started = std::move(status); });
    ASSERT_TRUE(run_until([&] { return started.has_value(); }));
    ASSERT_TRUE(started->has_value());
  }
  bool run_until(const std::function<bool()>& predicate) {
    return events_.run_until(predicate, std::chrono::minutes(2));
  }
  template <class Request>
  CallId call(const Request& request) {
    return link_.call(
        request, [this](Result<typename Request::Reply> reply) { codes_.push_back(reply.code()); });
  }
  bool answered(std::size_t count) {
    return run_until([this, count] { return codes_.size() == count; });
  }
  std::size_t seen(MessageType type) const {
    return static_cast<std::size_t>(
        std::count_if(seen_.begin(), seen_.end(),
                      [type](const RpcRequest& each) { return each.envelope.type == type; }));
  }
  void next_session() { session_.value += 100; }

  sim::SimEvents events_;
  sim::SimNetwork network_{events_, 1};
  std::unique_ptr<FakeHost> master_host_;
  std::unique_ptr<RpcServer> server_;
  std::uint64_t incarnation_ = 1;
  SessionId session_;
  bool session_was_there_ = false;
  ErrorCode open_refusal_ = ErrorCode::kOk;
  std::vector<OpenSessionRequest> opens_;
  std::uint32_t reclaim_refusals_ = 0;
  bool is_silent_ = false;
  bool is_waiting_ = true;  // a change that is withdrawn
  bool loses_withdrawals_ = false;
  bool is_silent_to_keep_alives_ = false;
  bool is_silent_to_syncs_ = false;
  bool gives_stamps_ = false;  // to changes, with rising indices
  bool wants_replay_ = false;  // and answers nothing else
  std::uint64_t last_index_ = 0;
  std::uint64_t durable_index_ = 0;
  std::uint64_t losses_ = 0;
  std::function<bool(const RpcRequest&)> on_other_;  // true: answered, or to be
  std::vector<ReplayChangesRequest> replays_;
  std::vector<ReplyAddress> replay_addresses_;
  std::vector<RpcRequest> seen_;
  std::vector<ReclaimLeasesRequest> reclaims_;
  std::vector<std::pair<ReplyAddress, WaitForNoticesRequest>> polls_;  // newest last
  std::vector<WithdrawRequest> withdrawals_;
  std::vector<KeepAliveRequest> keep_alives_;
  std::vector<ErrorCode> codes_;
  FakeHost host_{events_, network_, "client", 7};
  MasterLink link_{host_.world(), kFakeMaster, "test"};
};

}  // namespace dfs::client
