#include "fuse-client/core/read_ahead.h"

#include <gtest/gtest.h>

#include "proto/limits.h"

namespace dfs::client {
namespace {

constexpr std::uint64_t kStep = 128 * 1024;

TEST(ReadAheadTest, reading_from_the_front_opens_the_window_to_its_maximum) {
  ReadAhead ahead(kReadAheadMax);
  std::uint64_t asked_until = 0;
  for (std::uint64_t at = 0; at < 64u << 20; at += kStep) {
    const auto advice = ahead.next(at, kStep);
    if (advice.ahead_end > advice.ahead_begin) {
      EXPECT_GE(advice.ahead_begin, asked_until);
      asked_until = advice.ahead_end;
    }
    EXPECT_LE(asked_until, at + kStep + kReadAheadMax);
  }
  EXPECT_EQ(ahead.window(), kReadAheadMax);
  EXPECT_GT(asked_until, 64u << 20);
}

TEST(ReadAheadTest, requests_a_little_out_of_order_stay_sequential) {
  ReadAhead ahead(kReadAheadMax);
  for (const std::uint64_t at : {0, 1, 3, 2, 5, 4, 6}) {
    ahead.next(at * kStep, kStep);
  }
  EXPECT_GT(ahead.window(), 0u);
  EXPECT_EQ(ahead.next(7 * kStep, kStep).unit_bytes, kBlockPayloadBytesMax);
}

TEST(ReadAheadTest, random_small_reads_fetch_little_and_nothing_ahead) {
  ReadAhead ahead(kReadAheadMax);
  for (const std::uint64_t at : {900, 20, 5000, 4000, 70, 3}) {
    const auto advice = ahead.next(at * (1u << 20), 4096);
    EXPECT_EQ(advice.unit_bytes, kRandomUnitBytes);
    EXPECT_EQ(advice.ahead_begin, advice.ahead_end);
  }
}

TEST(ReadAheadTest, a_jump_ends_the_window) {
  ReadAhead ahead(kReadAheadMax);
  ahead.next(0, kStep);
  ahead.next(kStep, kStep);
  EXPECT_GT(ahead.window(), 0u);
  ahead.next(1u << 30, 4096);
  EXPECT_EQ(ahead.window(), 0u);
}

}  // namespace
}  // namespace dfs::client
