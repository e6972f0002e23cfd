// What holds for every message there is.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "proto/all_messages.h"
#include "proto/codec.h"
#include "tests/sim/sim_random.h"
#include "tests/unit/proto/message_fill.h"

namespace dfs {
namespace {

using test::fields_are_all_members;
using test::random_body;

Envelope sample_envelope() {
  return Envelope{.version = kProtocolVersion,
                  .kind = MessageKind::kRequest,
                  .type = MessageType::kLookup,
                  .request_id = 7,
                  .session = SessionId{3},
                  .sequence = 5,
                  .acknowledged = 4,
                  .deadline_ms = 1000,
                  .code = ErrorCode::kOk,
                  .detail = {}};
}

template <class Body>
std::string body_bytes(const Body& body) {
  const Buffer head = encode_message(sample_envelope(), body);
  const auto decoded = decode_head(head.bytes());
  EXPECT_TRUE(decoded.has_value());
  const auto bytes = decoded->body;
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class Body>
Result<Body> parse(std::string_view bytes) {
  return decode_body<Body>(std::as_bytes(std::span(bytes)));
}

// The body with one more element, a map, behind those this version knows.
std::string with_unknown_fields(std::string body) {
  const auto first = static_cast<unsigned char>(body[0]);
  if (first == 0xdc) {
    body[2] = static_cast<char>(body[2] + 1);
  } else if (first < 0x9f) {
    body[0] = static_cast<char>(body[0] + 1);
  } else {
    body.replace(0, 1, std::string("\xdc\x00\x10", 3));
  }
  return body + std::string("\x81\x01\x92\xc0\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 13);
}

template <class Body>
void check_body(Random& random) {
  EXPECT_TRUE(fields_are_all_members<Body>());
  const std::string defaults = body_bytes(Body{});
  for (int round = 0; round < 30; ++round) {
    const std::string bytes = body_bytes(random_body<Body>(random));
    const auto decoded = parse<Body>(bytes);
    ASSERT_TRUE(decoded.has_value()) << decoded.error().detail;
    EXPECT_EQ(body_bytes(*decoded), bytes);

    const auto newer = parse<Body>(with_unknown_fields(bytes));
    ASSERT_TRUE(newer.has_value()) << newer.error().detail;
    EXPECT_EQ(body_bytes(*newer), bytes);

    for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 256) {
      EXPECT_EQ(parse<Body>(std::string_view(bytes).substr(0, size)).code(),
                ErrorCode::kBadMessage);
    }
    EXPECT_EQ(parse<Body>(bytes + "\x01").code(), ErrorCode::kBadMessage);

    std::string damaged = bytes;
    for (int flips = 0; flips < 3; ++flips) {
      damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    }
    const auto guessed = parse<Body>(damaged);  // either is fine, as long as it is an answer
    EXPECT_TRUE(guessed.has_value() || guessed.code() == ErrorCode::kBadMessage);
  }
  const auto shorter = parse<Body>("\x90");
  ASSERT_TRUE(shorter.has_value());
  EXPECT_EQ(body_bytes(*shorter), defaults);
}

// A leading void lets every line of the lists begin with a comma.
template <class, class... Bodies>
using BodyTypes = testing::Types<Bodies...>;

#define DFS_TYPE_REQUEST(Name) , Name##Request
#define DFS_TYPE_REPLY(Name) , Name
using RequestTypes = BodyTypes<void DFS_ALL_REQUESTS(DFS_TYPE_REQUEST)>;
using ReplyTypes = BodyTypes<void DFS_ALL_REPLIES(DFS_TYPE_REPLY)>;
#undef DFS_TYPE_REQUEST
#undef DFS_TYPE_REPLY

template <class Body>
class EveryRequest : public testing::Test {};
TYPED_TEST_SUITE(EveryRequest, RequestTypes);
TYPED_TEST(EveryRequest, survives_the_wire_and_refuses_what_is_cut_or_damaged) {
  sim::SimRandom random(static_cast<std::uint64_t>(TypeParam::kType));
  check_body<TypeParam>(random);
}
TYPED_TEST(EveryRequest, has_a_name) {
  EXPECT_NE(message_type_name(TypeParam::kType), nullptr);
  EXPECT_LE(static_cast<std::uint16_t>(TypeParam::kType), kMessageTypeMax);
}

template <class Body>
class EveryReply : public testing::Test {};
TYPED_TEST_SUITE(EveryReply, ReplyTypes);
TYPED_TEST(EveryReply, survives_the_wire_and_refuses_what_is_cut_or_damaged) {
  sim::SimRandom random(1000 + sizeof(TypeParam));
  check_body<TypeParam>(random);
}

TEST(MessageTypes, are_distinct_and_the_largest_is_known) {
  std::vector<std::uint16_t> numbers;
#define DFS_NUMBER(Name) numbers.push_back(static_cast<std::uint16_t>(Name##Request::kType));
  DFS_ALL_REQUESTS(DFS_NUMBER)
#undef DFS_NUMBER
  std::sort(numbers.begin(), numbers.end());
  EXPECT_EQ(std::adjacent_find(numbers.begin(), numbers.end()), numbers.end());
  EXPECT_EQ(numbers.back(), kMessageTypeMax);
  EXPECT_EQ(message_type_name(static_cast<MessageType>(9999)), nullptr);
}

}  // namespace
}  // namespace dfs
