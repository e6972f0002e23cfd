#include <algorithm>
#include <optional>

#include "tests/unit/client/master_link_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(MasterLinkTest, start_fails_when_nobody_answers) {
  kill_master();
  std::optional<Status> started;
  link_.start(seconds(3), [&](Status status) { started = std::move(status); });
  EXPECT_FALSE(started.has_value());
  ASSERT_TRUE(run_until([&] { return started.has_value(); }));
  EXPECT_EQ(started->code(), ErrorCode::kUnavailable);
}

TEST_F(MasterLinkTest, changes_are_numbered_and_acknowledged_once_all_before_are_answered) {
  start();
  for (int i = 0; i < 3; ++i) {
    call(SetAttributesRequest{});
  }
  ASSERT_TRUE(answered(3));
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(4));
  ASSERT_EQ(seen_.size(), 4u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen_[i].envelope.sequence, i + 1);
    EXPECT_EQ(seen_[i].envelope.acknowledged, 0u);
  }
  EXPECT_EQ(seen_[3].envelope.sequence, 0u);
  EXPECT_EQ(seen_[3].envelope.acknowledged, 3u);
}

TEST_F(MasterLinkTest, no_more_changes_are_unanswered_than_the_master_keeps_answers_for) {
  start();
  is_silent_ = true;
  for (std::size_t i = 0; i < kUnsettledMax + 100; ++i) {
    call(SetAttributesRequest{});
  }
  events_.run_for(milliseconds(100));
  std::uint64_t highest = 0;
  for (const RpcRequest& request : seen_) {
    highest = std::max(highest, request.envelope.sequence);
  }
  EXPECT_LE(highest, kUnsettledMax);
  is_silent_ = false;
  EXPECT_TRUE(answered(kUnsettledMax + 100));
}

TEST_F(MasterLinkTest, calls_wait_for_a_master_that_restarts) {
  start();
  kill_master();
  call(SetAttributesRequest{});
  call(GetAttributesRequest{});
  events_.run_for(seconds(20));
  EXPECT_TRUE(codes_.empty());
  start_master(2);
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(codes_, (std::vector{ErrorCode::kOk, ErrorCode::kOk}));
}

TEST_F(MasterLinkTest, a_restarted_master_is_told_every_pin) {
  start();
  link_.leases().on_events({.kept = [] { return std::vector{InodeId{7}}; },
                            .written =
                                [] {
                                  return std::vector{WrittenFile{InodeId{8}, 44}};
                                },
                            .drop = {},
                            .doubt = {},
                            .lost = {}});
  link_.pin(InodeId{5});
  link_.pin(InodeId{6});
  events_.run_for(seconds(1));
  kill_master();
  start_master(2);
  ASSERT_TRUE(run_until([&] { return !keep_alives_.empty() && keep_alives_.back().full; }));
  EXPECT_EQ(keep_alives_.back().pinned, (std::vector{InodeId{5}, InodeId{6}}));
  ASSERT_TRUE(run_until([&] { return reclaims_.size() == 2; }));
  EXPECT_EQ(reclaims_.back().incarnation, 2u);
  EXPECT_EQ(reclaims_.back().inodes, std::vector{InodeId{7}});
  EXPECT_EQ(reclaims_.back().written, std::vector{InodeId{8}});
  EXPECT_EQ(reclaims_.back().epochs, std::vector<std::uint64_t>{44});
}

// Its first answer was lost and the master started anew meanwhile: it waits to be told.
TEST_F(MasterLinkTest, a_session_that_was_there_before_is_told_all) {
  session_was_there_ = true;
  int told = 0;
  link_.on_must_tell([&] { ++told; });
  start();
  EXPECT_EQ(told, 1);
  ASSERT_TRUE(run_until([&] { return !keep_alives_.empty(); }));
  EXPECT_TRUE(keep_alives_.front().full);
}

TEST_F(MasterLinkTest, a_pin_is_told_within_its_delay_and_an_unpin_later) {
  start();
  link_.pin(InodeId{5});
  events_.run_for(kPinDelay + milliseconds(5));
  ASSERT_EQ(keep_alives_.size(), 1u);
  EXPECT_EQ(keep_alives_[0].pinned, std::vector{InodeId{5}});
  link_.unpin(InodeId{5});
  events_.run_for(kUnpinDelay + milliseconds(5));
  ASSERT_EQ(keep_alives_.size(), 2u);
  EXPECT_EQ(keep_alives_[1].unpinned, std::vector{InodeId{5}});
}

TEST_F(MasterLinkTest, what_was_pinned_and_unpinned_at_once_is_not_told) {
  start();
  link_.pin(InodeId{5});
  link_.unpin(InodeId{5});
  call(UnlinkRequest{});
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(seen(MessageType::kKeepAlive), 0u);
}

TEST_F(MasterLinkTest, an_unlink_waits_until_the_pins_before_it_are_confirmed) {
  start();
  is_silent_to_keep_alives_ = true;
  link_.pin(InodeId{5});
  call(UnlinkRequest{});
  call(SetAttributesRequest{});
  events_.run_for(seconds(1));
  EXPECT_EQ(seen(MessageType::kUnlink), 0u);
  EXPECT_EQ(seen(MessageType::kSetAttributes), 1u);
  EXPECT_GE(seen(MessageType::kKeepAlive), 1u);
  is_silent_to_keep_alives_ = false;
  EXPECT_TRUE(answered(2));
}

// `find` opens many for a moment each, and the master waits for two keep-alives anyway.
TEST_F(MasterLinkTest, nothing_hurries_or_waits_for_the_pin_of_a_directory) {
  start();
  link_.pin_directory(InodeId{5});
  link_.pin_directory(InodeId{6});
  link_.unpin(InodeId{6});
  call(UnlinkRequest{});
  call(RemoveDirectoryRequest{});
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(seen(MessageType::kKeepAlive), 0u);
  ASSERT_TRUE(run_until([&] { return !keep_alives_.empty(); }));
  EXPECT_EQ(keep_alives_[0].pinned, std::vector{InodeId{5}});
  link_.unpin(InodeId{5});
  ASSERT_TRUE(run_until([&] { return keep_alives_.size() == 2; }));
  EXPECT_EQ(keep_alives_[1].unpinned, std::vector{InodeId{5}});
}

TEST_F(MasterLinkTest, a_question_whether_a_pinned_inode_is_there_waits_for_its_pin) {
  start();
  is_silent_to_keep_alives_ = true;
  link_.pin(InodeId{5});
  bool is_answered = false;
  link_.call(
      GetAttributesRequest{InodeId{5}}, [&](const Result<AttributesReply>&) { is_answered = true; },
      true);
  events_.run_for(seconds(1));
  EXPECT_EQ(seen(MessageType::kGetAttributes), 0u);
  is_silent_to_keep_alives_ = false;
  EXPECT_TRUE(run_until([&] { return is_answered; }));
}

TEST_F(MasterLinkTest, a_created_inode_is_not_told_again) {
  start();
  const std::uint64_t mark = link_.pin_mark();
  EXPECT_TRUE(link_.pin_created(InodeId{5}, mark));
  call(UnlinkRequest{});
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(seen(MessageType::kKeepAlive), 0u);
}

TEST_F(MasterLinkTest, a_created_inode_is_told_when_a_keep_alive_crossed_its_creation) {
  start();
  const std::uint64_t mark = link_.pin_mark();
  events_.run_for(seconds(6));  // the regular one
  ASSERT_EQ(keep_alives_.size(), 1u);
  EXPECT_FALSE(link_.pin_created(InodeId{5}, mark));
  events_.run_for(seconds(1));
  ASSERT_EQ(keep_alives_.size(), 2u);
  EXPECT_EQ(keep_alives_[1].pinned, std::vector{InodeId{5}});
}

TEST_F(MasterLinkTest, an_expired_session_is_replaced_and_reads_are_repeated_in_it) {
  start();
  int replaced = 0;
  link_.on_new_session([&] { ++replaced; });
  link_.pin(InodeId{5});
  events_.run_for(seconds(1));
  next_session();
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kOk);
  EXPECT_EQ(replaced, 1);
  ASSERT_TRUE(run_until([&] { return keep_alives_.back().full; }));
  EXPECT_EQ(keep_alives_.back().pinned, std::vector{InodeId{5}});
}

// At the master's address another cluster answers: its disk was replaced, or a port is used again.
TEST_F(MasterLinkTest, calls_fail_while_another_cluster_answers_and_go_on_when_it_is_the_own_one) {
  start();
  EXPECT_EQ(opens_.back().cluster_id, "");
  ++session_.value;  // which does not know the session
  open_refusal_ = ErrorCode::kWrongCluster;
  call(GetAttributesRequest{});
  call(SetAttributesRequest{});
  ASSERT_TRUE(answered(2));
  call(SetAttributesRequest{});
  ASSERT_TRUE(answered(3));
  EXPECT_EQ(codes_, std::vector(3, ErrorCode::kWrongCluster));
  EXPECT_EQ(opens_.back().cluster_id, "cluster");
  open_refusal_ = ErrorCode::kOk;
  events_.run_for(seconds(2));
  call(SetAttributesRequest{});
  ASSERT_TRUE(answered(4));
  EXPECT_EQ(codes_.back(), ErrorCode::kOk);
}

TEST_F(MasterLinkTest, a_change_in_an_expired_session_fails_unless_it_may_be_repeated) {
  start();
  next_session();
  call(UnlinkRequest{});
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kSessionExpired);
  next_session();
  call(SetAttributesRequest{});
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(codes_[1], ErrorCode::kOk);
  const auto repeated = std::find_if(seen_.rbegin(), seen_.rend(), [](const RpcRequest& each) {
    return each.envelope.type == MessageType::kSetAttributes;
  });
  EXPECT_EQ(repeated->envelope.sequence, 1u);  // numbers begin anew
}

TEST_F(MasterLinkTest, a_read_can_be_interrupted_at_any_time) {
  start();
  is_silent_ = true;
  const CallId id = call(GetAttributesRequest{});
  events_.run_for(milliseconds(10));
  link_.interrupt(id);
  EXPECT_TRUE(codes_.empty());  // never inside the call
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kInterrupted);
}

TEST_F(MasterLinkTest, a_change_is_given_up_only_while_the_master_is_unreachable) {
  start();
  is_silent_ = true;
  const CallId id = call(SetAttributesRequest{});
  events_.run_for(milliseconds(10));
  link_.interrupt(id);
  events_.run_for(seconds(10));
  EXPECT_TRUE(codes_.empty());  // the master is alive and works on it
  kill_master();
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kInterrupted);
}

// The master was killed between its answer to that and the one to the change, and nobody noticed.
TEST_F(MasterLinkTest, a_change_is_withdrawn_again_from_the_next_master) {
  start();
  is_silent_ = true;
  const CallId id = call(SetAttributesRequest{});
  events_.run_for(milliseconds(10));
  link_.interrupt(id);
  ASSERT_TRUE(run_until([&] { return !withdrawals_.empty(); }));
  kill_master();
  is_waiting_ = false;  // it has come to the next one, and waits for something else
  start_master(2);
  ASSERT_TRUE(events_.run_until([&] { return !codes_.empty(); }, seconds(5)));
  EXPECT_EQ(codes_[0], ErrorCode::kInterrupted);
}

// Lost messages are sent again at growing distances; whoever interrupts a call does not wait so
// long.
TEST_F(MasterLinkTest, a_change_whose_withdrawals_are_lost_is_given_up_soon) {
  start();
  is_silent_ = true;
  loses_withdrawals_ = true;
  const CallId id = call(SetAttributesRequest{});
  events_.run_for(milliseconds(10));
  link_.interrupt(id);
  ASSERT_TRUE(events_.run_until([&] { return !codes_.empty(); }, seconds(8)));
  EXPECT_EQ(codes_[0], ErrorCode::kInterrupted);
}

TEST_F(MasterLinkTest, an_unsure_pin_of_a_new_inode_is_taken_back_also_when_it_was_not_told) {
  start();
  link_.pin_created(InodeId{5}, 0);
  link_.unpin(InodeId{5});
  events_.run_for(kUnpinDelay + milliseconds(5));
  ASSERT_EQ(keep_alives_.size(), 1u);
  EXPECT_TRUE(keep_alives_[0].pinned.empty());
  EXPECT_EQ(keep_alives_[0].unpinned, std::vector{InodeId{5}});
}

TEST_F(MasterLinkTest, a_pin_that_follows_its_unpin_is_told_alone) {
  start();
  link_.pin_created(InodeId{5}, 0);
  link_.unpin(InodeId{5});
  link_.pin(InodeId{5});
  events_.run_for(kUnpinDelay + milliseconds(5));
  ASSERT_EQ(keep_alives_.size(), 1u);
  EXPECT_EQ(keep_alives_[0].pinned, std::vector{InodeId{5}});
  EXPECT_TRUE(keep_alives_[0].unpinned.empty());
}

TEST_F(MasterLinkTest, the_pin_of_a_create_that_was_given_up_is_taken_back) {
  start();
  link_.pin(InodeId{5});
  is_silent_ = true;
  const CallId id = call(CreateRequest{});
  events_.run_for(milliseconds(10));
  network_.partition("master", "client");
  link_.interrupt(id);
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kInterrupted);
  is_silent_ = false;
  network_.heal("master", "client");
  events_.run_for(kCreatedPinRest + 2 * kSessionKeepAlive);
  const auto full = std::find_if(keep_alives_.begin(), keep_alives_.end(),
                                 [](const KeepAliveRequest& each) { return each.full; });
  ASSERT_NE(full, keep_alives_.end());
  EXPECT_EQ(full->pinned, std::vector{InodeId{5}});
}

TEST_F(MasterLinkTest, stop_closes_the_session_and_gives_up_when_nobody_listens) {
  start();
  kill_master();
  const MonoTime begin = events_.now();
  std::optional<Status> stopped;
  link_.stop([&](Status status) { stopped = std::move(status); });
  ASSERT_TRUE(run_until([&] { return stopped.has_value(); }));
  EXPECT_LE(events_.now() - begin, seconds(5));
}

}  // namespace
}  // namespace dfs::client
