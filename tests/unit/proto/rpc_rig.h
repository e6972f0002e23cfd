// A client host and a server host on a simulated network, for the RPC tests.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/all_messages.h"
#include "proto/rpc_client.h"
#include "proto/rpc_server.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Host {
  Host(sim::SimEvents& events, sim::SimNetwork& network, const std::string& name,
       std::uint64_t seed)
      : scheduler(events),
        random(seed),
        log(name, &events),
        transport(network.transport(scheduler, name)) {}

  World world() { return {scheduler, random, log, *transport}; }

  sim::SimScheduler scheduler;
  sim::SimRandom random;
  sim::SimLog log;
  std::unique_ptr<Transport> transport;
};

inline constexpr const char* kServerAddress = "server:1";

class RpcRig : public testing::Test {
 protected:
  using Lookup = Result<RpcReply<EntryReply>>;

  void start_server(std::uint64_t incarnation = 1) {
    auto created =
        RpcServer::create(server.world(), kServerAddress, incarnation,
                          [this](RpcRequest request) { arrived.push_back(std::move(request)); });
    ASSERT_TRUE(created.has_value());
    rpc_server = std::move(*created);
  }
  void start_client(RpcClient::Options options = {}) {
    rpc_client = std::make_unique<RpcClient>(client.world(), kServerAddress, "server", options);
  }
  static RpcClient::Options keeping() {
    RpcClient::Options options;
    options.when_down = RpcClient::WhenDown::kKeepCalls;
    return options;
  }

  // Calls Lookup(name); the outcome is kept in `results` under the name.
  CallId call(const std::string& name, Duration timeout = Duration::zero()) {
    CallOptions options;
    options.timeout = timeout;
    return rpc_client->call(LookupRequest{.parent = kRootInode, .name = name}, options,
                            [this, name](Lookup result) {
                              EXPECT_FALSE(is_calling) << "a callback ran inside call()";
                              results.emplace_back(name, result.code());
                            });
  }
  static std::string name_of(const RpcRequest& request) {
    const auto body = decode_body<LookupRequest>(request.body);
    return body ? body->name : "?";
  }
  // Names of the requests that arrived, in order.
  std::vector<std::string> arrived_names() const {
    std::vector<std::string> names;
    for (const RpcRequest& request : arrived) {
      names.push_back(name_of(request));
    }
    return names;
  }
  void answer(const RpcRequest& request) {
    rpc_server->reply(request.reply_address(), EntryReply{});
  }
  void answer_all() {
    while (!arrived.empty()) {
      answer(arrived.front());
      arrived.pop_front();
    }
  }
  ErrorCode result_of(const std::string& name) const {
    for (const auto& [called, code] : results) {
      if (called == name) {
        return code;
      }
    }
    return ErrorCode::kInternal;  // no result yet
  }
  void cut() { network.partition("client", "server"); }
  void heal() { network.heal("client", "server"); }

  sim::SimEvents events;
  sim::SimNetwork network{events, 1};
  Host client{events, network, "client", 11};
  Host server{events, network, "server", 12};
  std::unique_ptr<RpcServer> rpc_server;
  std::unique_ptr<RpcClient> rpc_client;
  std::deque<RpcRequest> arrived;
  std::vector<std::pair<std::string, ErrorCode>> results;
  bool is_calling = false;
};

}  // namespace dfs::test
