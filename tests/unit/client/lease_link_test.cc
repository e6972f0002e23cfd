// LeaseLink against a master that answers as the test wants: no notice goes unheard.
#include "fuse-client/core/lease_link.h"

#include "tests/unit/client/master_link_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr InodeId kFile{9};
constexpr Duration kSoon = milliseconds(100);  // before anything is sent again

class LeaseLinkTest : public MasterLinkTest {
 protected:
  void SetUp() override {
    start();
    link_.leases().on_events({.kept = [] { return std::vector{kFile}; },
                              .written = {},
                              .drop =
                                  [this](const std::vector<LeaseChange>&, NoticeOutcome outcome) {
                                    dropped_.push_back(std::move(outcome.dropped));
                                    held_up_.push_back(std::move(outcome.held_up));
                                  },
                              .doubt = {},
                              .lost = {}});
    ASSERT_TRUE(is_polled(1));
  }
  bool is_polled(std::size_t times) {
    return events_.run_until([&] { return polls_.size() >= times; }, kSoon);
  }
  void notice(std::size_t poll, std::uint64_t number) {
    const LeaseChange change{.inode = kFile, .contents = false, .names = {}, .new_names = {}};
    server_->reply(polls_.at(poll).first,
                   WaitForNoticesReply{.incarnation = incarnation_,
                                       .notices = {{.number = number, .changes = {change}}}});
  }
  void make_way(std::size_t poll) {
    server_->reply(polls_.at(poll).first, WaitForNoticesReply{.incarnation = incarnation_});
  }

  std::vector<std::function<void()>> dropped_;
  std::vector<std::function<void()>> held_up_;
};

TEST_F(LeaseLinkTest, a_notice_is_acknowledged_when_it_was_dropped) {
  notice(0, kFirstNotice + 1);
  ASSERT_TRUE(is_polled(2));
  EXPECT_EQ(polls_[1].second.received, kFirstNotice + 1);
  EXPECT_EQ(polls_[1].second.handled, kFirstNotice);
  ASSERT_EQ(dropped_.size(), 1u);
  dropped_[0]();
  ASSERT_TRUE(is_polled(3));
  EXPECT_EQ(polls_[2].second.handled, kFirstNotice + 1);
}

TEST_F(LeaseLinkTest, a_notice_that_is_held_up_is_told_of_until_that_was_heard) {
  notice(0, kFirstNotice + 1);
  ASSERT_TRUE(is_polled(2));
  EXPECT_TRUE(polls_[1].second.held_up.empty());
  held_up_.at(0)();
  ASSERT_TRUE(is_polled(3));
  EXPECT_EQ(polls_[2].second.held_up, std::vector{kFirstNotice + 1});
  EXPECT_EQ(polls_[2].second.handled, kFirstNotice);
  notice(2, kFirstNotice + 2);
  ASSERT_TRUE(is_polled(4));
  EXPECT_TRUE(polls_[3].second.held_up.empty());
  dropped_.at(1)();
  ASSERT_TRUE(is_polled(5));
  dropped_.at(0)();
  held_up_.at(0)();
  ASSERT_TRUE(is_polled(6));
  EXPECT_EQ(polls_[5].second.handled, kFirstNotice + 2);
  EXPECT_TRUE(polls_[5].second.held_up.empty());
}

TEST_F(LeaseLinkTest, a_notice_of_a_master_that_is_gone_is_not_held_up) {
  notice(0, kFirstNotice + 1);
  ASSERT_TRUE(is_polled(2));
  kill_master();
  start_master(2);
  ASSERT_TRUE(run_until([&] { return polls_.back().second.incarnation == 2; }));
  const std::size_t polls = polls_.size();
  held_up_.at(0)();
  EXPECT_FALSE(is_polled(polls + 1));
}

TEST_F(LeaseLinkTest, a_poll_that_made_way_for_a_newer_one_is_not_asked_again) {
  notice(0, kFirstNotice + 1);
  ASSERT_TRUE(is_polled(2));
  dropped_.at(0)();
  ASSERT_TRUE(is_polled(3));
  make_way(1);
  EXPECT_FALSE(is_polled(4));
}

// The late copy of an older poll takes the place of the newer one at the master; its own answer
// was "make way", too.
TEST_F(LeaseLinkTest, somebody_listens_also_when_a_late_copy_took_the_place_of_the_newest_poll) {
  notice(0, kFirstNotice + 1);
  ASSERT_TRUE(is_polled(2));
  dropped_.at(0)();
  ASSERT_TRUE(is_polled(3));
  make_way(1);
  make_way(2);
  ASSERT_TRUE(is_polled(4));
  notice(3, kFirstNotice + 2);
  EXPECT_TRUE(is_polled(5));
  EXPECT_EQ(dropped_.size(), 2u);
}

TEST_F(LeaseLinkTest, a_reclaim_that_failed_is_told_again) {
  kill_master();
  reclaim_refusals_ = 1;
  start_master(2);
  ASSERT_TRUE(run_until([&] { return polls_.back().second.incarnation == 2; }));
  EXPECT_EQ(reclaims_.size(), 3u);
  EXPECT_EQ(reclaims_.back().incarnation, 2u);
  EXPECT_EQ(reclaims_.back().inodes, std::vector{kFile});
}

}  // namespace
}  // namespace dfs::client
