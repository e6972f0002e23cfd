// NameCache: which names are known, and which are known not to be there.
#include "fuse-client/core/name_cache.h"

#include <gtest/gtest.h>

#include "tests/sim/sim_events.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::client {
namespace {

using Answer = NameCache::Answer;
constexpr InodeId kDirectory{2};

class NameCacheTest : public testing::Test {
 protected:
  Told leased() { return {scheduler.now(), true}; }
  void pass_time() { events.run_for(std::chrono::milliseconds(1)); }
  static ReadDirectoryReply page(const std::vector<std::pair<std::string, std::uint64_t>>& names,
                                 bool end) {
    ReadDirectoryReply reply;
    for (const auto& [name, cookie] : names) {
      DirectoryEntry entry;
      entry.name = name;
      entry.cookie = cookie;
      entry.attributes.inode = InodeId{1000 + cookie};
      reply.entries.push_back(entry);
    }
    reply.end = end;
    return reply;
  }
  Answer answer(const std::string& name) { return names.find(kDirectory, name).first; }

  sim::SimEvents events;
  sim::SimScheduler scheduler{events};
  NameCache names{scheduler, 10};
};

TEST_F(NameCacheTest, what_came_without_a_lease_is_not_kept) {
  names.learn(kDirectory, "a", InodeId{5}, {scheduler.now(), false});
  EXPECT_EQ(answer("a"), Answer::kUnknown);
  names.learn(kDirectory, "a", InodeId{5}, leased());
  EXPECT_EQ(names.find(kDirectory, "a"), std::pair(Answer::kPresent, InodeId{5}));
  EXPECT_EQ(answer("b"), Answer::kUnknown);
}

TEST_F(NameCacheTest, answers_asked_for_before_a_change_do_not_count) {
  const Told before = leased();
  pass_time();
  names.forget_name(kDirectory, "a");
  names.learn(kDirectory, "a", InodeId{5}, before);
  EXPECT_EQ(answer("a"), Answer::kUnknown);
  const Told early = leased();
  pass_time();
  names.forget(kDirectory);
  names.learn(kDirectory, "a", InodeId{5}, early);
  EXPECT_EQ(answer("a"), Answer::kUnknown);
}

TEST_F(NameCacheTest, listed_from_first_to_last_tells_what_is_absent) {
  names.learn_page(kDirectory, 0, page({{"a", 16}, {"b", 17}}, false), leased());
  EXPECT_EQ(answer("x"), Answer::kUnknown);
  names.learn_page(kDirectory, 17, page({{"c", 30}}, true), leased());
  EXPECT_EQ(answer("x"), Answer::kAbsent);
  EXPECT_EQ(names.find(kDirectory, "c"), std::pair(Answer::kPresent, InodeId{1030}));
}

TEST_F(NameCacheTest, a_listing_with_a_gap_or_a_change_in_it_is_not_whole) {
  names.learn_page(kDirectory, 0, page({{"a", 16}}, false), leased());
  names.learn_page(kDirectory, 20, page({{"c", 30}}, true), leased());
  EXPECT_EQ(answer("x"), Answer::kUnknown);
  names.learn_page(kDirectory, 0, page({{"a", 16}}, false), leased());
  names.forget_name(kDirectory, "b");
  pass_time();
  names.learn_page(kDirectory, 16, page({{"c", 30}}, true), leased());
  EXPECT_EQ(answer("x"), Answer::kUnknown);
}

TEST_F(NameCacheTest, own_changes_keep_a_directory_whole) {
  names.learn_new_directory(kDirectory);
  EXPECT_EQ(answer("a"), Answer::kAbsent);
  names.changed(kDirectory, "a", InodeId{7}, leased());
  EXPECT_EQ(answer("a"), Answer::kPresent);
  names.changed(kDirectory, "a", InodeId{}, leased());
  EXPECT_EQ(answer("a"), Answer::kAbsent);
  names.forget_name(kDirectory, "a");
  EXPECT_EQ(answer("a"), Answer::kUnknown);
  EXPECT_EQ(answer("b"), Answer::kUnknown);
}

TEST_F(NameCacheTest, above_the_limit_the_directory_unused_longest_goes) {
  names.learn(InodeId{3}, "old", InodeId{5}, leased());
  for (int i = 0; i < 10; ++i) {
    names.learn(kDirectory, std::to_string(i), InodeId{5}, leased());
  }
  EXPECT_EQ(names.find(InodeId{3}, "old").first, Answer::kUnknown);
  EXPECT_EQ(names.name_count(), 10u);
  names.learn(kDirectory, "one more", InodeId{5}, leased());
  EXPECT_LE(names.name_count(), 10u);
}

// Answers may overtake each other: a create, and a rename of what it found, say.
TEST_F(NameCacheTest, of_two_changes_of_a_name_at_once_neither_outcome_is_known) {
  const Told first = leased();
  const Told second = leased();
  pass_time();
  names.changed(kDirectory, "a", InodeId{}, second);
  names.changed(kDirectory, "b", InodeId{7}, second);
  pass_time();
  names.changed(kDirectory, "a", InodeId{7}, first);
  EXPECT_EQ(answer("a"), Answer::kUnknown);
  EXPECT_EQ(answer("b"), Answer::kPresent);

  pass_time();
  names.changed(kDirectory, "a", InodeId{8}, leased());
  EXPECT_EQ(answer("a"), Answer::kPresent);
}

TEST_F(NameCacheTest, a_change_that_was_under_way_for_many_others_is_not_known) {
  const Told first = leased();
  pass_time();
  for (std::size_t i = 0; i < kAnsweredChangesMax; ++i) {
    names.changed(kDirectory, std::to_string(i), InodeId{}, leased());
  }
  pass_time();
  names.changed(kDirectory, "a", InodeId{7}, first);
  EXPECT_EQ(answer("a"), Answer::kUnknown);
}

TEST_F(NameCacheTest, however_many_own_changes_keep_a_directory_whole) {
  names.learn_new_directory(kDirectory);
  for (std::size_t i = 0; i < 3 * kAnsweredChangesMax; ++i) {
    const Told told = leased();
    pass_time();
    names.changed(kDirectory, std::to_string(i), InodeId{}, told);
    ASSERT_EQ(answer("x"), Answer::kAbsent) << i;
  }
}

TEST_F(NameCacheTest, an_own_change_overtaken_long_ago_is_remembered_as_such) {
  const Told first = leased();
  pass_time();
  names.changed(kDirectory, "a", InodeId{}, leased());
  for (std::size_t i = 0; i < kAnsweredChangesMax * 3 / 4; ++i) {
    names.changed(kDirectory, std::to_string(i), InodeId{}, leased());
  }
  names.changed(kDirectory, "a", InodeId{7}, first);
  EXPECT_EQ(answer("a"), Answer::kUnknown);
}

}  // namespace
}  // namespace dfs::client
