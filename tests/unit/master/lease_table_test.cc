// LeaseTable alone.
#include "master/core/lease_table.h"

#include <gtest/gtest.h>

#include "tests/sim/sim_scheduler.h"

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

LeaseChange settling(InodeId inode) {
  return {.inode = inode, .contents = false, .settle = true, .names = {}, .new_names = {}};
}

class LeaseTableTest : public testing::Test {
 protected:
  std::vector<LeaseTable::Awaited> announce(SessionId by, const std::vector<LeaseChange>& changes) {
    std::vector<LeaseTable::Awaited> awaited;
    table.announce(by, changes, noticed, awaited);
    return awaited;
  }

  void acknowledge(SessionId session, std::uint64_t handled,
                   std::vector<std::uint64_t> also_handled = {}) {
    table.acknowledge(session, {.incarnation = 1,
                                .received = handled,
                                .handled = handled,
                                .also_handled = std::move(also_handled)});
  }

  sim::SimEvents events;
  sim::SimScheduler scheduler{events};
  LeaseTable table{scheduler, kFirst, 100};
  LeaseTable::Noticed noticed;
};

TEST_F(LeaseTableTest, change_waits_for_every_other_holder) {
  ASSERT_TRUE(table.grant(kAnn, file(kFile)));
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  ASSERT_TRUE(table.grant(kCid, file(kFile)));
  const auto awaited = announce(kAnn, {change_of(kFile, true)});
  ASSERT_EQ(awaited.size(), 2u);
  EXPECT_FALSE(table.is_acknowledged(awaited[0]));
  EXPECT_EQ(table.unhandled_count(), 2u);
  EXPECT_EQ(table.take_unsent(), (std::set<SessionId>{kBob, kCid}));
  acknowledge(kBob, table.number(kBob));
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

TEST_F(LeaseTableTest, who_keeps_a_name_is_told_what_it_stood_for) {
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  announce(kAnn, {change_of(kDirectory, false, {"a"}), change_of(kFile)});
  const auto told = table.notices(kBob, kFirst).at(0).changes;
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[1].inode, kFile);
}

TEST_F(LeaseTableTest, a_name_that_is_made_while_a_change_waits_is_announced_when_that_goes_on) {
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  EXPECT_EQ(announce(kAnn, {change_of(kDirectory, false, {"a"})}).size(), 1u);
  EXPECT_EQ(announce(kAnn, {change_of(kDirectory, false, {"a", "b"})}).size(), 1u);
  EXPECT_TRUE(announce(kAnn, {change_of(kDirectory, false, {"a", "b"})}).empty());
}

TEST_F(LeaseTableTest, a_change_is_announced_to_each_holder_once) {
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  EXPECT_EQ(announce(kAnn, {change_of(kDirectory, false, {"a"})}).size(), 1u);
  EXPECT_TRUE(announce(kAnn, {change_of(kDirectory, false, {"a"})}).empty());
}

TEST_F(LeaseTableTest, lease_ends_with_contents_and_outlives_other_changes) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  announce(kAnn, {change_of(kFile, false)});
  acknowledge(kBob, table.number(kBob));
  EXPECT_EQ(table.count(), 1u);
  noticed.clear();
  announce(kAnn, {change_of(kFile, true)});
  EXPECT_EQ(table.count(), 1u);  // until it is acknowledged
  acknowledge(kBob, table.number(kBob));
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

TEST_F(LeaseTableTest, nothing_is_granted_of_what_was_changed_before_all_have_dropped_it) {
  for (const bool is_forgotten : {false, true}) {
    ASSERT_TRUE(table.grant(kBob, file(kFile)));
    noticed.clear();
    const auto awaited = announce(kAnn, {change_of(kFile, true)});
    ASSERT_EQ(awaited.size(), 1u);
    EXPECT_FALSE(table.is_held_up(awaited[0]));
    table.acknowledge(kBob, {.incarnation = 1, .held_up = {awaited[0].number, 77}});
    EXPECT_TRUE(table.is_held_up(awaited[0]));
    table.pass(awaited[0], kFile);
    table.pass(awaited[0], kFile);
    EXPECT_TRUE(table.is_changing(kFile));
    EXPECT_FALSE(table.grant(kCid, file(kFile)));
    EXPECT_TRUE(table.may_store(kBob, kFile, 0));
    if (is_forgotten) {
      table.forget(kBob);
    } else {
      acknowledge(kBob, awaited[0].number);
    }
    EXPECT_FALSE(table.is_held_up(awaited[0]));
    EXPECT_TRUE(table.grant(kCid, file(kFile)));
    table.forget(kCid);
  }
}

TEST_F(LeaseTableTest, notices_come_in_order_and_until_they_are_acknowledged) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  announce(kAnn, {change_of(kFile, true)});
  announce(kAnn, {change_of(kDirectory, false, {"x"})});
  const auto both = table.notices(kBob, kFirst);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[1].number, kFirst + 2);
  EXPECT_EQ(both[0].changes, std::vector{change_of(kFile, true)});
  const auto second = table.notices(kBob, kFirst + 1);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].changes, std::vector{change_of(kDirectory, false, {"x"})});
  EXPECT_TRUE(table.has_yet_to_drop(kBob, kFile));
  acknowledge(kBob, kFirst + 1);
  EXPECT_FALSE(table.has_yet_to_drop(kBob, kFile));
  EXPECT_TRUE(table.has_yet_to_drop(kBob, kDirectory));
  EXPECT_TRUE(table.notices(kBob, kFirst + 2).empty());
}

TEST_F(LeaseTableTest, above_the_limit_the_oldest_files_of_the_largest_holder_are_recalled) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(table.grant(kBob, file(InodeId{100 + i})));
  }
  EXPECT_FALSE(table.grant(kAnn, file(kFile)));
  const auto notices = table.notices(kBob, kFirst);
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_EQ(notices[0].changes[0], change_of(InodeId{100}, true));
  acknowledge(kBob, notices[0].number);
  EXPECT_TRUE(table.grant(kAnn, file(kFile)));
  EXPECT_LE(table.count(), 100u);
}

TEST_F(LeaseTableTest, a_lease_being_taken_back_is_not_granted_before_that_is_acknowledged) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  announce(kAnn, {change_of(kFile, true)});  // and the change is withdrawn: nothing waits
  EXPECT_FALSE(table.grant(kBob, file(kFile)));
  acknowledge(kBob, table.number(kBob));
  EXPECT_TRUE(table.grant(kBob, file(kFile)));
  noticed.clear();
  EXPECT_EQ(announce(kAnn, {change_of(kFile, true)}).size(), 1u);
}

// --- Write leases --------------------------------------------------------------------------------

TEST_F(LeaseTableTest, a_slow_notice_does_not_hold_up_the_acknowledgement_of_others) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  ASSERT_TRUE(table.grant(kBob, directory(kDirectory)));
  const auto slow = announce(kAnn, {change_of(kFile, true)});
  const auto quick = announce(kAnn, {change_of(kDirectory)});
  acknowledge(kBob, kFirst, {kFirst + 2});
  EXPECT_FALSE(table.is_acknowledged(slow.at(0)));
  EXPECT_TRUE(table.is_acknowledged(quick.at(0)));
  acknowledge(kBob, kFirst + 2);
  EXPECT_TRUE(table.is_acknowledged(slow.at(0)));
}

TEST_F(LeaseTableTest, who_writes_is_alone_and_shares_again_when_settled) {
  const std::uint64_t epoch = table.begin_writing(kAnn, kFile);
  EXPECT_EQ(table.write_epoch(kAnn, kFile), epoch);
  EXPECT_TRUE(table.is_written_by_other(kBob, kFile));
  EXPECT_FALSE(table.grant(kBob, file(kFile)));
  const auto awaited = announce(kBob, {settling(kFile)});
  ASSERT_EQ(awaited.size(), 1u);
  EXPECT_EQ(table.notices(kAnn, kFirst).at(0).changes, std::vector{settling(kFile)});
  acknowledge(kAnn, table.number(kAnn));
  EXPECT_TRUE(table.is_acknowledged(awaited[0]));
  EXPECT_EQ(table.write_epoch(kAnn, kFile), 0u);
  EXPECT_TRUE(table.grant(kBob, file(kFile)));
  EXPECT_EQ(table.count(), 2u);
}

TEST_F(LeaseTableTest, only_the_writer_hears_that_it_must_settle) {
  ASSERT_TRUE(table.grant(kBob, file(kFile)));
  EXPECT_TRUE(announce(kAnn, {settling(kFile)}).empty());
}

TEST_F(LeaseTableTest, any_change_by_others_ends_a_write_lease) {
  table.begin_writing(kAnn, kFile);
  EXPECT_EQ(announce(kBob, {change_of(kFile)}).size(), 1u);
  EXPECT_EQ(table.notices(kAnn, kFirst).at(0).changes, std::vector{change_of(kFile, true)});
  acknowledge(kAnn, table.number(kAnn));
  EXPECT_EQ(table.count(), 0u);
}

// A change that waits was told to the lease before: the new one has not heard of it.
TEST_F(LeaseTableTest, a_write_lease_taken_while_a_change_waits_hears_of_it) {
  ASSERT_TRUE(table.grant(kAnn, file(kFile)));
  EXPECT_EQ(announce(kBob, {change_of(kFile)}).size(), 1u);
  acknowledge(kAnn, table.number(kAnn));  // attributes alone: the lease goes on
  table.begin_writing(kAnn, kFile);
  EXPECT_EQ(announce(kBob, {change_of(kFile)}).size(), 1u);
}

// The kernel has pages that were written to by way of memory, and stores them when they are
// dropped.
TEST_F(LeaseTableTest, who_has_yet_to_drop_a_file_may_store_it) {
  ASSERT_TRUE(table.grant(kAnn, file(kFile)));
  EXPECT_FALSE(table.may_store(kAnn, kFile, 0));
  announce(kBob, {change_of(kFile, true)});
  EXPECT_TRUE(table.may_store(kAnn, kFile, 0));
  acknowledge(kAnn, table.number(kAnn));
  EXPECT_FALSE(table.may_store(kAnn, kFile, 0));
}

TEST_F(LeaseTableTest, who_has_not_heard_of_his_write_lease_may_store_before_he_drops_the_file) {
  table.begin_writing(kAnn, kFile);
  EXPECT_FALSE(table.may_store(kAnn, kFile, 0));
  announce(kBob, {change_of(kFile, true)});
  EXPECT_TRUE(table.may_store(kAnn, kFile, 0));
}

// Between its acknowledgements it may read, and write to pages, what it is told again to drop.
TEST_F(LeaseTableTest, a_lease_lasts_until_all_notices_that_take_it_are_acknowledged) {
  ASSERT_TRUE(table.grant(kAnn, file(kFile)));
  announce(kBob, {change_of(kFile, true)});
  const std::uint64_t first = table.number(kAnn);
  LeaseTable::Noticed of_cid;
  std::vector<LeaseTable::Awaited> awaited;
  table.announce(kCid, {change_of(kFile, true)}, of_cid, awaited);
  acknowledge(kAnn, first);
  EXPECT_TRUE(table.may_store(kAnn, kFile, 0));
  const auto by_bob = announce(kBob, {change_of(kFile, true)});
  ASSERT_EQ(by_bob.size(), 1u) << "Bob waits for the other notice, too";
  EXPECT_FALSE(table.is_acknowledged(by_bob.front()));
  EXPECT_TRUE(announce(kBob, {change_of(kFile)}).empty()) << "attributes alone need not";
  acknowledge(kAnn, table.number(kAnn));
  EXPECT_TRUE(table.is_acknowledged(by_bob.front()));
  EXPECT_FALSE(table.may_store(kAnn, kFile, 0));
  EXPECT_FALSE(table.is_held_by_others(kBob, kFile));
}

TEST_F(LeaseTableTest, a_write_lease_goes_with_its_session_and_its_file) {
  table.begin_writing(kAnn, kFile);
  table.forget(kAnn);
  table.begin_writing(kBob, kFile);
  table.erase(kFile);
  const std::uint64_t epoch = table.begin_writing(kCid, kFile);
  EXPECT_EQ(table.write_epoch(kCid, kFile), epoch);
  EXPECT_EQ(table.written_count(), 1u);
}

// What was written under one is not stored under the next, even of the same session.
TEST_F(LeaseTableTest, each_write_lease_stores_what_was_written_under_it) {
  const std::uint64_t first = table.begin_writing(kAnn, kFile);
  EXPECT_TRUE(table.may_store(kAnn, kFile, first));
  EXPECT_FALSE(table.may_store(kAnn, kFile, 0));
  EXPECT_FALSE(table.may_store(kBob, kFile, first));
  EXPECT_EQ(table.begin_writing(kAnn, kFile), first) << "a copy of the question";
  table.forget(kAnn);
  const std::uint64_t second = table.begin_writing(kAnn, kFile);
  EXPECT_FALSE(table.may_store(kAnn, kFile, first));
  EXPECT_TRUE(table.may_store(kAnn, kFile, second));
}

TEST_F(LeaseTableTest, write_leases_are_reclaimed) {
  table.expect_reclaim(kBob);
  ReclaimLeasesRequest page{
      .incarnation = 1, .page = 0, .pages = 1, .inodes = {}, .written = {kFile}, .epochs = {}};
  EXPECT_EQ(table.reclaim(kBob, page).code(), ErrorCode::kInvalidArgument);
  page.epochs = {77};
  ASSERT_TRUE(table.reclaim(kBob, page));
  EXPECT_EQ(table.write_epoch(kBob, kFile), 77u);
  EXPECT_EQ(table.count(), 1u);
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
