#include "common/real/units.h"

#include <gtest/gtest.h>

namespace dfs::real {
namespace {

using namespace std::chrono_literals;

TEST(Units, sizes_are_read_with_their_units) {
  EXPECT_EQ(*parse_size("0"), 0u);
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("64KiB"), 65536u);
  EXPECT_EQ(*parse_size("64K"), 65536u);
  EXPECT_EQ(*parse_size("64 MiB"), 64u << 20);
  EXPECT_EQ(*parse_size("64m"), 64u << 20);  // as with tmpfs
  EXPECT_EQ(*parse_size("3GB"), 3'000'000'000u);
  EXPECT_EQ(*parse_size("2TiB"), std::uint64_t{2} << 40);
}

TEST(Units, durations_are_read_with_their_units) {
  EXPECT_EQ(*parse_duration("0"), 0s);
  EXPECT_EQ(*parse_duration("500us"), 500us);
  EXPECT_EQ(*parse_duration("500ms"), 500ms);
  EXPECT_EQ(*parse_duration("5s"), 5s);
  EXPECT_EQ(*parse_duration("2min"), 2min);
  EXPECT_EQ(*parse_duration("1h"), 1h);
  EXPECT_EQ(*parse_duration("7d"), 168h);
}

TEST(Units, what_is_no_size_or_duration_is_refused_by_name) {
  for (const char* text : {"", "x", "-1", "1.5GiB", "64 megs", "1 0", " 1", "0x10",
                           "18446744073709551616", "17000000TiB", "+1"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.code(), ErrorCode::kInvalidArgument);
    EXPECT_TRUE(size.error().detail.starts_with('"' + std::string(text) + '"'));
  }
  for (const char* text :
       {"", "5", "s", "-5s", "1.5s", "5 parsecs", "300000d", "99999999999999d"}) {
    EXPECT_EQ(parse_duration(text).code(), ErrorCode::kInvalidArgument) << text;
  }
}

TEST(Units, formatted_values_are_read_back) {
  EXPECT_EQ(format_size(64u << 20), "64MiB");
  EXPECT_EQ(format_size(65537), "65537");
  EXPECT_EQ(format_size(0), "0");
  EXPECT_EQ(format_duration(5s), "5s");
  EXPECT_EQ(format_duration(1500ms), "1500ms");
  EXPECT_EQ(format_duration(60s), "1min");
  EXPECT_EQ(format_duration(0s), "0");
  for (const std::uint64_t size : {1ull, 1000ull, 1024ull, 1ull << 44, ~0ull}) {
    EXPECT_EQ(*parse_size(format_size(size)), size);
  }
  for (const Duration duration : {Duration(1), Duration(1ms), Duration(90min), Duration(48h)}) {
    EXPECT_EQ(*parse_duration(format_duration(duration)), duration);
  }
}

}  // namespace
}  // namespace dfs::real
