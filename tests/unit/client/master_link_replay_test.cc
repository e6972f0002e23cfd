// What MasterLink keeps until it is durable, and tells again to a master that may have lost it.
#include <set>
#include <string>

#include "tests/unit/client/master_link_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class MasterLinkReplayTest : public MasterLinkTest {
 protected:
  MasterLinkReplayTest() {
    gives_stamps_ = true;
    link_.on_lost_change(
        [this](const std::vector<InodeId>& inodes) { lost_.insert(inodes.begin(), inodes.end()); });
  }

  std::size_t change(std::uint64_t inode) {
    SetAttributesRequest request;
    request.inode = InodeId{inode};
    call(request);
    return codes_.size();
  }
  void changes(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      change(100 + i);
    }
    ASSERT_TRUE(answered(codes_.size() + count));
  }
  // The master restarts and has lost what was not durable.
  void lose_power() {
    kill_master();
    ++losses_;
    wants_replay_ = true;
    start_master(incarnation_ + 1);
  }
  bool is_replayed(std::size_t pages = 1) {
    return run_until([&] { return replays_.size() == pages; });
  }
  // The grace period ends: every page is answered, all its changes with this code.
  void end_grace(ErrorCode code = ErrorCode::kOk) {
    wants_replay_ = false;
    durable_index_ = last_index_ += 1'000'000;
    for (std::size_t i = 0; i < replays_.size(); ++i) {
      ReplayChangesReply reply;
      reply.codes.assign(replays_[i].changes.size(), static_cast<std::uint16_t>(code));
      reply.losses = losses_;
      server_->reply(replay_addresses_[i], reply);
    }
    replays_.clear();
    replay_addresses_.clear();
  }
  static Envelope envelope(const std::string& change) {
    return decode_head(std::as_bytes(std::span(change.data(), change.size())))->envelope;
  }
  std::uint64_t highest_sequence() const {
    std::uint64_t highest = 0;
    for (const RpcRequest& request : seen_) {
      highest = std::max(highest, request.envelope.sequence);
    }
    return highest;
  }

  std::set<InodeId> lost_;
};

// --- Keeping -------------------------------------------------------------------------------------

TEST_F(MasterLinkReplayTest, a_change_is_acknowledged_once_it_is_answered_and_durable) {
  start();
  changes(3);
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(4));
  EXPECT_EQ(seen_.back().envelope.acknowledged, 0u);
  durable_index_ = 2;
  call(GetAttributesRequest{});
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(6));
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(7));
  EXPECT_EQ(seen_.back().envelope.acknowledged, 2u);
}

TEST_F(MasterLinkReplayTest, what_is_kept_for_a_second_is_synced_and_only_then) {
  start();
  changes(5);
  events_.run_for(milliseconds(900));
  EXPECT_EQ(seen(MessageType::kSyncMetadata), 0u);
  events_.run_for(milliseconds(200));
  EXPECT_EQ(seen(MessageType::kSyncMetadata), 1u);
  events_.run_for(seconds(20));
  EXPECT_EQ(seen(MessageType::kSyncMetadata), 1u);
  EXPECT_EQ(seen_.back().envelope.acknowledged, 5u);
}

TEST_F(MasterLinkReplayTest, a_steady_writer_is_synced_about_once_a_second) {
  start();
  for (int i = 0; i < 100; ++i) {
    changes(1);
    events_.run_for(milliseconds(100));
  }
  EXPECT_LE(seen(MessageType::kSyncMetadata), 10u);
  EXPECT_GE(seen(MessageType::kSyncMetadata), 8u);
}

TEST_F(MasterLinkReplayTest, nothing_is_synced_when_others_do_it) {
  start();
  changes(5);
  durable_index_ = last_index_;  // by somebody's fsync, say
  call(GetAttributesRequest{});
  events_.run_for(seconds(10));
  EXPECT_EQ(seen(MessageType::kSyncMetadata), 0u);
}

TEST_F(MasterLinkReplayTest, many_kept_changes_are_synced_before_they_are_old) {
  start();
  changes(kKeptChangesSync + 10);
  events_.run_for(milliseconds(100));
  EXPECT_EQ(seen(MessageType::kSyncMetadata), 1u);
}

TEST_F(MasterLinkReplayTest, changes_wait_while_too_many_are_kept) {
  start();
  is_silent_to_syncs_ = true;
  for (std::size_t i = 0; i < kUnsettledMax + 100; ++i) {
    change(i + 1);
  }
  ASSERT_TRUE(answered(kUnsettledMax));
  events_.run_for(seconds(1));
  EXPECT_EQ(highest_sequence(), kUnsettledMax);
  is_silent_to_syncs_ = false;
  EXPECT_TRUE(answered(kUnsettledMax + 100));
}

TEST_F(MasterLinkReplayTest, changes_wait_while_too_many_bytes_are_kept) {
  start();
  is_silent_to_syncs_ = true;
  SetXattrRequest request;
  request.inode = InodeId{1};
  request.value = std::string(kXattrValueBytesMax, 'x');
  constexpr std::size_t kCount = 200;
  for (std::size_t i = 0; i < kCount; ++i) {
    call(request);
  }
  events_.run_for(seconds(1));
  EXPECT_LE(highest_sequence(), kKeptBytesMax / kXattrValueBytesMax + 1);
  is_silent_to_syncs_ = false;
  EXPECT_TRUE(answered(kCount));
}

// --- Replay --------------------------------------------------------------------------------------

TEST_F(MasterLinkReplayTest, what_was_answered_and_not_durable_is_told_again) {
  start();
  changes(2);
  durable_index_ = last_index_;
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(3));
  durable_index_ = 0;
  SetAttributesRequest request;
  request.inode = InodeId{77};
  request.mode = 0600;
  call(request);
  ASSERT_TRUE(answered(4));
  is_silent_ = true;
  const CallId unanswered = call(UnlinkRequest{});
  events_.run_for(milliseconds(10));
  is_silent_ = false;
  EXPECT_TRUE(unanswered.is_set());
  lose_power();
  ASSERT_TRUE(is_replayed());
  EXPECT_EQ(replays_[0].incarnation, incarnation_);
  EXPECT_EQ(replays_[0].pages, 1u);
  ASSERT_EQ(replays_[0].changes.size(), 1u);
  const std::string& head = replays_[0].changes[0];
  EXPECT_EQ(envelope(head).sequence, 3u);
  EXPECT_EQ(envelope(head).stamp.index, 3u);
  EXPECT_EQ(envelope(head).session, session_);
  const auto body = decode_body<SetAttributesRequest>(
      decode_head(std::as_bytes(std::span(head.data(), head.size())))->body);
  ASSERT_TRUE(body);
  EXPECT_EQ(body->mode, 0600u);
}

TEST_F(MasterLinkReplayTest, calls_wait_until_the_replay_is_answered) {
  start();
  changes(1);
  is_silent_ = true;
  call(UnlinkRequest{});
  call(GetAttributesRequest{});
  events_.run_for(milliseconds(10));
  is_silent_ = false;
  lose_power();
  ASSERT_TRUE(is_replayed());
  const std::size_t seen_before = seen_.size();
  change(5);
  call(GetAttributesRequest{});
  events_.run_for(seconds(30));
  EXPECT_EQ(codes_.size(), 1u);
  for (std::size_t i = seen_before; i < seen_.size(); ++i) {
    const MessageType type = seen_[i].envelope.type;
    EXPECT_TRUE(type == MessageType::kKeepAlive || type == MessageType::kReplayChanges);
  }
  EXPECT_FALSE(link_.is_up());
  end_grace();
  ASSERT_TRUE(answered(5));
  EXPECT_TRUE(link_.is_up());
  EXPECT_EQ(codes_, std::vector(5, ErrorCode::kOk));
  // The unanswered change kept its number, so that it is recognised if it was applied.
  const auto unlink = std::find_if(seen_.rbegin(), seen_.rend(), [](const RpcRequest& each) {
    return each.envelope.type == MessageType::kUnlink;
  });
  EXPECT_EQ(unlink->envelope.sequence, 2u);
  EXPECT_TRUE(lost_.empty());
  // What was told again is durable.
  EXPECT_EQ(seen_.back().envelope.acknowledged, 1u);
}

TEST_F(MasterLinkReplayTest, more_calls_than_fit_into_the_connection_do_not_hold_up_the_replay) {
  start();
  changes(1);
  kill_master();
  for (std::size_t i = 0; i < 2 * kCallsInFlightMax; ++i) {
    call(GetAttributesRequest{});
  }
  events_.run_for(seconds(3));
  ++losses_;
  wants_replay_ = true;
  start_master(2);
  ASSERT_TRUE(is_replayed());
  end_grace();
  EXPECT_TRUE(answered(1 + 2 * kCallsInFlightMax));
}

TEST_F(MasterLinkReplayTest, a_long_replay_comes_in_pages) {
  start();
  is_silent_to_syncs_ = true;
  SetXattrRequest request;
  request.inode = InodeId{1};
  request.value = std::string(kXattrValueBytesMax, 'x');
  constexpr std::size_t kCount = 30;
  for (std::size_t i = 0; i < kCount; ++i) {
    call(request);
  }
  ASSERT_TRUE(answered(kCount));
  lose_power();
  ASSERT_TRUE(run_until([&] { return !replays_.empty() && replays_.size() == replays_[0].pages; }));
  EXPECT_GT(replays_.size(), 2u);
  std::size_t count = 0;
  std::set<std::uint32_t> numbers;
  for (const ReplayChangesRequest& page : replays_) {
    count += page.changes.size();
    numbers.insert(page.page);
  }
  EXPECT_EQ(count, kCount);
  EXPECT_EQ(numbers.size(), replays_.size());
  end_grace();
  change(5);
  EXPECT_TRUE(answered(kCount + 1));
}

TEST_F(MasterLinkReplayTest, a_master_that_dies_meanwhile_is_told_again) {
  start();
  changes(1);
  lose_power();
  ASSERT_TRUE(is_replayed());
  replays_.clear();
  replay_addresses_.clear();
  lose_power();
  ASSERT_TRUE(
      run_until([&] { return !replays_.empty() && replays_.back().incarnation == incarnation_; }));
  EXPECT_EQ(replays_.back().changes.size(), 1u);
  end_grace();
  change(5);
  EXPECT_TRUE(answered(2));
}

TEST_F(MasterLinkReplayTest, a_restart_that_lost_nothing_asks_for_nothing) {
  start();
  changes(1);
  kill_master();
  start_master(2);
  change(5);
  ASSERT_TRUE(answered(2));
  events_.run_for(seconds(10));
  EXPECT_EQ(seen(MessageType::kReplayChanges), 0u);
  EXPECT_TRUE(lost_.empty());
}

TEST_F(MasterLinkReplayTest, a_change_that_cannot_be_made_again_is_told_of) {
  start();
  change(7);
  ASSERT_TRUE(answered(1));
  call(UnlinkRequest{.parent = InodeId{8}, .name = "a"});
  ASSERT_TRUE(answered(2));
  lose_power();
  ASSERT_TRUE(is_replayed());
  end_grace(ErrorCode::kStale);
  change(5);
  ASSERT_TRUE(answered(3));
  EXPECT_EQ(lost_, (std::set{InodeId{7}, InodeId{8}}));
  EXPECT_TRUE(host_.log.contains("type=Unlink inode=8"));
}

TEST_F(MasterLinkReplayTest, a_session_that_ended_loses_what_the_master_lost) {
  start();
  change(7);
  ASSERT_TRUE(answered(1));
  kill_master();
  ++losses_;
  next_session();
  start_master(2);
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(lost_, std::set{InodeId{7}});
}

TEST_F(MasterLinkReplayTest, a_session_that_ended_loses_nothing_that_the_master_has) {
  start();
  change(7);
  ASSERT_TRUE(answered(1));
  kill_master();
  next_session();
  start_master(2);
  call(GetAttributesRequest{});
  ASSERT_TRUE(answered(2));
  EXPECT_TRUE(lost_.empty());
  change(5);
  ASSERT_TRUE(answered(3));
  EXPECT_EQ(seen_.back().envelope.acknowledged, 0u);
}

TEST_F(MasterLinkReplayTest, waiting_for_a_replay_can_be_interrupted) {
  start();
  is_silent_ = true;
  const CallId sent = call(SetAttributesRequest{});
  events_.run_for(milliseconds(10));
  is_silent_ = false;
  lose_power();
  ASSERT_TRUE(is_replayed());
  const CallId later = call(SetAttributesRequest{});
  link_.interrupt(sent);
  link_.interrupt(later);
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(codes_, std::vector(2, ErrorCode::kInterrupted));
}

}  // namespace
}  // namespace dfs::client
