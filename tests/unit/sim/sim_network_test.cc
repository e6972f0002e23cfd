#include "tests/sim/sim_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace dfs::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Message message(const std::string& text) { return {Buffer::copy_of(text), {}}; }

class SimNetworkTest : public ::testing::Test {
 protected:
  struct Process {
    explicit Process(SimNetworkTest& test, const std::string& host)
        : scheduler(test.events_), transport(test.network_.transport(scheduler, host)) {}
    SimScheduler scheduler;
    std::unique_ptr<Transport> transport;
  };

  std::unique_ptr<Listener> listen(Process& process, const Address& address) {
    auto listener = process.transport->listen(address, [this](PeerId peer, Message got) {
      received_.emplace_back(got.head.text());
      peers_.push_back(peer);
    });
    EXPECT_TRUE(listener.has_value());
    return std::move(*listener);
  }

  std::unique_ptr<Connection> connect(Process& process, const Address& address) {
    auto connection = process.transport->connect(
        address, [this](Message got) { answers_.emplace_back(got.head.text()); });
    EXPECT_TRUE(connection.has_value());
    return std::move(*connection);
  }

  SimEvents events_;
  SimNetwork network_{events_, 1};
  Process server_{*this, "server"};
  Process client_{*this, "client"};
  std::vector<std::string> received_;
  std::vector<PeerId> peers_;
  std::vector<std::string> answers_;
};

TEST_F(SimNetworkTest, messages_arrive_in_order_and_are_answered) {
  const auto listener = listen(server_, "0.0.0.0:0");
  EXPECT_TRUE(listener->address().starts_with("server:"));
  const auto connection = connect(client_, listener->address());
  std::vector<std::string> sent;
  for (int i = 0; i < 100; ++i) {
    sent.push_back(std::to_string(i));
    ASSERT_TRUE(connection->send(message(sent.back())));
  }
  events_.run_for(seconds(1));
  EXPECT_EQ(received_, sent);
  ASSERT_TRUE(listener->send(peers_[0], message("yes")));
  events_.run_for(seconds(1));
  EXPECT_EQ(answers_, std::vector<std::string>{"yes"});
}

TEST_F(SimNetworkTest, bytes_are_copied_on_send) {
  const auto listener = listen(server_, "server:1");
  const auto connection = connect(client_, "server:1");
  auto bytes = std::make_shared<std::string>("before");
  ASSERT_TRUE(connection->send(
      {Buffer(bytes, reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()), {}}));
  *bytes = "change";
  events_.run_for(seconds(1));
  EXPECT_EQ(received_, std::vector<std::string>{"before"});
}

TEST_F(SimNetworkTest, addresses_are_checked) {
  const auto listener = listen(server_, "server:1");
  const auto refuse = [&](const Address& address) {
    return server_.transport->listen(address, [](PeerId, Message) {}).code();
  };
  EXPECT_EQ(refuse("server:1"), ErrorCode::kBusy);
  EXPECT_EQ(refuse("other:1"), ErrorCode::kUnavailable);
  EXPECT_EQ(refuse("server"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(client_.transport->connect("server:x", [](Message) {}).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(SimNetworkTest, a_message_to_nobody_is_lost_and_a_restarted_server_sees_a_new_peer) {
  const auto connection = connect(client_, "server:1");
  ASSERT_TRUE(connection->send(message("lost")));
  events_.run_for(seconds(1));
  auto listener = listen(server_, "server:1");
  ASSERT_TRUE(connection->send(message("first")));
  events_.run_for(seconds(1));
  listener.reset();
  listener = listen(server_, "server:1");
  ASSERT_TRUE(connection->send(message("second")));
  events_.run_for(seconds(1));
  EXPECT_EQ(received_, (std::vector<std::string>{"first", "second"}));
  ASSERT_TRUE(listener->send(peers_[1], message("yes")));
  events_.run_for(seconds(1));
  EXPECT_EQ(answers_, std::vector<std::string>{"yes"});
}

TEST_F(SimNetworkTest, each_connection_is_a_peer_of_its_own_and_a_closed_one_is_known_to_be_gone) {
  const auto listener = listen(server_, "server:1");
  auto first = connect(client_, "server:1");
  const auto second = connect(client_, "server:1");
  ASSERT_TRUE(first->send(message("a")));
  events_.run_for(seconds(1));
  ASSERT_TRUE(second->send(message("b")));
  events_.run_for(seconds(1));
  ASSERT_EQ(peers_.size(), 2u);
  EXPECT_NE(peers_[0], peers_[1]);
  first.reset();
  EXPECT_EQ(listener->send(PeerId{peers_[0]}, message("x")).code(), ErrorCode::kUnavailable);
  EXPECT_EQ(listener->send(PeerId{99}, message("x")).code(), ErrorCode::kUnavailable);
}

TEST_F(SimNetworkTest, a_dropped_host_goes_silently_and_its_messages_in_flight_arrive) {
  const auto listener = listen(server_, "server:1");
  auto connection = connect(client_, "server:1");
  ASSERT_TRUE(connection->send(message("a")));
  events_.run_for(seconds(1));
  ASSERT_TRUE(connection->send(message("b")));
  client_.scheduler.kill();
  network_.drop_host("client");
  EXPECT_EQ(connection->send(message("c")).code(), ErrorCode::kUnavailable);
  connection.reset();
  events_.run_for(seconds(1));
  EXPECT_EQ(received_, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(listener->send(peers_[0], message("nobody hears this")));
  events_.run_for(seconds(1));
  EXPECT_TRUE(answers_.empty());
}

TEST_F(SimNetworkTest, a_partition_cuts_until_healed) {
  const auto listener = listen(server_, "server:1");
  const auto connection = connect(client_, "server:1");
  network_.partition("client", "server");
  ASSERT_TRUE(connection->send(message("a")));
  events_.run_for(seconds(1));
  network_.heal("server", "client");
  ASSERT_TRUE(connection->send(message("b")));
  events_.run_for(seconds(1));
  EXPECT_EQ(received_, std::vector<std::string>{"b"});
}

TEST_F(SimNetworkTest, messages_are_lost_doubled_and_reordered_as_told) {
  const auto listener = listen(server_, "server:1");
  const auto connection = connect(client_, "server:1");
  const auto send_hundred = [&] {
    received_.clear();
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(connection->send(message(std::to_string(1000 + i))));
    }
    events_.run_for(seconds(1));
  };
  network_.set_faults({.loss_per_million = 500'000});
  send_hundred();
  EXPECT_LT(received_.size(), 80u);
  EXPECT_TRUE(std::is_sorted(received_.begin(), received_.end()));
  network_.set_faults({.duplicate_per_million = 500'000});
  send_hundred();
  EXPECT_GT(received_.size(), 120u);
  network_.set_faults({.reorder_per_million = 500'000});
  send_hundred();
  EXPECT_EQ(received_.size(), 100u);
  EXPECT_FALSE(std::is_sorted(received_.begin(), received_.end()));
}

TEST_F(SimNetworkTest, queues_are_bounded) {
  const auto listener = listen(server_, "server:1");
  const auto connection = connect(client_, "server:1");
  network_.set_faults({.in_flight_max = 2});
  EXPECT_TRUE(connection->send(message("a")));
  EXPECT_TRUE(connection->send(message("b")));
  EXPECT_EQ(connection->send(message("c")).code(), ErrorCode::kBusy);
  events_.run_for(seconds(1));
  EXPECT_TRUE(connection->send(message("d")));
}

TEST_F(SimNetworkTest, the_same_seed_gives_the_same_trace) {
  const auto run = [](std::uint64_t seed) {
    SimEvents events;
    SimNetwork network(events, seed);
    network.set_faults({.loss_per_million = 100'000, .duplicate_per_million = 100'000});
    SimScheduler scheduler(events);
    const auto transport = network.transport(scheduler, "a");
    const auto listener = transport->listen("a:1", [](PeerId, Message) {});
    const auto connection = transport->connect("a:1", [](Message) {});
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE((*connection)->send(message("x")));
      events.run_for(milliseconds(1));
    }
    return events.trace_hash();
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

}  // namespace
}  // namespace dfs::sim
