#include "proto/rpc_server.h"

#include "tests/unit/proto/rpc_rig.h"

namespace dfs::test {
namespace {

// A server, and a peer that may send anything.
class RpcServerTest : public RpcRig {
 protected:
  void SetUp() override {
    start_server(77);
    auto connected = client.transport->connect(
        kServerAddress, [this](Message message) { answers.push_back(std::move(message)); });
    ASSERT_TRUE(connected.has_value());
    connection = std::move(*connected);
  }

  void send(Buffer head, Buffer bulk = {}) {
    ASSERT_TRUE(connection->send(Message{std::move(head), std::move(bulk)}).has_value());
    events.run_for(milliseconds(1));
  }
  static Envelope request(MessageType type, std::uint64_t id = 5) {
    Envelope envelope;
    envelope.version = kProtocolVersion;
    envelope.type = type;
    envelope.request_id = id;
    return envelope;
  }
  // The only answer so far.
  Envelope answer_envelope() {
    EXPECT_EQ(answers.size(), 1u);
    if (answers.empty()) {
      return {};
    }
    const auto decoded = decode_head(answers[0].head.bytes());
    EXPECT_TRUE(decoded.has_value());
    return decoded ? decoded->envelope : Envelope{};
  }

  std::unique_ptr<Connection> connection;
  std::vector<Message> answers;
};

TEST_F(RpcServerTest, ping_is_answered_by_itself_with_the_incarnation) {
  send(encode_message(request(MessageType::kPing, 99), PingRequest{}));
  EXPECT_TRUE(arrived.empty());
  EXPECT_EQ(answer_envelope().request_id, 99u);
  const auto body = decode_body<PingReply>(decode_head(answers[0].head.bytes())->body);
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(body->incarnation, 77u);
}

TEST_F(RpcServerTest, request_reaches_the_owner_with_its_deadline) {
  Envelope envelope = request(MessageType::kLookup);
  envelope.deadline_ms = 1500;
  send(encode_message(envelope, LookupRequest{kRootInode, "name"}), Buffer::copy_of("bulk"));
  ASSERT_EQ(arrived.size(), 1u);
  EXPECT_EQ(name_of(arrived[0]), "name");
  EXPECT_EQ(arrived[0].bulk.text(), "bulk");
  EXPECT_GT(arrived[0].deadline, events.now() + milliseconds(1490));
  EXPECT_LE(arrived[0].deadline, events.now() + milliseconds(1500));
  EXPECT_TRUE(answers.empty());
}

TEST_F(RpcServerTest, kept_reply_can_be_sent_again) {
  send(encode_message(request(MessageType::kLookup), LookupRequest{kRootInode, "name"}));
  const ReplyAddress to = arrived[0].reply_address();
  const Buffer kept = RpcServer::encode_reply(to, EntryReply{});
  rpc_server->send(to.peer, kept);
  rpc_server->send(to.peer, kept);
  rpc_server->send(to.peer, RpcServer::encode_failure(to, make_error(ErrorCode::kIo, "why")));
  events.run_for(milliseconds(1));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].head.text(), answers[1].head.text());
  const auto failure = decode_head(answers[2].head.bytes());
  EXPECT_EQ(failure->envelope.code, ErrorCode::kIo);
  EXPECT_EQ(failure->envelope.request_id, 5u);
  EXPECT_EQ(failure->envelope.type, MessageType::kLookup);
}

TEST_F(RpcServerTest, reply_to_a_peer_that_is_gone_is_dropped) {
  send(encode_message(request(MessageType::kLookup), LookupRequest{}));
  connection.reset();
  events.run_for(milliseconds(1));
  rpc_server->reply(arrived[0].reply_address(), EntryReply{});
  events.run_for(milliseconds(1));
  EXPECT_TRUE(answers.empty());
}

TEST_F(RpcServerTest, wrong_version_is_answered_so_that_any_version_understands) {
  send(Buffer::copy_of("\x93\x03\xa1x\xc0"));
  EXPECT_TRUE(arrived.empty());
  const Envelope answer = answer_envelope();
  EXPECT_EQ(answer.version, kProtocolVersion);
  EXPECT_EQ(answer.kind, MessageKind::kReply);
  EXPECT_EQ(answer.code, ErrorCode::kVersionMismatch);
  EXPECT_EQ(server.log.count("protocol version 3", LogLevel::kWarning), 1u);
}

TEST_F(RpcServerTest, garbage_is_logged_once_a_second_with_a_count_and_never_answered) {
  sim::SimRandom random(3);
  for (int i = 0; i < 500; ++i) {
    std::string garbage(random.below(100), '\0');
    for (char& byte : garbage) {
      byte = static_cast<char>(random.below(256));
    }
    garbage.insert(0, 1, '\xc1');  // never valid msgpack
    send(Buffer::copy_of(garbage));
  }
  EXPECT_TRUE(arrived.empty());
  EXPECT_TRUE(answers.empty());
  EXPECT_EQ(server.log.count("message refused", LogLevel::kWarning), 1u);
  events.run_for(seconds(1));
  send(Buffer{});
  EXPECT_EQ(server.log.count("message refused", LogLevel::kWarning), 2u);
  EXPECT_TRUE(server.log.contains("left_out=499"));
  // It still works.
  send(encode_message(request(MessageType::kLookup), LookupRequest{}));
  EXPECT_EQ(arrived.size(), 1u);
}

TEST_F(RpcServerTest, reply_sent_to_a_server_is_refused) {
  Envelope envelope = request(MessageType::kLookup);
  envelope.kind = MessageKind::kReply;
  send(encode_message(envelope, EntryReply{}));
  EXPECT_TRUE(arrived.empty());
  EXPECT_TRUE(answers.empty());
  EXPECT_TRUE(server.log.contains("not a request"));
}

TEST_F(RpcServerTest, unknown_request_type_is_not_supported) {
  send(encode_message(request(static_cast<MessageType>(5000)), EmptyReply{}));
  EXPECT_TRUE(arrived.empty());
  EXPECT_EQ(answer_envelope().code, ErrorCode::kNotSupported);
}

TEST_F(RpcServerTest, bulk_at_its_limit_is_taken_and_beyond_is_too_large) {
  const Buffer head = encode_message(request(MessageType::kAppend), AppendRequest{});
  send(head, Buffer::adopt(std::string(kBulkBytesMax, 'x')));
  EXPECT_EQ(arrived.size(), 1u);
  send(head, Buffer::adopt(std::string(kBulkBytesMax + 1, 'x')));
  EXPECT_EQ(arrived.size(), 1u);
  EXPECT_EQ(answer_envelope().code, ErrorCode::kTooLarge);
  EXPECT_EQ(answer_envelope().request_id, 5u);
}

TEST_F(RpcServerTest, head_over_its_limit_is_too_large) {
  const Buffer head = encode_message(request(MessageType::kLookup), LookupRequest{});
  send(Buffer::adopt(std::string(head.text()) + std::string(kHeadBytesMax, 'x')));
  EXPECT_TRUE(arrived.empty());
  EXPECT_EQ(answer_envelope().code, ErrorCode::kTooLarge);
}

// An address is used again: both clusters count their chunks from 1.
TEST_F(RpcServerTest, what_is_meant_for_another_cluster_is_refused) {
  rpc_server->set_cluster(cluster_tag("0123456789abcdef0123456789abcdef"));
  RpcClient::Options options;
  options.cluster = cluster_tag("fedcba9876543210fedcba9876543210");
  start_client(options);
  call("foreign");
  events.run_for(seconds(1));
  EXPECT_EQ(result_of("foreign"), ErrorCode::kUnavailable);
  EXPECT_TRUE(arrived.empty());

  for (const ClusterTag cluster : {cluster_tag("0123456789abcdef0123456789abcdef"), ClusterTag{}}) {
    options.cluster = cluster;
    start_client(options);
    call("own");
    events.run_for(seconds(1));
    EXPECT_EQ(arrived.size(), 1u);
    arrived.clear();
  }
}

TEST_F(RpcServerTest, listen_errors_are_passed_on) {
  const auto ignore = [](const RpcRequest&) {};
  EXPECT_EQ(RpcServer::create(server.world(), "nonsense", 1, ignore).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(RpcServer::create(server.world(), kServerAddress, 1, ignore).code(), ErrorCode::kBusy);
}

TEST_F(RpcServerTest, destroyed_server_hears_nothing) {
  ASSERT_TRUE(
      connection->send(Message{encode_message(request(MessageType::kLookup), LookupRequest{}), {}})
          .has_value());
  rpc_server.reset();
  events.run_for(seconds(1));
  EXPECT_TRUE(arrived.empty());
}

}  // namespace
}  // namespace dfs::test
