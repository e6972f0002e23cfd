#include "fuse-client/fuse/contention.h"

#include <gtest/gtest.h>

#include <string>

namespace dfs::fuse {
namespace {

constexpr InodeId kDirectory{3}, kOther{4};

class ContentionTest : public testing::Test {
 protected:
  bool asks_each_time(const std::string& name, InodeId directory = kDirectory) {
    return contention.is_without_time(directory, name, now);
  }
  void given_for_no_time(const std::string& name, InodeId directory = kDirectory) {
    contention.note_without_time(directory, name, now);
  }
  void renamed(const std::string& name, const std::string& new_name) {
    contention.renamed(kDirectory, name, kDirectory, new_name, now);
  }

  Contention contention;
  MonoTime now{std::chrono::seconds(100)};
};

TEST_F(ContentionTest, what_others_change_is_contended_for_a_while) {
  EXPECT_FALSE(contention.is_contended(kDirectory, now));
  EXPECT_FALSE(contention.changes(kDirectory, now));
  now += kContendedTime / 2;
  EXPECT_TRUE(contention.changes(kDirectory, now));
  now += kContendedTime / 2;
  EXPECT_TRUE(contention.is_contended(kDirectory, now));
  EXPECT_FALSE(contention.is_contended(kOther, now));
  now += kContendedTime;
  EXPECT_FALSE(contention.is_contended(kDirectory, now));
}

TEST_F(ContentionTest, only_names_of_contended_directories_are_asked_for_each_time) {
  given_for_no_time("early");
  EXPECT_FALSE(asks_each_time("early"));
  contention.changes(kDirectory, now);
  given_for_no_time("a");
  EXPECT_TRUE(asks_each_time("a"));
  EXPECT_FALSE(asks_each_time("b"));
  EXPECT_FALSE(asks_each_time("a", kOther));
}

TEST_F(ContentionTest, names_of_an_earlier_contention_do_not_count) {
  contention.changes(kDirectory, now);
  given_for_no_time("a");
  now += kContendedTime;
  EXPECT_FALSE(asks_each_time("a"));
  given_for_no_time("b");
  contention.changes(kDirectory, now);
  EXPECT_FALSE(asks_each_time("a"));
  EXPECT_FALSE(asks_each_time("b"));
  EXPECT_EQ(contention.names(), 0U);
}

TEST_F(ContentionTest, a_name_that_the_kernel_keeps_takes_that_along_when_it_is_renamed) {
  contention.changes(kDirectory, now);
  given_for_no_time("a");
  given_for_no_time("b");
  renamed("a", "b");
  EXPECT_TRUE(asks_each_time("b"));
  renamed("kept", "b");
  EXPECT_FALSE(asks_each_time("b"));
}

TEST_F(ContentionTest, is_bounded_and_what_is_quiet_makes_way) {
  for (std::size_t i = 1; i <= kContendedInodesMax; ++i) {
    contention.changes(InodeId{i}, now);
  }
  EXPECT_FALSE(contention.changes(InodeId{kContendedInodesMax + 1}, now));
  EXPECT_FALSE(contention.is_contended(InodeId{kContendedInodesMax + 1}, now));
  for (std::size_t i = 0; i < kNamesWithoutTimeMax + 10; ++i) {
    given_for_no_time("n" + std::to_string(i));
  }
  EXPECT_EQ(contention.names(), kNamesWithoutTimeMax);
  now += kContendedTime;
  EXPECT_FALSE(contention.changes(InodeId{kContendedInodesMax + 1}, now));
  EXPECT_TRUE(contention.is_contended(InodeId{kContendedInodesMax + 1}, now));
  EXPECT_EQ(contention.inodes(), 1U);
  EXPECT_EQ(contention.names(), 0U);
}

}  // namespace
}  // namespace dfs::fuse
