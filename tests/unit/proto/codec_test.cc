#include "proto/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "proto/all_messages.h"
#include "proto/limits.h"
#include "tests/sim/sim_random.h"

namespace dfs {
namespace {

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size();) {
    if (hex[i] == ' ') {
      ++i;
      continue;
    }
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
    i += 2;
  }
  return bytes;
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Envelope request_envelope(MessageType type) {
  Envelope envelope;
  envelope.version = kProtocolVersion;
  envelope.type = type;
  envelope.request_id = 7;
  envelope.session = SessionId{3};
  envelope.sequence = 5;
  envelope.acknowledged = 4;
  envelope.deadline_ms = 1000;
  return envelope;
}

constexpr const char* kLookupEnvelope = "9d 02 01 14 07 03 05 04 cd03e8 00 a0 c0 00 00";

TEST(Codec, lookup_request_has_its_golden_bytes) {
  const Buffer head = encode_message(request_envelope(MessageType::kLookup),
                                     LookupRequest{.parent = kRootInode, .name = "a\xff"});
  EXPECT_EQ(head.text(), from_hex(std::string(kLookupEnvelope) + " 92 01 a2 61ff"));
}

TEST(Codec, set_attributes_request_has_its_golden_bytes) {
  SetAttributesRequest request;
  request.inode = InodeId{0x1'0000'0000};
  request.mode = 0644;
  request.size_bytes = 0xffff'ffff'ffff'ffff;
  request.atime = Timestamp{-1, 999'999'999};
  request.mtime_now = true;
  const Buffer head = encode_message(request_envelope(MessageType::kLookup), request);
  EXPECT_EQ(head.text(), from_hex(std::string(kLookupEnvelope) +
                                  " 9b cf0000000100000000 cd01a4 c0 c0 cfffffffffffffffff"
                                  " 92 ff ce3b9ac9ff c0 c2 c3 c2 c2"));
}

TEST(Codec, nested_lists_have_their_golden_bytes) {
  ReadReply reply;
  reply.ranges.push_back({.code = 25, .first_cell = 2, .size_bytes = 0, .checksums = {1, 300}});
  Envelope envelope = request_envelope(MessageType::kRead);
  envelope.kind = MessageKind::kReply;
  const Buffer head = encode_message(envelope, reply);
  EXPECT_EQ(
      head.text(),
      from_hex("9d 02 02 51 07 03 05 04 cd03e8 00 a0 c0 00 00  91 91 94 19 02 00 92 01 cd012c"));
}

TEST(Codec, error_has_its_golden_bytes_and_no_body) {
  Envelope envelope = request_envelope(MessageType::kLookup);
  envelope.kind = MessageKind::kReply;
  envelope.code = ErrorCode::kNotFound;
  envelope.detail = "no";
  const Buffer head = encode_error(envelope);
  EXPECT_EQ(head.text(), from_hex("9d 02 02 14 07 03 05 04 cd03e8 01 a2 6e6f c0 00 00"));
  const auto decoded = decode_head(head.bytes());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_TRUE(decoded->body.empty());
}

TEST(Codec, reply_to_a_change_has_its_golden_bytes) {
  Envelope envelope = request_envelope(MessageType::kLookup);
  envelope.kind = MessageKind::kReply;
  envelope.stamp = {.index = 9, .time = {.seconds = 3, .nanoseconds = 4}, .inode = InodeId{300}};
  envelope.durable_index = 8;
  const Buffer head = encode_message(envelope, EmptyReply{});
  EXPECT_EQ(head.text(),
            from_hex("9d 02 02 14 07 03 05 04 cd03e8 00 a0 93 09 92 03 04 cd012c 08 00 90"));
  const auto decoded = decode_head(head.bytes());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->envelope.stamp, envelope.stamp);
  EXPECT_EQ(decoded->envelope.durable_index, 8u);
}

TEST(Codec, long_error_detail_is_cut) {
  Envelope envelope = request_envelope(MessageType::kLookup);
  envelope.code = ErrorCode::kIo;
  envelope.detail = std::string(100'000, 'x');
  const Buffer head = encode_error(envelope);
  EXPECT_LT(head.size(), 2000u);
  EXPECT_EQ(decode_head(head.bytes())->envelope.detail, std::string(1024, 'x'));
}

TEST(Codec, envelope_comes_back_as_it_was_sent) {
  Envelope envelope = request_envelope(MessageType::kRename);
  envelope.kind = MessageKind::kReply;
  envelope.request_id = 0xffff'ffff'ffff'ffff;
  envelope.code = ErrorCode::kStale;
  envelope.detail = "why";
  const Buffer head = encode_message(envelope, EmptyReply{});
  const auto decoded = decode_head(head.bytes());
  ASSERT_TRUE(decoded.has_value());
  const Envelope& got = decoded->envelope;
  EXPECT_EQ(got.version, kProtocolVersion);
  EXPECT_EQ(got.kind, MessageKind::kReply);
  EXPECT_EQ(got.type, MessageType::kRename);
  EXPECT_EQ(got.request_id, envelope.request_id);
  EXPECT_EQ(got.session, envelope.session);
  EXPECT_EQ(got.sequence, envelope.sequence);
  EXPECT_EQ(got.acknowledged, envelope.acknowledged);
  EXPECT_EQ(got.deadline_ms, envelope.deadline_ms);
  EXPECT_EQ(got.code, ErrorCode::kStale);
  EXPECT_EQ(got.detail, "why");
  EXPECT_TRUE(decode_body<EmptyReply>(decoded->body).has_value());
}

TEST(Codec, another_version_is_a_version_mismatch_whatever_follows) {
  EXPECT_EQ(decode_head(as_bytes(from_hex("91 03"))).code(), ErrorCode::kVersionMismatch);
  EXPECT_EQ(decode_head(as_bytes(from_hex("93 00 a1 61 c0"))).code(), ErrorCode::kVersionMismatch);
  const auto newer = decode_head(as_bytes(from_hex("92 cf0000000100000001 80")));
  ASSERT_EQ(newer.code(), ErrorCode::kVersionMismatch);
  EXPECT_NE(newer.error().detail.find("4294967297"), std::string::npos);
}

TEST(Codec, malformed_envelopes_are_bad_messages) {
  for (const char* hex : {
           "",                                        // nothing
           "c0",                                      // no array
           "90",                                      // an empty one
           "91 a1 31",                                // the version is a string
           "91 02",                                   // no kind
           "93 02 03 14",                             // an unknown kind
           "93 02 01 00",                             // no type
           "93 02 01 ce00010000",                     // a type beyond 16 bits
           "94 02 01 14 ff",                          // a negative request id
           "94 02 01 14 cb3ff0000000000000",          // a floating-point one
           "9a 02 01 14 07 03 05 04 cd03e8 00 c0",    // nil for a string
           "9a 02 01 14 07 03 05 04 cd03e8 00 a2 61"  // cut short
       }) {
    EXPECT_EQ(decode_head(as_bytes(from_hex(hex))).code(), ErrorCode::kBadMessage) << hex;
  }
}

TEST(Codec, truncated_envelope_is_a_bad_message_at_every_length) {
  const std::string bytes = from_hex(kLookupEnvelope);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode_head(as_bytes(bytes.substr(0, size))).code(), ErrorCode::kBadMessage);
  }
}

TEST(Codec, envelope_of_a_newer_minor_form_is_read_as_far_as_known) {
  const auto decoded =
      decode_head(as_bytes(from_hex("9e 02 01 14 07 03 05 04 cd03e8 00 a0 c0 00 00 81 01 02  90")));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->envelope.deadline_ms, 1000u);
  EXPECT_EQ(decoded->body.size(), 1u);
}

TEST(Codec, unknown_error_code_and_type_are_kept_apart_from_known_ones) {
  const auto decoded = decode_head(as_bytes(from_hex("9a 02 02 cd7fff 07 03 05 04 00 cdffff a0")));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->envelope.code, ErrorCode::kInternal);
  EXPECT_EQ(message_type_name(decoded->envelope.type), nullptr);
}

TEST(Codec, missing_members_keep_their_defaults) {
  const auto decoded = decode_body<RenameRequest>(as_bytes(from_hex("93 01 a1 61 05")));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->parent, kRootInode);
  EXPECT_EQ(decoded->name, "a");
  EXPECT_EQ(decoded->new_parent, InodeId{5});
  EXPECT_EQ(decoded->new_name, "");
  EXPECT_EQ(decoded->mode, 0);
}

TEST(Codec, numbers_out_of_range_are_bad_messages) {
  EXPECT_EQ(decode_body<RenameRequest>(as_bytes(from_hex("95 01 a0 05 a0 cd0100"))).code(),
            ErrorCode::kBadMessage);  // a mode of 256
  EXPECT_EQ(decode_body<ReadLinkRequest>(as_bytes(from_hex("91 ff"))).code(),
            ErrorCode::kBadMessage);  // inode -1
  EXPECT_TRUE(decode_body<AttributesReply>(
                  as_bytes(from_hex("91 99 01 00 00 00 00 00 00 00 92 ff ce3b9ac9ff")))
                  .has_value());
  EXPECT_EQ(decode_body<AttributesReply>(
                as_bytes(from_hex("91 99 01 00 00 00 00 00 00 00 92 ff ce3b9aca00")))
                .code(),
            ErrorCode::kBadMessage);  // 1'000'000'000 nanoseconds
  EXPECT_EQ(decode_body<AttributesReply>(
                as_bytes(from_hex("91 99 01 00 00 00 00 00 00 00 92 cf8000000000000000 00")))
                .code(),
            ErrorCode::kBadMessage);  // second 2^63
}

TEST(Codec, body_must_be_one_array) {
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes("")).code(), ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(from_hex("80"))).code(), ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(from_hex("9090"))).code(), ErrorCode::kBadMessage);
  EXPECT_TRUE(decode_body<EmptyReply>(as_bytes(from_hex("90"))).has_value());
}

TEST(Codec, list_at_its_limit_is_read_and_one_beyond_is_not) {
  DeleteReplicasRequest request;
  request.chunks.resize(kListItemsMax);
  const Buffer head = encode_message(request_envelope(MessageType::kDeleteReplicas), request);
  const auto decoded = decode_head(head.bytes());
  ASSERT_TRUE(decoded.has_value());
  const auto body = decode_body<DeleteReplicasRequest>(decoded->body);
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(body->chunks.size(), kListItemsMax);

  const std::string beyond = from_hex("91 dd00010001") + std::string(kListItemsMax + 1, '\0');
  EXPECT_EQ(decode_body<DeleteReplicasRequest>(as_bytes(beyond)).code(), ErrorCode::kBadMessage);
}

TEST(Codec, head_over_its_limit_is_a_bad_message) {
  const std::string head = from_hex(kLookupEnvelope) + from_hex("91 01");
  EXPECT_TRUE(decode_head(as_bytes(head)).has_value());
  const std::string padded = head + std::string(kHeadBytesMax, '\0');
  EXPECT_EQ(decode_head(as_bytes(padded)).code(), ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<GetAttributesRequest>(as_bytes(padded)).code(), ErrorCode::kBadMessage);
}

TEST(Codec, deep_nesting_and_huge_claims_are_bad_messages) {
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(std::string(1'000'000, '\x91'))).code(),
            ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(from_hex("ddffffffff"))).code(),
            ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(from_hex("91 dfffffffff"))).code(),
            ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(from_hex("91 dbffffffff"))).code(),
            ErrorCode::kBadMessage);
  EXPECT_EQ(decode_body<EmptyReply>(as_bytes(from_hex("91 c1"))).code(), ErrorCode::kBadMessage);
}

TEST(Codec, random_bytes_never_do_harm) {
  sim::SimRandom random(1);
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes(random.below(64), '\0');
    for (char& byte : bytes) {
      byte = static_cast<char>(random.below(256));
    }
    if (!bytes.empty() && random.below(2) == 0) {
      bytes[0] = static_cast<char>(0x90 + random.below(16));  // at least an array
    }
    const auto head = decode_head(as_bytes(bytes));
    EXPECT_TRUE(head.has_value() || head.code() == ErrorCode::kBadMessage ||
                head.code() == ErrorCode::kVersionMismatch);
    const auto body = decode_body<CommitExtentsRequest>(as_bytes(bytes));
    EXPECT_TRUE(body.has_value() || body.code() == ErrorCode::kBadMessage);
  }
}

}  // namespace
}  // namespace dfs
