#include "proto/lock_ranges.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/sim/sim_random.h"

namespace dfs {
namespace {

constexpr LockMode kNone = LockMode::kNone;
constexpr LockMode kShared = LockMode::kShared;
constexpr LockMode kExclusive = LockMode::kExclusive;

// As "0-4 r, 5-9 w"; an open end is "...".
std::string text(const LockRanges& ranges) {
  std::string all;
  for (const LockRange& range : ranges.all()) {
    all += (all.empty() ? "" : ", ") + std::to_string(range.span.start) + "-" +
           (range.span.end == kLockOffsetMax ? "..." : std::to_string(range.span.end)) +
           (range.mode == kExclusive ? " w" : " r");
  }
  return all;
}

TEST(LockRanges, neighbours_of_one_mode_are_one) {
  LockRanges ranges;
  ranges.set({0, 4}, kShared);
  ranges.set({10, 14}, kShared);
  EXPECT_EQ(text(ranges), "0-4 r, 10-14 r");
  ranges.set({5, 9}, kShared);
  EXPECT_EQ(text(ranges), "0-14 r");
  ranges.set({15, 19}, kExclusive);
  EXPECT_EQ(text(ranges), "0-14 r, 15-19 w");
}

TEST(LockRanges, setting_the_middle_splits_what_is_there) {
  LockRanges ranges;
  ranges.set({0, 99}, kExclusive);
  ranges.set({10, 19}, kShared);
  EXPECT_EQ(text(ranges), "0-9 w, 10-19 r, 20-99 w");
  ranges.set({50, 59}, kNone);
  EXPECT_EQ(text(ranges), "0-9 w, 10-19 r, 20-49 w, 60-99 w");
  ranges.set({5, 70}, kExclusive);
  EXPECT_EQ(text(ranges), "0-99 w");
  ranges.set({0, kLockOffsetMax}, kNone);
  EXPECT_TRUE(ranges.empty());
}

TEST(LockRanges, the_last_byte_there_can_be_is_a_byte_like_others) {
  LockRanges ranges;
  ranges.set({100, kLockOffsetMax}, kShared);
  ranges.set({kLockOffsetMax, kLockOffsetMax}, kExclusive);
  EXPECT_EQ(text(ranges), "100-" + std::to_string(kLockOffsetMax - 1) + " r, " +
                              std::to_string(kLockOffsetMax) + "-... w");
  ranges.set({100, kLockOffsetMax}, kExclusive);
  EXPECT_EQ(text(ranges), "100-... w");
  ranges.set({0, 0}, kExclusive);
  ranges.set({0, kLockOffsetMax - 1}, kNone);
  EXPECT_EQ(text(ranges), std::to_string(kLockOffsetMax) + "-... w");
}

TEST(LockRanges, weakening_never_makes_a_lock_stronger) {
  LockRanges ranges;
  ranges.set({0, 9}, kShared);
  ranges.set({10, 19}, kExclusive);
  ranges.weaken({5, 14}, kExclusive);
  EXPECT_EQ(text(ranges), "0-9 r, 10-19 w");
  ranges.weaken({5, 14}, kShared);
  EXPECT_EQ(text(ranges), "0-14 r, 15-19 w");
  ranges.weaken({30, 40}, kShared);
  ranges.weaken({8, 16}, kNone);
  EXPECT_EQ(text(ranges), "0-7 r, 17-19 w");
}

TEST(LockRanges, behave_as_a_mode_for_each_byte) {
  constexpr std::size_t kBytes = 24;
  sim::SimRandom random(1);
  for (int round = 0; round < 200; ++round) {
    LockRanges ranges;
    std::array<LockMode, kBytes> bytes{};
    for (int step = 0; step < 40; ++step) {
      const auto mode = static_cast<LockMode>(random.below(3));
      const std::uint64_t start = random.below(kBytes);
      const std::uint64_t end = start + random.below(kBytes - start);
      const LockSpan span{start, end};
      for (const LockMode wanted : {kShared, kExclusive}) {
        bool is_forbidden = false;
        for (std::size_t at = start; at <= end; ++at) {
          is_forbidden |= bytes[at] == kExclusive || (wanted == kExclusive && bytes[at] != kNone);
        }
        ASSERT_EQ(ranges.first_conflict(span, wanted).has_value(), is_forbidden);
      }
      ranges.set(span, mode);
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(start),
                bytes.begin() + static_cast<std::ptrdiff_t>(end) + 1, mode);
      LockRanges expected;
      for (std::size_t at = 0; at < kBytes; ++at) {
        expected.set({at, at}, bytes[at]);
      }
      ASSERT_EQ(text(ranges), text(expected));
    }
  }
}

}  // namespace
}  // namespace dfs
