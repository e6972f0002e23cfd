#include "fuse-client/core/block_cache.h"

#include <gtest/gtest.h>

namespace dfs::client {
namespace {

const BlockId kBlock{ChunkId{1}, 64};

BlockRange range(BlockId block, std::uint32_t begin, std::size_t size) {
  return {block, begin, Buffer::copy_of(std::string(size, 'x'))};
}

class BlockCacheTest : public testing::Test {
 protected:
  BlockCacheTest() {
    memory_.set_evictor([this](std::uint64_t bytes) { cache_.evict(bytes); });
  }
  MemoryBudget memory_{1000};
  BlockCache cache_{memory_};
};

TEST_F(BlockCacheTest, finds_the_range_that_holds_an_offset) {
  cache_.insert({range(kBlock, 100, 50)}, 50);
  EXPECT_FALSE(cache_.find(kBlock, 99));
  ASSERT_TRUE(cache_.find(kBlock, 149));
  EXPECT_EQ(cache_.find(kBlock, 149)->begin, 100u);
  EXPECT_FALSE(cache_.find(kBlock, 150));
  EXPECT_FALSE(cache_.find(BlockId{ChunkId{2}, 64}, 120));
}

TEST_F(BlockCacheTest, a_gap_ends_at_its_neighbours) {
  cache_.insert({range(kBlock, 100, 50), range(kBlock, 300, 50)}, 100);
  EXPECT_EQ(cache_.gap(kBlock, 200, 0, 1000), (std::pair{150u, 300u}));
  EXPECT_EQ(cache_.gap(kBlock, 50, 0, 80), (std::pair{0u, 80u}));
  EXPECT_EQ(cache_.gap(BlockId{ChunkId{2}, 0}, 50, 0, 80), (std::pair{0u, 80u}));
}

TEST_F(BlockCacheTest, what_came_in_one_message_is_counted_and_goes_together) {
  cache_.insert({range(kBlock, 0, 100), range(kBlock, 500, 100)}, 250);
  EXPECT_EQ(memory_.used(MemoryBudget::Use::kCache), 250u);
  cache_.evict(1);
  EXPECT_EQ(memory_.used(MemoryBudget::Use::kCache), 0u);
  EXPECT_FALSE(cache_.find(kBlock, 0));
  EXPECT_FALSE(cache_.find(kBlock, 500));
}

TEST_F(BlockCacheTest, the_longest_unused_goes_first) {
  for (std::uint32_t i = 0; i < 4; ++i) {
    cache_.insert({range(kBlock, i * 100, 100)}, 250);
  }
  ASSERT_TRUE(cache_.find(kBlock, 0));
  cache_.insert({range(kBlock, 400, 100)}, 250);
  EXPECT_TRUE(cache_.find(kBlock, 0));
  EXPECT_FALSE(cache_.find(kBlock, 100));
  EXPECT_LE(memory_.used(MemoryBudget::Use::kCache), 1000u);
}

TEST_F(BlockCacheTest, writers_take_the_memory_back) {
  for (std::uint32_t i = 0; i < 4; ++i) {
    cache_.insert({range(kBlock, i * 100, 100)}, 250);
  }
  EXPECT_TRUE(memory_.try_reserve(MemoryBudget::Use::kDirty, 400));
  EXPECT_LE(cache_.bytes(), 600u);
  EXPECT_EQ(memory_.used(MemoryBudget::Use::kCache), cache_.bytes());
}

TEST_F(BlockCacheTest, overlapping_ranges_are_kept_once) {
  cache_.insert({range(kBlock, 0, 100)}, 100);
  cache_.insert({range(kBlock, 50, 100)}, 100);
  EXPECT_EQ(cache_.find(kBlock, 60)->begin, 0u);
  EXPECT_FALSE(cache_.find(kBlock, 120));
}

}  // namespace
}  // namespace dfs::client
