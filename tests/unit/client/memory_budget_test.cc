#include "fuse-client/core/memory_budget.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sim/sim_random.h"

namespace dfs::client {
namespace {

using Use = MemoryBudget::Use;

TEST(MemoryBudgetTest, each_use_gets_its_share_and_no_more) {
  MemoryBudget memory(1000);
  EXPECT_TRUE(memory.try_reserve(Use::kDirty, 500));
  EXPECT_FALSE(memory.try_reserve(Use::kDirty, 1));
  EXPECT_TRUE(memory.try_reserve(Use::kInFlight, 500));
  EXPECT_FALSE(memory.try_reserve(Use::kInFlight, 1));
  EXPECT_FALSE(memory.try_reserve(Use::kCache, 1));
  EXPECT_EQ(memory.used(Use::kDirty), 500u);
}

TEST(MemoryBudgetTest, cached_bytes_make_room_for_dirty_ones) {
  MemoryBudget memory(1000);
  std::uint64_t asked = 0;
  memory.set_evictor([&](std::uint64_t bytes) {
    asked = bytes;
    memory.release(Use::kCache, 400);
  });
  ASSERT_TRUE(memory.try_reserve(Use::kCache, 1000));
  EXPECT_TRUE(memory.try_reserve(Use::kDirty, 300));
  EXPECT_EQ(asked, 300u);
  EXPECT_EQ(memory.used(Use::kCache), 600u);
}

TEST(MemoryBudgetTest, what_waits_takes_from_the_cache_and_from_nobody_else) {
  MemoryBudget memory(1000);
  memory.set_evictor([&](std::uint64_t bytes) {
    memory.release(Use::kCache, std::min(bytes, memory.used(Use::kCache)));
  });
  ASSERT_TRUE(memory.try_reserve(Use::kCache, 900));
  memory.reserve_anyway(Use::kWaiting, 300);
  EXPECT_EQ(memory.used(Use::kCache), 700u);
  EXPECT_FALSE(memory.try_reserve(Use::kCache, 1));
  memory.reserve_anyway(Use::kWaiting, 5000);
  EXPECT_EQ(memory.used(Use::kCache), 0u);
  // It is for these that it waits.
  EXPECT_TRUE(memory.try_reserve(Use::kDirty, 500));
  EXPECT_TRUE(memory.try_reserve(Use::kInFlight, 500));
  EXPECT_FALSE(memory.try_reserve(Use::kDirty, 1));
  memory.release(Use::kWaiting, 5200);
  memory.release(Use::kDirty, 500);
  EXPECT_FALSE(memory.try_reserve(Use::kCache, 401));
  EXPECT_TRUE(memory.try_reserve(Use::kCache, 400));
}

TEST(MemoryBudgetTest, a_write_that_stops_waiting_wakes_nobody) {
  MemoryBudget memory(1000);
  int calls = 0;
  memory.on_room([&] { ++calls; });
  memory.reserve_anyway(Use::kWaiting, 300);
  ASSERT_TRUE(memory.try_reserve(Use::kDirty, 500));
  EXPECT_FALSE(memory.try_reserve(Use::kDirty, 1));
  memory.release(Use::kWaiting, 300);
  EXPECT_EQ(calls, 0);
  memory.release(Use::kDirty, 1);
  EXPECT_EQ(calls, 1);
}

TEST(MemoryBudgetTest, a_request_larger_than_its_share_is_granted_alone) {
  MemoryBudget memory(1000);
  ASSERT_TRUE(memory.try_reserve(Use::kDirty, 1));
  EXPECT_FALSE(memory.try_reserve(Use::kDirty, 2000));
  memory.release(Use::kDirty, 1);
  EXPECT_TRUE(memory.try_reserve(Use::kDirty, 2000));
  EXPECT_FALSE(memory.try_reserve(Use::kDirty, 1));
}

TEST(MemoryBudgetTest, waiters_are_called_once_after_a_refusal) {
  MemoryBudget memory(1000);
  int calls = 0;
  memory.on_room([&] { ++calls; });
  ASSERT_TRUE(memory.try_reserve(Use::kDirty, 500));
  memory.release(Use::kDirty, 100);
  EXPECT_EQ(calls, 0);  // nobody was refused
  EXPECT_FALSE(memory.try_reserve(Use::kDirty, 200));
  memory.release(Use::kDirty, 100);
  memory.release(Use::kDirty, 100);
  EXPECT_EQ(calls, 1);
}

TEST(MemoryBudgetTest, what_is_evicted_for_one_does_not_wake_another) {
  MemoryBudget memory(1000);
  int calls = 0;
  memory.on_room([&] { ++calls; });
  memory.set_evictor([&](std::uint64_t bytes) { memory.release(Use::kCache, bytes); });
  ASSERT_TRUE(memory.try_reserve(Use::kInFlight, 500));
  EXPECT_FALSE(memory.try_reserve(Use::kInFlight, 1));
  ASSERT_TRUE(memory.try_reserve(Use::kCache, 500));
  EXPECT_TRUE(memory.try_reserve(Use::kDirty, 100));
  EXPECT_EQ(calls, 0);
}

TEST(MemoryBudgetTest, the_cap_holds_under_random_use) {
  sim::SimRandom random(1);
  MemoryBudget memory(10'000);
  memory.set_evictor([&](std::uint64_t bytes) {
    memory.release(Use::kCache, std::min(bytes, memory.used(Use::kCache)));
  });
  std::uint64_t sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    const Use use = static_cast<Use>(random.below(3));
    const std::uint64_t bytes = random.below(3000);
    if (random.below(2) == 0) {
      static_cast<void>(memory.try_reserve(use, bytes));
    } else {
      memory.release(use, std::min(bytes, memory.used(use)));
    }
    sum = memory.used(Use::kDirty) + memory.used(Use::kCache) + memory.used(Use::kInFlight);
    ASSERT_LE(sum, memory.cap_bytes());
  }
}

}  // namespace
}  // namespace dfs::client
