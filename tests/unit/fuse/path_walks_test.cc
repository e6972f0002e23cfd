#include "fuse-client/fuse/path_walks.h"

#include <gtest/gtest.h>

namespace dfs::fuse {
namespace {

constexpr pid_t kCaller = 10, kOther = 11;
constexpr InodeId kDirectory{3}, kSubdirectory{4}, kFile{7}, kNext{8};

class PathWalksTest : public testing::Test {
 protected:
  bool is_told(pid_t caller, InodeId inode, Use use, bool is_suspect = true) {
    return walks.must_walk_again(caller, inode, use, is_suspect, now);
  }
  bool asks_attributes(pid_t caller, InodeId inode, bool is_suspect = true) {
    return !is_told(caller, inode, Use::kAttributes, is_suspect);
  }
  bool opens(pid_t caller, InodeId inode) { return !is_told(caller, inode, Use::kOpen); }
  void found(pid_t caller, InodeId inode, bool asks_again = false) {
    Attributes attributes;
    attributes.inode = inode;
    attributes.mode = inode == kFile || inode == kNext ? kModeRegular : kModeDirectory;
    attributes.size_bytes = 100 + inode.value;
    walks.asks_for_name(caller);
    walks.found(caller, attributes, asks_again, now);
  }
  bool is_awaited(InodeId inode, std::vector<std::string> names = {}) {
    LeaseChange change;
    change.inode = inode;
    change.names = std::move(names);
    return walks.are_awaited({change}, now);
  }

  PathWalks walks;
  MonoTime now{};
};

TEST_F(PathWalksTest, who_asked_for_the_name_again_may_use_what_it_found_once) {
  EXPECT_FALSE(asks_attributes(kCaller, kFile));
  found(kCaller, kDirectory);
  found(kCaller, kFile);
  EXPECT_TRUE(asks_attributes(kCaller, kFile));
  EXPECT_FALSE(asks_attributes(kCaller, kFile));
}

TEST_F(PathWalksTest, to_open_takes_the_permissions_before) {
  EXPECT_FALSE(opens(kCaller, kFile));
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory, false));
  found(kCaller, kFile);
  EXPECT_TRUE(asks_attributes(kCaller, kFile));
  EXPECT_TRUE(opens(kCaller, kFile));
  EXPECT_FALSE(asks_attributes(kCaller, kFile));
}

TEST_F(PathWalksTest, an_inode_that_turns_suspect_on_the_way_was_found_all_the_same) {
  EXPECT_FALSE(opens(kCaller, kFile));
  found(kCaller, kFile);
  EXPECT_TRUE(asks_attributes(kCaller, kFile, false));
  EXPECT_TRUE(opens(kCaller, kFile));
}

TEST_F(PathWalksTest, what_the_name_stands_for_now_may_be_another_file) {
  EXPECT_FALSE(asks_attributes(kCaller, kFile));
  found(kCaller, kNext);
  EXPECT_TRUE(asks_attributes(kCaller, kNext));
}

// To go through a directory takes its permissions, and those of the next one.
TEST_F(PathWalksTest, each_directory_on_the_way_was_found) {
  EXPECT_FALSE(asks_attributes(kCaller, kDirectory));
  found(kCaller, kDirectory);
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory));
  found(kCaller, kSubdirectory);
  EXPECT_TRUE(asks_attributes(kCaller, kSubdirectory));
  found(kCaller, kFile);
  EXPECT_TRUE(asks_attributes(kCaller, kFile));
  EXPECT_TRUE(opens(kCaller, kFile));
}

TEST_F(PathWalksTest, a_directory_is_entered_and_changed) {
  EXPECT_FALSE(opens(kCaller, kFile));
  found(kCaller, kDirectory);
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory));
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory));
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory));
  EXPECT_FALSE(asks_attributes(kCaller, kDirectory));
}

// link(2) walks to where the new name will be before it uses the file.
TEST_F(PathWalksTest, what_was_found_first_may_be_used_last) {
  EXPECT_FALSE(opens(kCaller, kFile));
  found(kCaller, kFile);
  found(kCaller, kDirectory);
  found(kCaller, kSubdirectory);
  EXPECT_TRUE(opens(kCaller, kFile));
}

TEST_F(PathWalksTest, names_beyond_the_limit_do_not_count) {
  EXPECT_FALSE(opens(kCaller, kFile));
  for (std::size_t i = 0; i < kFoundMax; ++i) {
    found(kCaller, InodeId{100 + i});
  }
  found(kCaller, kFile);
  EXPECT_FALSE(opens(kCaller, kFile));
}

TEST_F(PathWalksTest, a_call_ends_with_what_it_was_made_for) {
  walks.walk_again(kCaller, now);
  found(kCaller, kDirectory);
  EXPECT_TRUE(walks.begins_after_second(kCaller, now));
  EXPECT_FALSE(walks.begins_after_second(kOther, now));
  walks.call_ends(kCaller);
  EXPECT_TRUE(walks.begins_after_second(kCaller, now));
  EXPECT_FALSE(walks.begins_after_second(kCaller, now));  // of the next one
  EXPECT_FALSE(opens(kCaller, kFile));
  found(kCaller, kFile);
  EXPECT_TRUE(opens(kCaller, kFile));
  EXPECT_TRUE(walks.begins_after_second(kCaller, now));
  EXPECT_FALSE(walks.begins_after_second(kCaller, now));
}

// The kernel asks for one of those who come to a name at the same time.
TEST_F(PathWalksTest, what_another_found_meanwhile_counts) {
  EXPECT_FALSE(opens(kOther, kFile));
  found(kOther, kFile);
  now += std::chrono::milliseconds(1);
  EXPECT_FALSE(opens(kCaller, kFile));
  walks.asks_for_name(kCaller);
  EXPECT_FALSE(opens(kCaller, kFile));  // found before
  walks.asks_for_name(kCaller);
  found(kOther, kFile);
  EXPECT_TRUE(opens(kCaller, kFile));
  EXPECT_TRUE(walks.begins_after_second(kCaller, now));
  EXPECT_FALSE(opens(kCaller, kFile));
}

// A program can work in a directory that another client has just moved, or have it open.
TEST_F(PathWalksTest, where_the_walk_starts_needs_no_name) {
  EXPECT_FALSE(asks_attributes(kCaller, kDirectory));
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory));
  EXPECT_TRUE(opens(kCaller, kDirectory));
  walks.asks_for_name(kCaller);  // nothing is found
  EXPECT_FALSE(asks_attributes(kCaller, kDirectory));
  now += kWalkTime + std::chrono::milliseconds(1);
  EXPECT_FALSE(asks_attributes(kCaller, kDirectory));
}

TEST_F(PathWalksTest, who_has_just_opened_a_directory_may_ask_for_its_attributes) {
  walks.opened_directory(kCaller, kDirectory, now);
  EXPECT_FALSE(walks.begins_after_second(kCaller, now));
  EXPECT_TRUE(asks_attributes(kCaller, kDirectory));
  EXPECT_FALSE(asks_attributes(kOther, kDirectory));
  walks.asks_for_name(kCaller);
  EXPECT_FALSE(asks_attributes(kCaller, kDirectory));
}

TEST_F(PathWalksTest, what_was_found_long_ago_does_not_count) {
  EXPECT_FALSE(asks_attributes(kCaller, kFile));
  found(kCaller, kFile);
  now += kWalkTime + std::chrono::milliseconds(1);
  EXPECT_FALSE(asks_attributes(kCaller, kFile));
}

TEST_F(PathWalksTest, attributes_of_what_is_gone_are_those_it_was_found_with) {
  found(kCaller, kFile, true);
  ASSERT_TRUE(walks.found_attributes(kCaller, kFile, now).has_value());
  EXPECT_EQ(walks.found_attributes(kCaller, kFile, now)->size_bytes, 107U);
  EXPECT_FALSE(walks.found_attributes(kCaller, kNext, now).has_value());
  EXPECT_FALSE(walks.found_attributes(kOther, kFile, now).has_value());
  now += kWalkTime + std::chrono::milliseconds(1);
  EXPECT_FALSE(walks.found_attributes(kCaller, kFile, now).has_value());
}

TEST_F(PathWalksTest, what_the_kernel_may_keep_is_not_remembered_here) {
  found(kCaller, kFile, false);
  EXPECT_FALSE(walks.found_attributes(kCaller, kFile, now).has_value());
}

TEST_F(PathWalksTest, a_change_waits_for_who_found_it_on_a_second_walk_until_it_is_used) {
  found(kCaller, kFile, true);
  EXPECT_FALSE(is_awaited(kFile));
  walks.walk_again(kCaller, now);
  EXPECT_FALSE(is_awaited(kFile));
  found(kCaller, kFile);
  EXPECT_TRUE(is_awaited(kFile));
  EXPECT_FALSE(is_awaited(kNext));
  EXPECT_FALSE(is_awaited(kFile, {"name"}));
  EXPECT_TRUE(opens(kCaller, kFile));
  EXPECT_FALSE(is_awaited(kFile));
}

TEST_F(PathWalksTest, a_change_waits_for_a_moment_only) {
  walks.walk_again(kCaller, now);
  found(kCaller, kFile);
  now += kFoundWait + std::chrono::milliseconds(1);
  EXPECT_FALSE(is_awaited(kFile));
}

TEST_F(PathWalksTest, callers_beyond_the_limit_walk_once_more) {
  for (std::size_t i = 0; i <= kWalksMax; ++i) {
    EXPECT_FALSE(asks_attributes(static_cast<pid_t>(i + 1), kFile));
  }
  found(1, kFile);
  EXPECT_FALSE(asks_attributes(1, kFile));
}

}  // namespace
}  // namespace dfs::fuse
