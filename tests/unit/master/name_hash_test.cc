#include "master/core/name_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace dfs::master {
namespace {

TEST(NameHash, cookies_are_part_of_the_database_format) {
  EXPECT_EQ(hash_name(""), 0xf52a15e9a9b5e89bu);
  EXPECT_EQ(first_cookie("a"), first_cookie(std::string("a")));
  EXPECT_NE(first_cookie("a"), first_cookie("b"));
}

TEST(NameHash, a_cookie_is_never_zero_nor_above_what_a_directory_offset_holds) {
  for (int index = 0; index < 100'000; ++index) {
    const std::string name = "n" + std::to_string(index);
    EXPECT_GT(first_cookie(name), 0u);
    EXPECT_LE(last_cookie(name), kLastCookie);
    EXPECT_EQ(first_cookie(name) % kCookieSlots, 0u);
  }
}

TEST(NameHash, names_that_differ_little_do_not_collide) {
  std::set<std::uint64_t> cookies;
  for (int index = 0; index < 200'000; ++index) {
    cookies.insert(first_cookie("file-" + std::to_string(index)));
  }
  EXPECT_EQ(cookies.size(), 200'000u);
}

}  // namespace
}  // namespace dfs::master
