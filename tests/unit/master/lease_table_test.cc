// LeaseTable alone.
#include "master/core/lease_table.h"

#include <gtest/gtest.h>

namespace dfs::master {
namespace {

constexpr std::uint64_t kFirst = 1000;
constexpr SessionId kAnn{1};
constexpr SessionId kBob{2};
constexpr SessionId kCid{3};
constexpr InodeId kFile{10};
constexpr InodeId kDirectory{20};

Attributes file(InodeId inode) {
  Attributes attributes;
  attributes.inode = inode;
  attributes.mode = kModeRegular | 0644;
  return attributes;
}

Attributes directory(InodeId inode) {
  Attributes attributes;
  attributes.inode = inode;
  attributes.mode = kModeDirectory | 0755;
  return attributes;
}

LeaseChange change_of(InodeId inode, bool contents = false, std::vector<std::string> names = {}) {
  return {.inode = inode, .contents = contents, .names = std::move(names), .new_names = {}};
}

class LeaseTableTest : public testing::Test {
 protected:
  std::vector<LeaseTable::Awaited> announce(SessionId by, const std::vector<LeaseChange>& changes) {
    std::vector<LeaseTable::Awaited> awaited;
    table.announce(by, changes, noticed, awaited);
    return awaited;
  }

  LeaseTable table{kFirst, 100};
  LeaseTable::Noticed noticed;
};

TEST_F(LeaseTableTest, change_waits_for_every_other_holder) {
  ASSERT_TRUE(table.grant(kAnn, file(kFile)));
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  ASSERT_TRUE(table.grant(kCid, file(kFile)));
  const auto awaited = announce(kAnn, {change_of(kFile, true)});
  ASSERT_EQ(awaited.size(), 2u);
  EXPECT_FALSE(table.is_acknowledged(awaited[0]));
  EXPECT_EQ(table.take_unsent(), (std::set<SessionId>{kBob, kCid}));
  table.acknowledge(kBob, table.number(kBob));
  EXPECT_TRUE(table.is_acknowledged(awaited[0]));
  EXPECT_FALSE(table.is_acknowledged(awaited[1]));
  table.forget(kCid);
  EXPECT_TRUE(table.is_acknowledged(awaited[1]));
}

TEST_F(LeaseTableTest, nobody_is_told_what_he_does_not_hold) {
  ASSERT_TRUE(table.grant(kBob, file(InodeId{11})));
  EXPECT_TRUE(announce(kAnn, {change_of(kFile, true)}).empty());
  EXPECT_TRUE(table.take_unsent().empty());
}

TEST_F(LeaseTableTest, a_change_is_announced_to_each_holder_once) {
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  EXPECT_EQ(announce(kAnn, {change_of(kDirectory, false, {"a"})}).size(), 1u);
  EXPECT_TRUE(announce(kAnn, {change_of(kDirectory, false, {"a"})}).empty());
}

TEST_F(LeaseTableTest, lease_ends_with_contents_and_outlives_other_changes) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  announce(kAnn, {change_of(kFile, false)});
  table.acknowledge(kBob, table.number(kBob));
  EXPECT_EQ(table.count(), 1u);
  noticed.clear();
  announce(kAnn, {change_of(kFile, true)});
  EXPECT_EQ(table.count(), 1u);  // until it is acknowledged
  table.acknowledge(kBob, table.number(kBob));
  EXPECT_EQ(table.count(), 0u);
  noticed.clear();
  EXPECT_TRUE(announce(kAnn, {change_of(kFile, true)}).empty());
}

TEST_F(LeaseTableTest, nothing_is_granted_of_what_a_change_waits_for) {
  table.begin_waiting({change_of(kFile)});
  table.begin_waiting({change_of(kFile)});
  EXPECT_FALSE(table.grant(kBob, file(kFile)));
  table.end_waiting({change_of(kFile)});
  EXPECT_FALSE(table.grant(kBob, file(kFile)));
  table.end_waiting({change_of(kFile)});
  EXPECT_TRUE(table.grant(kBob, file(kFile)));
}

TEST_F(LeaseTableTest, notices_come_in_order_and_until_they_are_acknowledged) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  announce(kAnn, {change_of(kFile, true)});
  announce(kAnn, {change_of(kDirectory, false, {"x"})});
  const auto both = table.notices(kBob, kFirst);
  EXPECT_EQ(both.number, kFirst + 2);
  ASSERT_EQ(both.changes.size(), 2u);
  EXPECT_EQ(both.changes[0], change_of(kFile, true));
  const auto second = table.notices(kBob, kFirst + 1);
  ASSERT_EQ(second.changes.size(), 1u);
  EXPECT_EQ(second.changes[0], change_of(kDirectory, false, {"x"}));
  EXPECT_TRUE(table.has_yet_to_drop(kBob, kFile));
  table.acknowledge(kBob, kFirst + 1);
  EXPECT_FALSE(table.has_yet_to_drop(kBob, kFile));
  EXPECT_TRUE(table.has_yet_to_drop(kBob, kDirectory));
  EXPECT_TRUE(table.notices(kBob, kFirst + 2).changes.empty());
}

TEST_F(LeaseTableTest, above_the_limit_the_oldest_files_of_the_largest_holder_are_recalled) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(table.grant(kBob, file(InodeId{100 + i})));
  }
  EXPECT_FALSE(table.grant(kAnn, file(kFile)));
  const auto notices = table.notices(kBob, kFirst);
  ASSERT_FALSE(notices.changes.empty());
  EXPECT_EQ(notices.changes[0], change_of(InodeId{100}, true));
  table.acknowledge(kBob, notices.number);
  EXPECT_TRUE(table.grant(kAnn, file(kFile)));
  EXPECT_LE(table.count(), 100u);
}

TEST_F(LeaseTableTest, a_lease_being_taken_back_is_not_granted_before_that_is_acknowledged) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  announce(kAnn, {change_of(kFile, true)});  // and the change is withdrawn: nothing waits
  EXPECT_FALSE(table.grant(kBob, file(kFile)));
  table.acknowledge(kBob, table.number(kBob));
  EXPECT_TRUE(table.grant(kBob, file(kFile)));
  noticed.clear();
  EXPECT_EQ(announce(kAnn, {change_of(kFile, true)}).size(), 1u);
}

TEST_F(LeaseTableTest, reclaimed_leases_count_and_late_pages_do_not) {
  table.expect_reclaim(kBob);
  EXPECT_FALSE(table.have_all_reclaimed());
  ASSERT_TRUE(table.reclaim(kBob, {.incarnation = 1, .page = 1, .pages = 2, .inodes = {kFile}}));
  EXPECT_FALSE(table.have_all_reclaimed());
  ASSERT_TRUE(table.reclaim(kBob, {.incarnation = 1, .page = 0, .pages = 2, .inodes = {}}));
  EXPECT_TRUE(table.have_all_reclaimed());
  ASSERT_TRUE(
      table.reclaim(kBob, {.incarnation = 1, .page = 0, .pages = 2, .inodes = {kDirectory}}));
  EXPECT_EQ(announce(kAnn, {change_of(kFile, true), change_of(kDirectory)}).size(), 1u);
  EXPECT_EQ(table.count(), 1u);
}

TEST_F(LeaseTableTest, what_is_gone_is_held_by_nobody) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  ASSERT_TRUE(table.grant(kAnn, file(kFile)));
  table.erase(kFile);
  EXPECT_EQ(table.count(), 0u);
  table.forget(kBob);
  EXPECT_EQ(table.count(), 0u);
}

}  // namespace
}  // namespace dfs::master
