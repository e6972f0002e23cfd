// Calls over a network and a server that fail in every way at random: what each policy promises
// must hold, and the same seed must give the same trace.
#include <map>

#include "tests/unit/proto/rpc_rig.h"

namespace dfs::test {
namespace {

class RpcChaos {
 public:
  RpcChaos(std::uint64_t seed, RpcClient::WhenDown when_down)
      : random_(seed), network_(events_, seed), when_down_(when_down) {
    sim::SimNetworkFaults faults;
    faults.loss_per_million = static_cast<std::uint32_t>(random_.below(50'000));
    faults.duplicate_per_million = static_cast<std::uint32_t>(random_.below(50'000));
    faults.reorder_per_million = static_cast<std::uint32_t>(random_.below(50'000));
    network_.set_faults(faults);
    RpcClient::Options options;
    options.when_down = when_down;
    options.calls_in_flight_max = 1 + random_.below(8);
    options.calls_queued_max = 16;
    rpc_client_ = std::make_unique<RpcClient>(client_.world(), kServerAddress, "server", options);
  }
  ~RpcChaos() { rpc_server_.reset(); }

  void run() {
    for (int step = 0; step < 400; ++step) {
      one_step();
      events_.run_for(milliseconds(random_.below(400)));
    }
    // Everything is well again: what is pending must come to its end.
    network_.heal_all();
    if (rpc_server_ == nullptr) {
      start_server();
    }
    server_.scheduler.resume();
    client_.scheduler.resume();
    answer_late();
    is_prompt_ = true;
    EXPECT_TRUE(events_.run_until([this] { return rpc_client_->calls_pending() == 0; },
                                  std::chrono::minutes(5)));
    events_.run_for(seconds(60));
    for (const auto& [number, outcome] : outcomes_) {
      check(number, outcome);
    }
  }

  std::uint64_t trace_hash() const { return events_.trace_hash(); }

 private:
  struct Outcome {
    bool is_cancelled = false;
    bool has_timeout = false;
    int callbacks = 0;
    ErrorCode code = ErrorCode::kOk;
    CallId id;
  };

  void check(int number, const Outcome& outcome) const {
    EXPECT_EQ(outcome.callbacks, outcome.is_cancelled ? 0 : 1) << number;
    const bool may_be_unavailable = when_down_ == RpcClient::WhenDown::kFailCalls;
    EXPECT_TRUE(outcome.code == ErrorCode::kOk || outcome.code == ErrorCode::kBusy ||
                (outcome.code == ErrorCode::kTimedOut && outcome.has_timeout) ||
                (outcome.code == ErrorCode::kUnavailable && may_be_unavailable))
        << number << " " << error_code_name(outcome.code);
  }

  void one_step() {
    switch (random_.below(16)) {
      case 0: network_.partition("client", "server"); break;
      case 1: network_.heal_all(); break;
      case 2: server_.scheduler.pause(); break;
      case 3: server_.scheduler.resume(); break;
      case 4: client_.scheduler.pause(); break;
      case 5: client_.scheduler.resume(); break;
      case 6: rpc_server_.reset(); break;
      case 7:
      case 8: start_server(); break;
      case 9: cancel_one(); break;
      case 10: is_prompt_ = !is_prompt_; break;
      case 11: answer_late(); break;
      default: make_call(); break;
    }
  }

  void start_server() {
    if (rpc_server_ != nullptr) {
      return;
    }
    late_.clear();
    auto created = RpcServer::create(server_.world(), kServerAddress, random_.next_u64(),
                                     [this](const RpcRequest& request) { serve(request); });
    ASSERT_TRUE(created.has_value());
    rpc_server_ = std::move(*created);
  }

  void serve(const RpcRequest& request) {
    if (is_prompt_) {
      answer(request);
    } else if (late_.size() < 100) {
      late_.push_back(request);
    }
  }
  void answer(const RpcRequest& request) {
    const auto body = decode_body<ReadLinkRequest>(request.body);
    ASSERT_TRUE(body.has_value());
    rpc_server_->reply(request.reply_address(), ReadLinkReply{std::to_string(body->inode.value)});
  }
  void answer_late() {
    for (const RpcRequest& request : late_) {
      if (rpc_server_ != nullptr) {
        answer(request);
      }
    }
    late_.clear();
  }

  void make_call() {
    const int number = static_cast<int>(outcomes_.size());
    Outcome& outcome = outcomes_[number];
    CallOptions options;
    outcome.has_timeout = random_.below(3) == 0;
    if (outcome.has_timeout) {
      options.timeout = milliseconds(1 + random_.below(5000));
    }
    outcome.id = rpc_client_->call(ReadLinkRequest{InodeId{static_cast<std::uint64_t>(number) + 1}},
                                   options, [this, number](Result<RpcReply<ReadLinkReply>> result) {
                                     finish(number, std::move(result));
                                   });
  }
  void finish(int number, Result<RpcReply<ReadLinkReply>> result) {
    Outcome& outcome = outcomes_[number];
    ++outcome.callbacks;
    outcome.code = result.code();
    if (result) {
      EXPECT_EQ(result->body.target, std::to_string(number + 1)) << "the answer of another call";
    }
  }
  void cancel_one() {
    if (outcomes_.empty()) {
      return;
    }
    Outcome& outcome = outcomes_[static_cast<int>(random_.below(outcomes_.size()))];
    outcome.is_cancelled = outcome.is_cancelled || outcome.callbacks == 0;
    rpc_client_->cancel(outcome.id);
  }

  sim::SimRandom random_;
  sim::SimEvents events_;
  sim::SimNetwork network_;
  RpcClient::WhenDown when_down_;
  Host client_{events_, network_, "client", 21};
  Host server_{events_, network_, "server", 22};
  std::unique_ptr<RpcServer> rpc_server_;
  std::unique_ptr<RpcClient> rpc_client_;
  bool is_prompt_ = true;
  std::vector<RpcRequest> late_;
  std::map<int, Outcome> outcomes_;
};

class RpcChaosTest : public testing::TestWithParam<std::uint64_t> {};

TEST_P(RpcChaosTest, each_call_ends_once_and_with_its_own_answer) {
  for (const auto when_down : {RpcClient::WhenDown::kFailCalls, RpcClient::WhenDown::kKeepCalls}) {
    std::uint64_t hashes[2] = {};
    for (std::uint64_t& hash : hashes) {
      RpcChaos chaos(GetParam(), when_down);
      chaos.run();
      hash = chaos.trace_hash();
    }
    EXPECT_EQ(hashes[0], hashes[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RpcChaosTest, testing::Range<std::uint64_t>(1, 31));

}  // namespace
}  // namespace dfs::test
