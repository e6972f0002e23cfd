// What `status` says of each state a cluster can be in, from a master that answers what it is told.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "admin/commands.h"
#include "proto/admin_messages.h"
#include "proto/rpc_server.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"

namespace dfs::admin {
namespace {

class AdminStatus : public testing::Test {
 protected:
  AdminStatus() {
    answer.cluster_id = "cluster";
    answer.version = "1";
    answer.nodes_up = 3;
    answer.chunks = 10;
    answer.root_policy = {.replicas = 3, .min_replicas = 2};
    auto created = RpcServer::create({scheduler, random, log, *transport}, "master:1", 1,
                                     [this](const RpcRequest& request) {
                                       if (request.envelope.type == MessageType::kListNodes) {
                                         master->reply(request.reply_address(), nodes);
                                       } else {
                                         master->reply(request.reply_address(), answer);
                                       }
                                     });
    EXPECT_TRUE(created);
    master = std::move(*created);
  }

  void expect(const std::string& verdict, const std::string& line, int exit_code) {
    const auto json = status(calls, true);
    ASSERT_TRUE(json);
    EXPECT_EQ(nlohmann::json::parse(json->text)["verdict"], verdict);
    EXPECT_EQ(json->exit_code, exit_code);
    const auto text = status(calls, false);
    ASSERT_TRUE(text);
    EXPECT_TRUE(text->text.starts_with(line)) << text->text;
    EXPECT_EQ(text->exit_code, exit_code);
  }

  sim::SimEvents events;
  sim::SimNetwork network{events, 1};
  sim::SimScheduler scheduler{events};
  sim::SimScheduler admin_scheduler{events};
  sim::SimRandom random{2};
  sim::SimLog log;
  std::unique_ptr<Transport> transport = network.transport(scheduler, "master");
  std::unique_ptr<Transport> admin_transport = network.transport(admin_scheduler, "admin");
  ClusterStatusReply answer;
  ListNodesReply nodes;
  std::unique_ptr<RpcServer> master;
  ClusterCalls calls{World{admin_scheduler, random, log, *admin_transport}, "master:1",
                     [this](const std::function<bool()>& done, Duration limit) {
                       return events.run_until(done, limit);
                     }};
};

TEST_F(AdminStatus, healthy) { expect("healthy", "HEALTHY: ", kExitOk); }

TEST_F(AdminStatus, too_few_servers_for_the_policy) {
  answer.nodes_up = 2;
  expect("too_few_servers", "TOO FEW SERVERS: the policy of / wants 3 replicas, 2 servers",
         kExitProblems);
}

TEST_F(AdminStatus, server_down_with_every_chunk_whole) {
  answer.nodes_down = 1;
  nodes.nodes.resize(2);
  nodes.nodes[0].address = "a:1";
  nodes.nodes[1].address = "b:1";
  nodes.nodes[1].state = static_cast<std::uint8_t>(NodeState::kDown);
  expect("server_down", "SERVER DOWN: every chunk has its replicas; 1 server down: b:1\n",
         kExitProblems);
  EXPECT_EQ(nlohmann::json::parse(status(calls, true)->text)["servers_down"],
            nlohmann::json::array({"b:1"}));
}

TEST_F(AdminStatus, full_servers_hold_no_replica_and_are_named) {
  answer.nodes_full = {"a:1"};
  expect("too_few_servers",
         "TOO FEW SERVERS: the policy of / wants 3 replicas, 2 servers can hold one each; "
         "full: a:1\n",
         kExitProblems);
  EXPECT_EQ(nlohmann::json::parse(status(calls, true)->text)["nodes_full"],
            nlohmann::json::array({"a:1"}));
  answer.chunks_degraded = 4;
  expect("degraded", "DEGRADED: 4 chunks below their number of replicas; full: a:1\n",
         kExitProblems);
  answer.chunks_degraded = 0;
  answer.nodes_up = 10;
  answer.nodes_full = {"a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1"};
  expect("healthy",
         "HEALTHY: every chunk has its replicas; full: a:1, b:1, c:1, d:1, e:1 and 2 more\n",
         kExitOk);
}

TEST_F(AdminStatus, degraded) {
  answer.nodes_down = 2;
  answer.chunks_degraded = 1;
  expect("degraded", "DEGRADED: 1 chunk below their number of replicas; 2 servers down",
         kExitProblems);
}

TEST_F(AdminStatus, damaged_is_worse_than_degraded) {
  answer.chunks_degraded = 5;
  answer.chunks_damaged = 2;
  expect("damaged", "DAMAGED: 2 chunks with a bad replica", kExitProblems);
}

TEST_F(AdminStatus, no_servers) {
  answer.nodes_up = 0;
  answer.chunks = 0;
  expect("no_servers", "NO SERVERS: nothing can be written", kExitProblems);
}

TEST_F(AdminStatus, unavailable_is_worst) {
  answer.nodes_up = 0;
  answer.nodes_down = 3;
  answer.chunks_damaged = 1;
  answer.chunks_degraded = 10;
  answer.chunks_unavailable = 10;
  expect("unavailable", "UNAVAILABLE: 10 chunks without a good replica", kExitProblems);
}

TEST_F(AdminStatus, master_that_cannot_be_reached_is_named) {
  network.drop_host("master");
  master.reset();
  const auto output = status(calls, false);
  ASSERT_FALSE(output);
  EXPECT_NE(output.error().detail.find("master:1"), std::string::npos) << output.error().detail;
}

TEST_F(AdminStatus, something_else_at_the_masters_address_is_told_within_seconds) {
  master.reset();
  std::unique_ptr<Listener> other;
  auto listening = transport->listen("master:1", [&](PeerId peer, const Message&) {
    (void)other->send(peer, Message{Buffer::copy_of(std::string("HTTP/1.1 400")), {}});
  });
  ASSERT_TRUE(listening);
  other = std::move(*listening);
  const MonoTime begin = events.now();
  const auto output = status(calls, false);
  EXPECT_EQ(output.code(), ErrorCode::kUnavailable);
  EXPECT_LE(events.now() - begin, std::chrono::seconds(3));
  EXPECT_NE(output.error().detail.find("no server of this protocol"), std::string::npos)
      << output.error().detail;
}

TEST_F(AdminStatus, odd_bytes_from_a_master_stay_text) {
  answer.version = "\x1b[2J\xff";
  const auto text = status(calls, false);
  ASSERT_TRUE(text);
  EXPECT_NE(text->text.find("\\x1b[2J\\xff"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::accept(status(calls, true)->text));
}

}  // namespace
}  // namespace dfs::admin
