#include "proto/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "common/crc32c.h"
#include "tests/sim/sim_random.h"

namespace dfs {
namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  sim::SimRandom random(seed);
  Bytes bytes(size);
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random.below(256));
  }
  return bytes;
}

BlockHeader sample_header(std::uint32_t payload_bytes) {
  return BlockHeader{.chunk = ChunkId{0x1122'3344'5566'7788},
                     .epoch = Epoch{3},
                     .inode = InodeId{42},
                     .file_offset = 0x1'0000'0000,
                     .payload_bytes = payload_bytes,
                     .chunk_offset = 0x1234,
                     .sequence = 9};
}

Bytes make_block(const BlockHeader& header, const Bytes& payload) {
  Bytes block(block_total_bytes(header.payload_bytes));
  encode_block_prefix(header, cell_checksums(payload), block.data());
  std::copy(payload.begin(), payload.end(),
            block.begin() + block_prefix_bytes(header.payload_bytes));
  return block;
}

TEST(Block, sizes_follow_the_cells) {
  EXPECT_EQ(cell_count(1), 1u);
  EXPECT_EQ(cell_count(4096), 1u);
  EXPECT_EQ(cell_count(4097), 2u);
  EXPECT_EQ(block_prefix_bytes(4097), 64u + 8u);
  EXPECT_EQ(block_total_bytes(kBlockPayloadBytesMax), 64u + 4 * 256u + (1u << 20));
}

TEST(Block, has_its_golden_bytes) {
  const Bytes block = make_block(sample_header(1), Bytes{std::byte{'x'}});
  const auto* text = reinterpret_cast<const char*>(block.data());
  const std::string before_crc(
      "DFSB\x01\0\0\0"
      "\x88\x77\x66\x55\x44\x33\x22\x11"
      "\x03\0\0\0\0\0\0\0"
      "\x2a\0\0\0\0\0\0\0"
      "\0\0\0\0\x01\0\0\0"
      "\x01\0\0\0"
      "\x34\x12\0\0"
      "\x09\0\0\0\0\0\0\0"
      "\0\0\0\0",
      60);
  ASSERT_EQ(block.size(), 69u);
  EXPECT_EQ(std::string(text, 60), before_crc);
  EXPECT_EQ(text[68], 'x');
  // The CRC covers the header before it and the table behind it.
  const std::string covered = before_crc + std::string(text + 64, 4);
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(covered)));
  EXPECT_EQ(std::string(text + 60, 4), std::string(reinterpret_cast<const char*>(&crc), 4));
}

TEST(Block, comes_back_as_it_was_made) {
  for (const std::uint32_t size : {1u, 4095u, 4096u, 4097u, 10'000u, kBlockPayloadBytesMax}) {
    const Bytes payload = random_bytes(size, size);
    Bytes stored = make_block(sample_header(size), payload);
    stored.resize(stored.size() + 100);  // what follows in the chunk does not matter
    const auto view = parse_block(stored);
    ASSERT_TRUE(view.has_value()) << view.error().detail;
    EXPECT_EQ(view->header.chunk, sample_header(size).chunk);
    EXPECT_EQ(view->header.epoch, Epoch{3});
    EXPECT_EQ(view->header.inode, InodeId{42});
    EXPECT_EQ(view->header.file_offset, 0x1'0000'0000u);
    EXPECT_EQ(view->header.payload_bytes, size);
    EXPECT_EQ(view->header.chunk_offset, 0x1234u);
    EXPECT_EQ(view->header.sequence, 9u);
    EXPECT_TRUE(
        std::equal(view->payload.begin(), view->payload.end(), payload.begin(), payload.end()));
    const auto checksums = cell_checksums(payload);
    for (std::uint32_t cell = 0; cell < cell_count(size); ++cell) {
      EXPECT_EQ(view->checksum(cell), checksums[cell]);
    }
    const auto prefix = parse_block_prefix(std::span(stored).first(block_prefix_bytes(size)));
    ASSERT_TRUE(prefix.has_value());
    EXPECT_TRUE(prefix->payload.empty());
  }
}

TEST(Block, a_flipped_bit_anywhere_is_noticed) {
  const Bytes block = make_block(sample_header(5000), random_bytes(5000, 1));
  for (std::size_t at = 0; at < block.size(); ++at) {
    Bytes damaged = block;
    damaged[at] ^= static_cast<std::byte>(1u << (at % 8));
    EXPECT_EQ(parse_block(damaged).code(), ErrorCode::kCorrupt) << at;
    if (at < block_prefix_bytes(5000)) {
      EXPECT_EQ(parse_block_prefix(damaged).code(), ErrorCode::kCorrupt) << at;
    }
  }
}

TEST(Block, cut_short_is_corrupt_at_every_length) {
  const Bytes block = make_block(sample_header(300), random_bytes(300, 1));
  for (std::size_t size = 0; size < block.size(); ++size) {
    EXPECT_EQ(parse_block(std::span(block).first(size)).code(), ErrorCode::kCorrupt) << size;
  }
  EXPECT_EQ(decode_block_header(std::span(block).first(63)).code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(decode_block_header(std::span(block).first(64)).has_value());
}

TEST(Block, impossible_headers_are_corrupt_even_with_a_right_checksum) {
  const auto forge = [](std::size_t at, std::uint32_t number) {
    Bytes block = make_block(sample_header(10), random_bytes(10, 1));
    std::memcpy(&block[at], &number, sizeof number);
    const std::uint32_t crc =
        crc32c(std::span(block).subspan(64, 4), crc32c(std::span(block).first(60)));
    std::memcpy(&block[60], &crc, sizeof crc);
    return parse_block(block);
  };
  EXPECT_TRUE(forge(44, kChunkHeaderBytes).has_value());
  EXPECT_EQ(forge(4, 2).code(), ErrorCode::kCorrupt);   // a newer version
  EXPECT_EQ(forge(40, 0).code(), ErrorCode::kCorrupt);  // no payload
  EXPECT_EQ(forge(40, kBlockPayloadBytesMax + 1).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(forge(40, 0xffff'ffff).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(forge(44, kChunkHeaderBytes - 1).code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(forge(44, kChunkBytesMax - block_total_bytes(10)).has_value());
  EXPECT_EQ(forge(44, kChunkBytesMax - block_total_bytes(10) + 1).code(), ErrorCode::kCorrupt);
}

TEST(Block, random_bytes_are_corrupt) {
  for (std::uint64_t seed = 1; seed < 2000; ++seed) {
    Bytes bytes = random_bytes(seed % 300, seed);
    if (bytes.size() > 5) {
      std::memcpy(bytes.data(), "DFSB\x01", 5);
    }
    EXPECT_EQ(parse_block(bytes).code(), ErrorCode::kCorrupt);
  }
}

TEST(Cells, are_checked_one_by_one) {
  Bytes payload = random_bytes(10'000, 3);
  const auto checksums = cell_checksums(payload);
  ASSERT_EQ(checksums.size(), 3u);
  EXPECT_TRUE(verify_cells(payload, checksums).has_value());
  EXPECT_TRUE(
      verify_cells(std::span(payload).subspan(4096), std::span(checksums).subspan(1)).has_value());
  EXPECT_TRUE(verify_cells({}, {}).has_value());
  payload[9'999] ^= std::byte{1};
  const auto status = verify_cells(payload, checksums);
  ASSERT_EQ(status.code(), ErrorCode::kCorrupt);
  EXPECT_NE(status.error().detail.find("cell 2"), std::string::npos);
  EXPECT_TRUE(
      verify_cells(std::span(payload).first(8192), std::span(checksums).first(2)).has_value());
}

constexpr const char* kCluster = "00112233445566778899aabbccddeeff";

TEST(ChunkHeader, has_its_golden_bytes_and_comes_back) {
  const std::string bytes = encode_chunk_header({.chunk = ChunkId{5}, .cluster_id = kCluster});
  const std::string expected(
      "DFSC\x01\0\0\0"
      "\x05\0\0\0\0\0\0\0"
      "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
      32);
  ASSERT_EQ(bytes.size(), kChunkHeaderBytes);
  EXPECT_EQ(bytes.substr(0, 60), expected + std::string(28, '\0'));
  const auto header = decode_chunk_header(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->chunk, ChunkId{5});
  EXPECT_EQ(header->cluster_id, kCluster);
}

TEST(ChunkHeader, damage_is_corrupt_and_a_newer_version_is_refused_by_name) {
  const std::string bytes = encode_chunk_header({.chunk = ChunkId{5}, .cluster_id = kCluster});
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    EXPECT_EQ(decode_chunk_header(std::as_bytes(std::span(damaged))).code(), ErrorCode::kCorrupt);
    EXPECT_EQ(decode_chunk_header(std::as_bytes(std::span(bytes)).first(at)).code(),
              ErrorCode::kCorrupt);
  }
  for (const std::uint32_t version : {0u, 2u}) {
    std::string other = bytes;
    std::memcpy(&other[4], &version, sizeof version);
    const std::uint32_t crc = crc32c(std::as_bytes(std::span(other)).first(60));
    std::memcpy(&other[60], &crc, sizeof crc);
    const auto header = decode_chunk_header(std::as_bytes(std::span(other)));
    EXPECT_EQ(header.code(), version == 2 ? ErrorCode::kWrongFormat : ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace dfs
