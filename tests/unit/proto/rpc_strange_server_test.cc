// What an RpcClient does about a server that does not keep to the protocol.
#include "tests/unit/proto/rpc_rig.h"

namespace dfs::test {
namespace {

using Results = std::vector<std::pair<std::string, ErrorCode>>;

class RpcClientStrangeServer : public RpcRig {
 protected:
  // Whatever arrives is answered with `make_answer(envelope of the request)`.
  template <class MakeAnswer>
  void start_raw_server(MakeAnswer make_answer) {
    auto listening = server.transport->listen(
        kServerAddress, [this, make_answer](PeerId peer, const Message& message) mutable {
          const auto decoded = decode_head(message.head.bytes());
          ASSERT_TRUE(decoded.has_value());
          (void)listener->send(peer, make_answer(decoded->envelope));
        });
    ASSERT_TRUE(listening.has_value());
    listener = std::move(*listening);
  }

  std::unique_ptr<Listener> listener;
};

TEST_F(RpcClientStrangeServer, of_another_version_fails_every_call) {
  start_raw_server([](const Envelope&) { return Message{Buffer::copy_of("\x92\x03\xc0"), {}}; });
  start_client(keeping());
  call("a");
  call("b");
  events.run_for(milliseconds(1));
  EXPECT_EQ(results,
            (Results{{"a", ErrorCode::kVersionMismatch}, {"b", ErrorCode::kVersionMismatch}}));
}

TEST_F(RpcClientStrangeServer, that_sends_garbage_is_logged_once_a_second_and_does_not_answer) {
  start_raw_server([](const Envelope&) { return Message{Buffer::copy_of("garbage"), {}}; });
  start_client();
  for (int i = 0; i < 100; ++i) {
    call(std::to_string(i), seconds(1));
  }
  events.run_for(milliseconds(2));
  EXPECT_EQ(client.log.count("message refused"), 1u);
  events.run_for(seconds(2));
  EXPECT_EQ(results.size(), 100u);
  EXPECT_EQ(results[0].second, ErrorCode::kTimedOut);
  EXPECT_LE(client.log.count("message refused"), 3u);
}

TEST_F(RpcClientStrangeServer, that_sends_garbage_is_as_dead_as_a_silent_one) {
  start_raw_server([](const Envelope&) { return Message{Buffer::copy_of("garbage"), {}}; });
  start_client();
  call("a", seconds(60));
  events.run_for(milliseconds(2500));
  EXPECT_EQ(results, (Results{{"a", ErrorCode::kUnavailable}}));
}

TEST_F(RpcClientStrangeServer, whose_messages_are_requests_or_of_another_type_is_ignored) {
  start_raw_server([turn = 0](const Envelope& envelope) mutable {
    Envelope answer = envelope;
    if (turn++ % 2 == 0) {
      answer.kind = MessageKind::kRequest;
    } else {
      answer.kind = MessageKind::kReply;
      answer.type = MessageType::kRename;
    }
    return Message{encode_message(answer, RenameReply{}), {}};
  });
  start_client();
  call("a", seconds(1));
  call("b", seconds(1));
  events.run_for(milliseconds(999));
  EXPECT_TRUE(results.empty());
  EXPECT_TRUE(client.log.contains("not a reply"));
}

TEST_F(RpcClientStrangeServer, whose_reply_is_over_its_limits_fails_the_call) {
  start_raw_server([turn = 0](const Envelope& envelope) mutable {
    Envelope answer = envelope;
    answer.kind = MessageKind::kReply;
    Message message{encode_message(answer, EntryReply{}), {}};
    if (turn++ == 0) {
      message.bulk = Buffer::adopt(std::string(kBulkBytesMax + 1, 'x'));
    } else {
      message.head =
          Buffer::adopt(std::string(message.head.text()) + std::string(kHeadBytesMax, 'x'));
    }
    return message;
  });
  start_client();
  call("bulk");
  call("head");
  events.run_for(milliseconds(1));
  EXPECT_EQ(results, (Results{{"bulk", ErrorCode::kBadMessage}, {"head", ErrorCode::kBadMessage}}));
}

}  // namespace
}  // namespace dfs::test
