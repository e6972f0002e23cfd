#include "proto/extent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "proto/block.h"
#include "tests/sim/sim_random.h"

namespace dfs {
namespace {

constexpr std::uint32_t kBlock = 100;  // payload of the blocks made here

Extent piece(std::uint64_t file_offset, std::uint32_t length, std::uint64_t chunk,
             std::uint32_t payload_offset = 0) {
  return Extent{.file_offset = file_offset,
                .length_bytes = length,
                .chunk = ChunkId{chunk},
                .block_offset = 64,
                .block_bytes = kBlock,
                .payload_offset = payload_offset};
}

using Extents = std::vector<Extent>;

TEST(ExtentList, extent_over_the_middle_of_another_leaves_both_ends) {
  ExtentList list;
  EXPECT_TRUE(list.insert(piece(0, 100, 1)).empty());
  EXPECT_EQ(list.insert(piece(40, 20, 2)), Extents{piece(40, 20, 1, 40)});
  EXPECT_EQ(list.extents(), (Extents{piece(0, 40, 1), piece(40, 20, 2), piece(60, 40, 1, 60)}));
}

TEST(ExtentList, extent_over_several_displaces_each_part) {
  ExtentList list({piece(0, 10, 1), piece(10, 10, 2), piece(30, 10, 3)});
  EXPECT_EQ(list.insert(piece(5, 30, 4)),
            (Extents{piece(5, 5, 1, 5), piece(10, 10, 2), piece(30, 5, 3)}));
  EXPECT_EQ(list.extents(), (Extents{piece(0, 5, 1), piece(5, 30, 4), piece(35, 5, 3, 5)}));
}

TEST(ExtentList, neighbours_that_go_on_in_file_and_block_are_merged) {
  ExtentList list;
  list.insert(piece(0, 10, 1, 0));
  list.insert(piece(20, 10, 1, 20));
  list.insert(piece(10, 10, 1, 10));
  EXPECT_EQ(list.extents(), Extents{piece(0, 30, 1)});
}

TEST(ExtentList, neighbours_that_differ_in_anything_stay_apart) {
  const Extent first = piece(0, 10, 1, 0);
  Extent other_block = piece(10, 10, 1, 10);
  other_block.block_offset = 1000;
  Extent other_length = piece(10, 10, 1, 10);
  other_length.block_bytes = kBlock + 1;
  for (const Extent& second : {piece(10, 10, 2, 10), piece(10, 10, 1, 11), piece(11, 10, 1, 10),
                               other_block, other_length}) {
    ExtentList list({first});
    list.insert(second);
    EXPECT_EQ(list.size(), 2u);
  }
}

TEST(ExtentList, inserting_the_same_again_displaces_it_and_changes_nothing) {
  ExtentList list({piece(0, 100, 1)});
  EXPECT_EQ(list.insert(piece(0, 100, 1)), Extents{piece(0, 100, 1)});
  EXPECT_EQ(list.insert(piece(30, 20, 1, 30)), Extents{piece(30, 20, 1, 30)});
  EXPECT_EQ(list.extents(), Extents{piece(0, 100, 1)});
}

TEST(ExtentList, remove_makes_a_hole) {
  ExtentList list({piece(0, 10, 1), piece(10, 10, 2), piece(20, 10, 3)});
  EXPECT_EQ(list.remove(5, 25), (Extents{piece(5, 5, 1, 5), piece(10, 10, 2), piece(20, 5, 3)}));
  EXPECT_EQ(list.extents(), (Extents{piece(0, 5, 1), piece(25, 5, 3, 5)}));
  EXPECT_TRUE(list.remove(5, 25).empty());
  EXPECT_TRUE(list.remove(1000, ~std::uint64_t{0}).empty());
  EXPECT_EQ(list.remove(0, ~std::uint64_t{0}).size(), 2u);
  EXPECT_TRUE(list.empty());
}

TEST(ExtentList, remove_inside_one_extent_leaves_both_ends) {
  ExtentList list({piece(0, 100, 1)});
  EXPECT_EQ(list.remove(20, 30), Extents{piece(20, 10, 1, 20)});
  EXPECT_EQ(list.extents(), (Extents{piece(0, 20, 1), piece(30, 70, 1, 30)}));
}

TEST(ExtentList, find_clips_to_what_is_asked) {
  const ExtentList list({piece(0, 10, 1), piece(20, 10, 2)});
  EXPECT_EQ(list.find(5, 25), (Extents{piece(5, 5, 1, 5), piece(20, 5, 2)}));
  EXPECT_TRUE(list.find(10, 20).empty());
  EXPECT_TRUE(list.find(30, 40).empty());
  EXPECT_TRUE(list.find(5, 5).empty());
}

// Each byte of a file and which byte of which block it is; chunk 0 is a hole.
class ByteModel {
 public:
  explicit ByteModel(std::size_t size) : bytes_(size) {}

  using Byte = std::pair<std::uint64_t, std::uint64_t>;  // chunk and block, byte in it
  static Byte byte_of(const Extent& extent, std::uint64_t at) {
    return {extent.chunk.value << 32 | extent.block_offset,
            extent.payload_offset + (at - extent.file_offset)};
  }

  // Returns what was there, once for each byte.
  std::map<Byte, int> put(std::uint64_t begin, std::uint64_t end, const Extent* extent) {
    std::map<Byte, int> lost;
    for (std::uint64_t at = begin; at < end; ++at) {
      if (bytes_[at].first != 0) {
        ++lost[bytes_[at]];
      }
      bytes_[at] = extent == nullptr ? Byte{} : byte_of(*extent, at);
    }
    return lost;
  }

  void expect_equal(const ExtentList& list) const {
    std::vector<Byte> seen(bytes_.size());
    std::uint64_t end = 0;
    for (const Extent& extent : list.extents()) {
      ASSERT_GT(extent.length_bytes, 0u);
      ASSERT_GE(extent.file_offset, end);
      end = extent.end();
      for (std::uint64_t at = extent.file_offset; at < end; ++at) {
        seen[at] = byte_of(extent, at);
      }
    }
    ASSERT_EQ(seen, bytes_);
  }

 private:
  std::vector<Byte> bytes_;
};

std::map<ByteModel::Byte, int> bytes_of(const Extents& pieces) {
  std::map<ByteModel::Byte, int> bytes;
  for (const Extent& extent : pieces) {
    for (std::uint64_t at = extent.file_offset; at < extent.end(); ++at) {
      ++bytes[ByteModel::byte_of(extent, at)];
    }
  }
  return bytes;
}

bool has_unmerged_neighbours(const ExtentList& list) {
  for (std::size_t i = 1; i < list.size(); ++i) {
    const Extent& a = list.extents()[i - 1];
    const Extent& b = list.extents()[i];
    if (a.end() == b.file_offset && a.chunk == b.chunk && a.block_offset == b.block_offset &&
        a.block_bytes == b.block_bytes && a.payload_offset + a.length_bytes == b.payload_offset) {
      return true;
    }
  }
  return false;
}

class ExtentListModel : public testing::TestWithParam<std::uint64_t> {};

TEST_P(ExtentListModel, random_changes_match_a_byte_array) {
  constexpr std::uint64_t kFile = 256;
  sim::SimRandom random(GetParam());
  ByteModel model(kFile);
  ExtentList list;
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t begin = random.below(kFile);
    const std::uint64_t end = begin + 1 + random.below(std::min<std::uint64_t>(kFile - begin, 60));
    if (random.below(5) == 0) {
      EXPECT_EQ(bytes_of(list.remove(begin, end)), model.put(begin, end, nullptr));
    } else {
      // Few chunks, and often the payload offset that continues a neighbour.
      const auto payload = static_cast<std::uint32_t>(begin % 40 + (random.below(4) == 0 ? 1 : 0));
      const Extent extent =
          piece(begin, static_cast<std::uint32_t>(std::min<std::uint64_t>(end, kFile) - begin),
                1 + random.below(2), payload);
      EXPECT_EQ(bytes_of(list.insert(extent)), model.put(begin, extent.end(), &extent));
      EXPECT_FALSE(has_unmerged_neighbours(list));
    }
    ASSERT_NO_FATAL_FAILURE(model.expect_equal(list));
    const std::uint64_t from = random.below(kFile);
    const std::uint64_t to = from + random.below(kFile - from + 1);
    ByteModel copy = model;
    EXPECT_EQ(bytes_of(list.find(from, to)), copy.put(from, to, nullptr));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ExtentListModel, testing::Range<std::uint64_t>(1, 11));

TEST(Extent, validate_accepts_what_can_be_and_nothing_beyond) {
  const Extent good{.file_offset = kFileBytesMax - kBlockPayloadBytesMax,
                    .length_bytes = kBlockPayloadBytesMax,
                    .chunk = ChunkId{1},
                    .block_offset = kChunkBytesMax - block_total_bytes(kBlockPayloadBytesMax),
                    .block_bytes = kBlockPayloadBytesMax,
                    .payload_offset = 0};
  EXPECT_TRUE(validate(good).has_value());
  EXPECT_TRUE(validate(piece(0, 1, 1, kBlock - 1)).has_value());

  std::vector<Extent> bad(9, good);
  bad[0].file_offset += 1;
  bad[1].length_bytes = 0;
  bad[2].chunk = ChunkId{};
  bad[3].block_offset += 1;
  bad[4].block_offset = kChunkHeaderBytes - 1;
  bad[5].block_bytes = 0;
  bad[6].block_bytes += 1;
  bad[7].payload_offset = 1;
  bad[8].file_offset = ~std::uint64_t{0};
  for (const Extent& extent : bad) {
    EXPECT_EQ(validate(extent).code(), ErrorCode::kInvalidArgument);
  }
  Extent wrapping = piece(0, 50, 1, 0xffff'fff0);
  EXPECT_EQ(validate(wrapping).code(), ErrorCode::kInvalidArgument);
  wrapping = piece(0, 0xffff'ffff, 1, 1);
  EXPECT_EQ(validate(wrapping).code(), ErrorCode::kInvalidArgument);
}

TEST(StoredExtents, have_their_golden_bytes) {
  const Extent extent{.file_offset = 0x0102'0304'0506,
                      .length_bytes = 0x10,
                      .chunk = ChunkId{0x1122'3344'5566'7788},
                      .block_offset = 0x40,
                      .block_bytes = 0x1234,
                      .payload_offset = 0x56};
  const std::string expected(
      "\x01"
      "\x06\x05\x04\x03\x02\x01\x00\x00"
      "\x10\x00\x00\x00"
      "\x88\x77\x66\x55\x44\x33\x22\x11"
      "\x40\x00\x00\x00"
      "\x34\x12\x00\x00"
      "\x56\x00\x00\x00",
      33);
  EXPECT_EQ(encode_extents({extent}), expected);
  EXPECT_EQ(*decode_extents(expected), Extents{extent});
}

TEST(StoredExtents, empty_list_is_the_version_alone) {
  EXPECT_EQ(encode_extents({}), std::string(1, '\x01'));
  EXPECT_TRUE(decode_extents("\x01")->empty());
}

TEST(StoredExtents, what_cannot_be_is_corrupt) {
  const std::string good = encode_extents({piece(0, 10, 1), piece(10, 10, 2)});
  ASSERT_TRUE(decode_extents(good).has_value());
  for (std::size_t size = 0; size < good.size(); ++size) {
    const bool whole = size == 1 || size == 33;
    EXPECT_EQ(decode_extents(good.substr(0, size)).has_value(), whole) << size;
  }
  std::string newer = good;
  newer[0] = 2;
  ASSERT_EQ(decode_extents(newer).code(), ErrorCode::kCorrupt);
  EXPECT_NE(decode_extents(newer).error().detail.find("version 2"), std::string::npos);
  EXPECT_EQ(decode_extents(encode_extents({piece(0, 10, 1), piece(9, 10, 2)})).code(),
            ErrorCode::kCorrupt);
  EXPECT_EQ(decode_extents(encode_extents({piece(0, 0, 1)})).code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace dfs
