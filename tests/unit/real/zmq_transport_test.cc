#include "common/real/zmq_transport.h"

#include <gtest/gtest.h>
#include <netdb.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "common/real/zmq_socket.h"
#include "tests/unit/real/kept_log.h"

namespace dfs::real {
namespace {

using namespace std::chrono_literals;

Buffer bytes(const std::string& text) { return Buffer::copy_of(std::string_view(text)); }

Buffer pattern(std::size_t size) {
  std::vector<std::byte> block(size);
  for (std::size_t i = 0; i < size; ++i) {
    block[i] = static_cast<std::byte>(i * 31 >> 3);
  }
  return Buffer::adopt(std::move(block));
}

std::string port_of(const Address& address) { return address.substr(address.rfind(':') + 1); }

bool localhost_has_ipv6() {
  addrinfo hints{};
  hints.ai_family = AF_INET6;
  addrinfo* found = nullptr;
  if (::getaddrinfo("localhost", nullptr, &hints, &found) != 0) {
    return false;
  }
  ::freeaddrinfo(found);
  return true;
}

class ZmqTransportTest : public ::testing::Test {
 protected:
  ZmqTransportTest() : loop_(std::move(*EventLoop::create())) {}

  bool run_until(const std::function<bool()>& done) { return loop_->run_until(done, 20s); }

  // A listener that answers each message with itself.
  std::unique_ptr<Listener> echo(Transport& transport, const Address& address) {
    auto holder = std::make_shared<Listener*>(nullptr);
    auto listener = transport.listen(address, [holder](PeerId peer, Message message) {
      EXPECT_TRUE((*holder)->send(peer, std::move(message)));
    });
    EXPECT_TRUE(listener) << listener.error().detail;
    *holder = listener->get();
    return std::move(*listener);
  }

  std::unique_ptr<Connection> collect(Transport& transport, const Address& address) {
    auto connection = transport.connect(
        address, [this](Message message) { received_.push_back(std::move(message)); });
    EXPECT_TRUE(connection);
    return std::move(*connection);
  }

  void expect_round_trip(const Address& listen, const std::string& connect_host) {
    ZmqTransport transport(*loop_, log_);
    const auto listener = echo(transport, listen);
    const auto connection = collect(transport, connect_host + ":" + port_of(listener->address()));
    received_.clear();
    // A message may be lost while the way to a named host is found, so it is sent until answered.
    std::function<void()> ask = [&] {
      if (received_.empty()) {
        ASSERT_TRUE(connection->send({bytes("hello"), {}}));
        loop_->run_after(100ms, ask);
      }
    };
    ask();
    ASSERT_TRUE(run_until([this] { return !received_.empty(); })) << connect_host;
    EXPECT_EQ(received_[0].head.text(), "hello");
    EXPECT_TRUE(received_[0].bulk.empty());
    ask = [] {};
  }

  std::unique_ptr<EventLoop> loop_;
  KeptLog log_;
  std::vector<Message> received_;
};

TEST_F(ZmqTransportTest, request_is_answered_over_ipv4) {
  expect_round_trip("127.0.0.1:0", "127.0.0.1");
}
TEST_F(ZmqTransportTest, request_is_answered_over_ipv6) { expect_round_trip("[::1]:0", "[::1]"); }
TEST_F(ZmqTransportTest, listener_on_all_addresses_serves_ipv4) {
  expect_round_trip("*:0", "127.0.0.1");
}
TEST_F(ZmqTransportTest, listener_on_all_addresses_serves_ipv6) {
  expect_round_trip("[::]:0", "[::1]");
}
TEST_F(ZmqTransportTest, named_host_is_reached_over_ipv4) {
  expect_round_trip("127.0.0.1:0", "localhost");
}
TEST_F(ZmqTransportTest, named_host_that_listens_on_ipv6_only_is_reached) {
  if (!localhost_has_ipv6()) {
    GTEST_SKIP() << "localhost is not ::1 on this machine";
  }
  expect_round_trip("[::1]:0", "localhost");
}

TEST_F(ZmqTransportTest, port_zero_becomes_a_real_port) {
  ZmqTransport transport(*loop_, log_);
  const auto listener = echo(transport, "127.0.0.1:0");
  EXPECT_TRUE(listener->address().starts_with("127.0.0.1:"));
  EXPECT_NE(port_of(listener->address()), "0");
}

TEST_F(ZmqTransportTest, bulk_frames_keep_their_bytes) {
  ZmqTransport transport(*loop_, log_);
  const auto listener = echo(transport, "127.0.0.1:0");
  const auto connection = collect(transport, listener->address());
  const std::vector<std::size_t> sizes{1, 100, 8192, 8193, 1 << 20, 5 << 20};
  for (const std::size_t size : sizes) {
    ASSERT_TRUE(connection->send({pattern(size), pattern(size)}));
  }
  ASSERT_TRUE(run_until([&] { return received_.size() == sizes.size(); }));
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(received_[i].head.text(), pattern(sizes[i]).text());
    EXPECT_EQ(received_[i].bulk.text(), pattern(sizes[i]).text());
  }
}

TEST_F(ZmqTransportTest, received_bytes_outlive_the_transport) {
  {
    ZmqTransport transport(*loop_, log_);
    const auto listener = echo(transport, "127.0.0.1:0");
    const auto connection = collect(transport, listener->address());
    ASSERT_TRUE(connection->send({bytes("head"), pattern(1 << 20)}));
    ASSERT_TRUE(run_until([this] { return !received_.empty(); }));
  }
  EXPECT_EQ(received_[0].bulk.text(), pattern(1 << 20).text());
}

TEST_F(ZmqTransportTest, connection_in_a_dropped_task_may_outlive_the_transport) {
  auto transport = std::make_unique<ZmqTransport>(*loop_, log_);
  std::shared_ptr<Connection> connection = collect(*transport, "127.0.0.1:1");
  loop_->post([held = std::move(connection)] {});
  transport.reset();
  loop_.reset();
}

TEST_F(ZmqTransportTest, large_frame_shares_the_owner_and_lets_it_go_once_sent) {
  auto owner = std::make_shared<std::vector<std::byte>>(1 << 20);
  const std::weak_ptr<std::vector<std::byte>> watcher = owner;
  const std::byte* const data = owner->data();
  {
    zmq::message_t frame = frame_of(Buffer(std::move(owner), data, 1 << 20));
    EXPECT_EQ(frame.data(), data);
    EXPECT_FALSE(watcher.expired());
    const Buffer received = buffer_of(std::move(frame));
    EXPECT_EQ(received.data(), data);
  }
  EXPECT_TRUE(watcher.expired());
}

TEST_F(ZmqTransportTest, burst_both_ways_arrives_whole_and_in_order) {
  constexpr std::size_t kMessages = 10'000;
  ZmqTransport transport(*loop_, log_, {.send_queue_max = 20'000});
  const auto listener = echo(transport, "127.0.0.1:0");
  const auto connection = collect(transport, listener->address());
  for (std::size_t i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(connection->send({bytes(std::to_string(i)), {}}));
  }
  ASSERT_TRUE(run_until([&] { return received_.size() == kMessages; }));
  for (std::size_t i = 0; i < kMessages; ++i) {
    ASSERT_EQ(received_[i].head.text(), std::to_string(i));
  }
}

// Each answer triggers the next request, with a second stream disturbing: a lost edge would hang.
TEST_F(ZmqTransportTest, ping_pong_never_loses_an_edge) {
  constexpr int kRounds = 5'000;
  ZmqTransport transport(*loop_, log_);
  const auto listener = echo(transport, "127.0.0.1:0");
  std::array<int, 3> rounds{};
  std::array<std::unique_ptr<Connection>, 3> connections;
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    auto made = transport.connect(listener->address(), [&, i](Message message) {
      if (++rounds[i] < kRounds) {
        ASSERT_TRUE(connections[i]->send(std::move(message)));
      }
    });
    connections[i] = std::move(*made);
    ASSERT_TRUE(connections[i]->send({bytes("x"), {}}));
  }
  EXPECT_TRUE(run_until([&] {
    return rounds[0] >= kRounds && rounds[1] >= kRounds && rounds[2] >= kRounds;
  })) << rounds[0]
      << " " << rounds[1] << " " << rounds[2];
}

TEST_F(ZmqTransportTest, connection_comes_back_when_the_listener_does) {
  auto servers = std::make_unique<ZmqTransport>(*loop_, log_);
  auto listener = echo(*servers, "127.0.0.1:0");
  const Address address = listener->address();
  ZmqTransport clients(*loop_, log_);
  const auto connection = collect(clients, address);
  ASSERT_TRUE(connection->send({bytes("first"), {}}));
  ASSERT_TRUE(run_until([this] { return received_.size() == 1; }));

  listener.reset();
  servers = std::make_unique<ZmqTransport>(*loop_, log_);  // waits until the port is free
  listener = echo(*servers, address);
  std::function<void()> ask = [&] {
    ASSERT_TRUE(connection->send({bytes("again"), {}}));
    loop_->run_after(50ms, ask);
  };
  ask();
  EXPECT_TRUE(run_until([this] { return received_.size() >= 2; }));
  ask = [] {};
}

TEST_F(ZmqTransportTest, sent_before_the_listener_is_up_arrives_once_it_is) {
  Address address;
  {
    ZmqTransport probe(*loop_, log_);
    address = echo(probe, "127.0.0.1:0")->address();
  }
  ZmqTransport transport(*loop_, log_);
  const auto connection = collect(transport, address);
  ASSERT_TRUE(connection->send({bytes("early"), {}}));
  const auto listener = echo(transport, address);
  EXPECT_TRUE(run_until([this] { return received_.size() == 1; }));
}

TEST_F(ZmqTransportTest, two_peers_are_told_apart) {
  ZmqTransport transport(*loop_, log_);
  std::map<PeerId, std::string> heard;
  auto listener = transport.listen(
      "127.0.0.1:0", [&](PeerId peer, Message message) { heard[peer] = message.head.text(); });
  ASSERT_TRUE(listener);
  const auto first = collect(transport, (*listener)->address());
  const auto second = collect(transport, (*listener)->address());
  ASSERT_TRUE(first->send({bytes("first"), {}}));
  ASSERT_TRUE(second->send({bytes("second"), {}}));
  ASSERT_TRUE(run_until([&] { return heard.size() == 2; }));
  for (const auto& [peer, text] : heard) {
    ASSERT_TRUE((*listener)->send(peer, {bytes("to " + text), {}}));
  }
  ASSERT_TRUE(run_until([this] { return received_.size() == 2; }));
}

TEST_F(ZmqTransportTest, sending_to_an_unknown_peer_is_unavailable) {
  ZmqTransport transport(*loop_, log_);
  const auto listener = echo(transport, "127.0.0.1:0");
  EXPECT_EQ(listener->send(PeerId{42}, {bytes("x"), {}}).code(), ErrorCode::kUnavailable);
}

TEST_F(ZmqTransportTest, full_queue_is_busy_and_keeps_messages_whole) {
  ZmqTransport transport(*loop_, log_, {.send_queue_max = 10});
  auto unheard = transport.connect("127.0.0.1:1", [](Message) {});
  ASSERT_TRUE(unheard);
  int sent = 0;
  while ((*unheard)->send({bytes("head"), bytes("bulk")})) {
    ASSERT_LT(++sent, 11);
  }
  EXPECT_EQ(sent, 10);
  EXPECT_EQ((*unheard)->send({bytes("head"), bytes("bulk")}).code(), ErrorCode::kBusy);
}

TEST_F(ZmqTransportTest, frame_over_the_limit_is_not_sent) {
  ZmqTransport transport(*loop_, log_, {.frame_bytes_max = 1000});
  const auto connection = collect(transport, "127.0.0.1:1");
  EXPECT_TRUE(connection->send({pattern(1000), {}}));
  EXPECT_EQ(connection->send({pattern(1001), {}}).code(), ErrorCode::kTooLarge);
  EXPECT_EQ(connection->send({pattern(1), pattern(1001)}).code(), ErrorCode::kTooLarge);
}

TEST_F(ZmqTransportTest, addresses_that_cannot_be_are_refused) {
  ZmqTransport transport(*loop_, log_);
  const auto ignore = [](PeerId, Message) {};
  EXPECT_EQ(transport.connect("nonsense", [](Message) {}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(transport.listen("nonsense", ignore).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(transport.listen("192.0.2.1:0", ignore).code(), ErrorCode::kUnavailable);
  const auto listener = echo(transport, "127.0.0.1:0");
  EXPECT_EQ(transport.listen(listener->address(), ignore).code(), ErrorCode::kBusy);
}

// Peers that are not ours: a raw ZeroMQ socket that sends what it likes.
class StrangerTest : public ZmqTransportTest {
 protected:
  StrangerTest() : listener_(echo(transport_, "127.0.0.1:0")) {
    stranger_.set(zmq::sockopt::linger, 0);
  }
  void connect() { stranger_.connect("tcp://" + listener_->address()); }
  void send(const std::vector<std::string>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      stranger_.send(zmq::buffer(frames[i]),
                     i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
  }
  void expect_still_serving() {
    const auto connection = collect(transport_, listener_->address());
    ASSERT_TRUE(connection->send({bytes("fine"), {}}));
    EXPECT_TRUE(run_until([this] { return received_.size() == 1; }));
  }

  ZmqTransport transport_{*loop_, log_, {.frame_bytes_max = 100'000}};
  std::unique_ptr<Listener> listener_;
  zmq::context_t context_;
  zmq::socket_t stranger_{context_, zmq::socket_type::dealer};
};

TEST_F(StrangerTest, wrong_number_of_frames_is_dropped_and_logged_once_a_second) {
  connect();
  for (int i = 0; i < 100; ++i) {
    send({"a", "b", "c"});
    send({"a", "b", "c", "d", "e", "f", "g", "h"});
  }
  ASSERT_TRUE(run_until([this] { return log_.contains("frames=3"); }));
  expect_still_serving();
  EXPECT_LE(log_.lines.size(), 3u);
}

TEST_F(StrangerTest, peer_that_names_itself_is_refused) {
  stranger_.set(zmq::sockopt::routing_id, "me");
  connect();
  send({"hello"});
  ASSERT_TRUE(run_until([this] { return log_.contains("names itself"); }));
  expect_still_serving();
}

TEST_F(StrangerTest, oversized_frame_is_not_delivered) {
  connect();
  send({std::string(100'001, 'x')});
  expect_still_serving();
}

TEST_F(StrangerTest, bytes_of_another_protocol_are_ignored) {
  zmq::socket_t raw(context_, zmq::socket_type::stream);
  raw.set(zmq::sockopt::linger, 0);
  raw.connect("tcp://" + listener_->address());
  zmq::message_t id;
  ASSERT_TRUE(raw.recv(id));
  raw.send(id, zmq::send_flags::sndmore);
  raw.send(zmq::str_buffer("GET / HTTP/1.1\r\n\r\n"), zmq::send_flags::none);
  expect_still_serving();
}

}  // namespace
}  // namespace dfs::real
