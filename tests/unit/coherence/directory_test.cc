// Histories of names: which are those of one directory?
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/coherence/checker.h"
#include "tests/unit/coherence/story.h"

namespace dfs::coherence {
namespace {

class DirectoryHistory : public testing::Test, public Story {
 protected:
  bool is_legal(const CheckOptions& options = {}) {
    Directory directory({"a", "b", "c"});
    const auto found = check(directory, history(), options);
    return !found;
  }
};

TEST_F(DirectoryHistory, one_after_the_other_is_legal) {
  opens(1, 2, Kind::kCreate, "a", 7);
  fails(3, 4, Kind::kCreate, EEXIST, "a");
  add(5, 6, Kind::kLink, "a", "b");
  stats(7, 8, "b", 7, 2);
  lists(9, 10, {{"a", 7}, {"b", 7}});
  add(11, 12, Kind::kRename, "a", "c");
  fails(13, 14, Kind::kUnlink, ENOENT, "a");
  add(15, 16, Kind::kUnlink, "b");
  stats(17, 18, "c", 7, 1);
  opens(19, 20, Kind::kOpen, "c", 7);
  opens(21, 22, Kind::kOpen, "a", 8);
  add(23, 24, Kind::kExchange, "a", "c");
  opens(25, 26, Kind::kLookup, "a", 7);
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, a_name_that_was_unlinked_does_not_come_back) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kUnlink, "a");
  stats(5, 6, "a", 7, 1);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, an_open_does_not_find_the_file_that_was_unlinked) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kUnlink, "a");
  opens(5, 6, Kind::kOpen, "a", 7);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, an_unlink_that_overlaps_may_come_before_or_after) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 9, Kind::kUnlink, "a");
  fails(4, 5, Kind::kStat, ENOENT, "a");
  EXPECT_TRUE(is_legal());
  stats(6, 7, "a", 7, 1);  // but not before what came after it
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, a_rename_leaves_no_second_name) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kRename, "a", "b");
  stats(5, 6, "b", 7, 1);
  EXPECT_TRUE(is_legal());
  stats(7, 8, "a", 7, 1);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, one_of_two_renames_without_replacing_wins) {
  opens(1, 2, Kind::kCreate, "a", 7);
  opens(3, 4, Kind::kCreate, "b", 8);
  add(5, 9, Kind::kRenameNoReplace, "a", "c");
  fails(6, 8, Kind::kRenameNoReplace, EEXIST, "b", "c");
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, two_renames_without_replacing_do_not_both_win) {
  opens(1, 2, Kind::kCreate, "a", 7);
  opens(3, 4, Kind::kCreate, "b", 8);
  add(5, 9, Kind::kRenameNoReplace, "a", "c");
  add(6, 8, Kind::kRenameNoReplace, "b", "c");
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, two_exclusive_creations_do_not_both_win) {
  opens(1, 5, Kind::kCreate, "a", 7);
  opens(2, 6, Kind::kCreate, "a", 8);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, renaming_to_another_name_of_the_file_changes_nothing) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kLink, "a", "b");
  add(5, 6, Kind::kRename, "a", "b");
  stats(7, 8, "a", 7, 2);
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, a_rename_that_looked_before_and_after_another_may_do_nothing) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 9, Kind::kExchange, "b", "a");
  add(4, 5, Kind::kRename, "a", "b");
  stats(10, 11, "b", 7, 1);
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, an_exchange_with_a_name_that_is_absent_is_refused) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kExchange, "a", "b");
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, a_number_of_links_is_not_stale) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kLink, "a", "b");
  add(5, 6, Kind::kUnlink, "b");
  stats(7, 8, "a", 7, 2);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, stat_may_find_a_file_and_then_see_its_last_link_go) {
  opens(1, 2, Kind::kCreate, "a", 7);
  stats(3, 9, "a", 7, 0);
  add(4, 5, Kind::kUnlink, "a");
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, a_link_gives_the_name_to_the_file_it_found_first) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kLink, "a", "c");
  add(5, 12, Kind::kLink, "a", "b");
  add(6, 7, Kind::kUnlink, "a");
  opens(8, 9, Kind::kCreate, "a", 8);
  stats(13, 14, "b", 7, 2);
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, a_listing_has_what_was_there_all_the_time) {
  opens(1, 2, Kind::kCreate, "a", 7);
  opens(3, 4, Kind::kCreate, "b", 8);
  lists(5, 9, {{"a", 7}});
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, a_listing_has_nothing_that_was_never_there) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kUnlink, "a");
  lists(5, 9, {{"a", 7}});
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, a_listing_beside_a_rename_may_have_both_names_or_none) {
  opens(1, 2, Kind::kCreate, "a", 7);
  lists(3, 9, {{"a", 7}, {"b", 7}});
  lists(3, 9, {});
  add(5, 6, Kind::kRename, "a", "b");
  EXPECT_TRUE(is_legal());
}

TEST_F(DirectoryHistory, what_was_never_answered_may_take_effect_late_or_not_at_all) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, kNever, Kind::kUnlink, "a");
  stats(4, 5, "a", 7, 1);
  EXPECT_TRUE(is_legal());
  fails(6, 7, Kind::kStat, ENOENT, "a");
  EXPECT_TRUE(is_legal());
  stats(8, 9, "a", 7, 1);  // not twice, and not back
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, what_was_never_answered_does_not_take_effect_after_it_is_forgotten) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, kNever, Kind::kUnlink, "a");
  fails(60, 70, Kind::kStat, ENOENT, "a");
  EXPECT_TRUE(is_legal());
  EXPECT_FALSE(is_legal({.forget_after = std::chrono::nanoseconds(20)}));
}

TEST_F(DirectoryHistory, a_creation_that_was_never_answered_made_some_file) {
  add(1, kNever, Kind::kCreate, "a");
  lists(2, 3, {{"a", 7}});
  add(4, 5, Kind::kLink, "a", "b");
  stats(5, 6, "b", 7, 2);
  stats(7, 8, "a", 7, 2);
  EXPECT_TRUE(is_legal());
  stats(9, 10, "a", 8, 1);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, a_creation_that_was_never_answered_does_not_make_an_old_file) {
  opens(1, 2, Kind::kCreate, "a", 7);
  add(3, 4, Kind::kUnlink, "a");
  add(5, kNever, Kind::kCreate, "a");
  stats(6, 7, "a", 7, 1);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, an_answer_without_an_inode_is_not_legal) {
  opens(1, 2, Kind::kLookup, "a", 0);
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, an_unexpected_error_is_not_legal) {
  opens(1, 2, Kind::kCreate, "a", 7);
  fails(3, 4, Kind::kStat, EIO, "a");
  EXPECT_FALSE(is_legal());
}

TEST_F(DirectoryHistory, too_much_at_once_is_undecided) {
  for (int i = 0; i < 3; ++i) {
    add(1, 9, Kind::kRename, "a", "b");
    add(1, 9, Kind::kRename, "b", "c");
    add(1, 9, Kind::kRename, "c", "a");
  }
  opens(2, 3, Kind::kOpen, "a", 7);
  Directory directory({"a", "b", "c"});
  const auto found = check(directory, history(), {.configurations_max = 50});
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->is_undecided);
}

TEST_F(DirectoryHistory, much_that_was_never_answered_does_not_make_a_check_long) {
  opens(1, 2, Kind::kCreate, "a", 7);
  for (int i = 0; i < 15; ++i) {
    add(3, kNever, Kind::kRename, "a", "b");
    add(3, kNever, Kind::kRename, "b", "a");
  }
  for (int i = 4; i < 24; i += 2) {
    stats(i, i + 1, "a", 7, 1);
  }
  stats(25, 26, "b", 7, 1);
  Directory directory({"a", "b", "c"});
  EXPECT_FALSE(check(directory, history(), {.configurations_max = 1000}));
}

TEST_F(DirectoryHistory, a_contradiction_shows_what_concerns_it) {
  opens(1, 2, Kind::kCreate, "c", 6);
  opens(3, 4, Kind::kCreate, "a", 7);
  add(5, 6, Kind::kUnlink, "a");
  opens(7, 12, Kind::kCreate, "b", 8);
  stats(8, 9, "a", 7, 1);
  Directory directory({"a", "b", "c"});
  const auto found = check(directory, history());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->operation, history().back());
  // Each process did one thing only, so its newest is shown, too.
  ASSERT_EQ(found->window.size(), 5u);
  EXPECT_EQ(found->window.back(), history().back());
  EXPECT_EQ(found->states.size(), 2u);
  EXPECT_EQ(directory.describe(found->states.front()), "a=- b=- c=6");
}

}  // namespace
}  // namespace dfs::coherence
