// What write-back does when servers fail, space ends, sessions expire and callers change their
// mind.
#include "tests/unit/client/write_back_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr InodeId kFile{10};
constexpr InodeId kOther{11};

class WriteBackFailureTest : public WriteBackRig {
 protected:
  CallPtr stream(InodeId inode, std::uint64_t begin, std::uint64_t end) {
    CallPtr last;
    for (std::uint64_t at = begin; at < end; at += 1u << 20) {
      last = start_write(inode, at, pattern(1u << 20, at));
    }
    return last;
  }
  void expect_stream(InodeId inode, std::uint64_t size) {
    const std::string contents = cluster.contents(inode);
    ASSERT_EQ(contents.size(), size);
    for (std::uint64_t at = 0; at < size; at += 1u << 20) {
      ASSERT_EQ(contents.compare(at, 1u << 20, pattern(1u << 20, at)), 0) << at;
    }
  }
};

TEST_F(WriteBackFailureTest, a_replica_that_fails_in_mid_stream_costs_nothing_but_a_new_chunk) {
  start();
  int appends = 0;
  cluster.on_append = [&](const AppendRequest&, const Buffer&) {
    if (++appends == 9) {
      cluster.append_errors[NodeId{2}] = ErrorCode::kIo;
    }
    return false;
  };
  ASSERT_EQ(finish(stream(kFile, 0, 40u << 20)), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  expect_stream(kFile, 40u << 20);
  run_for(seconds(1));
  ASSERT_FALSE(cluster.seals.empty());
  for (const SealChunkRequest& seal : cluster.seals) {
    EXPECT_EQ(seal.failed_node, NodeId{2});
    EXPECT_EQ(seal.failure, static_cast<std::uint16_t>(ErrorCode::kIo));
  }
  // What is opened after the failure avoids the server that failed.
  ASSERT_FALSE(cluster.opens.back().avoid.empty());
  EXPECT_EQ(cluster.opens.back().avoid.front(), NodeId{2});
}

TEST_F(WriteBackFailureTest, a_first_server_that_dies_is_noticed_within_the_liveness_time) {
  start();
  ASSERT_EQ(write(kFile, 0, "one"), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  cluster.kill_node(cluster.chunks.begin()->second.nodes.front());
  ASSERT_EQ(write(kFile, 3, "two"), ErrorCode::kOk);
  const auto call = start_flush(kFile, true);
  run_for(seconds(4));
  ASSERT_TRUE(call->is_done());
  EXPECT_EQ(call->code(), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "onetwo");
}

TEST_F(WriteBackFailureTest, a_full_cluster_is_told_to_the_writer_and_what_was_taken_is_kept) {
  cluster.space_bytes = 4u << 20;
  start();
  std::uint64_t taken = 0;
  ErrorCode code = ErrorCode::kOk;
  while (taken < (8u << 20)) {
    code = write(kFile, taken, pattern(1u << 16, taken));
    if (code != ErrorCode::kOk) {
      break;
    }
    taken += 1u << 16;
  }
  EXPECT_EQ(code, ErrorCode::kNoSpace);
  EXPECT_GE(taken, 3u << 20);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  const std::string contents = cluster.contents(kFile);
  ASSERT_EQ(contents.size(), taken);
  for (std::uint64_t at = 0; at < taken; at += 1u << 16) {
    ASSERT_EQ(contents.compare(at, 1u << 16, pattern(1u << 16, at)), 0);
  }
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
  const std::string more = pattern(1u << 20, taken);
  EXPECT_EQ(write(kFile, taken, more), ErrorCode::kNoSpace);
  cluster.space_bytes = 100u << 20;
  EXPECT_EQ(write(kFile, taken, more), ErrorCode::kOk);
}

TEST_F(WriteBackFailureTest, writes_wait_for_servers_and_go_on_when_they_are_back) {
  cluster.open_chunk_error = ErrorCode::kNotEnoughServers;
  start();
  const auto call = start_write(kFile, 0, "patience");
  run_for(seconds(20));
  EXPECT_FALSE(call->is_done());
  cluster.open_chunk_error = ErrorCode::kOk;
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "patience");
}

TEST_F(WriteBackFailureTest, writes_give_up_after_write_wait) {
  cluster.open_chunk_error = ErrorCode::kNotEnoughServers;
  start();
  const auto call = start_write(kFile, 0, "patience");
  run_for(seconds(59));
  EXPECT_FALSE(call->is_done());
  run_for(seconds(3));
  ASSERT_TRUE(call->is_done());
  EXPECT_EQ(call->code(), ErrorCode::kNotEnoughServers);
  EXPECT_LE(cluster.opens.size(), 64u);
}

TEST_F(WriteBackFailureTest, data_whose_chunk_broke_is_lost_after_write_wait_and_told) {
  start();
  ASSERT_EQ(write(kFile, 0, "doomed"), ErrorCode::kOk);
  cluster.open_chunk_error = ErrorCode::kNotEnoughServers;
  cluster.append_errors[NodeId{1}] = ErrorCode::kIo;
  cluster.append_errors[NodeId{2}] = ErrorCode::kIo;
  const auto call = start_flush(kFile, true);
  run_for(seconds(58));
  EXPECT_FALSE(call->is_done());
  EXPECT_EQ(visible(kFile), "doomed");
  run_for(seconds(5));
  ASSERT_TRUE(call->is_done());
  EXPECT_EQ(call->code(), ErrorCode::kNotEnoughServers);
  EXPECT_EQ(write_back->lost_writes(kFile), 1u);
  EXPECT_EQ(host.log.count("a write was lost", LogLevel::kError), 1u);
  EXPECT_EQ(visible(kFile), "");
  write_back->forget(kFile);
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
}

// However long: that time does not count, not even when the next chunk breaks, too.
TEST_F(WriteBackFailureTest, a_master_that_does_not_answer_costs_no_data) {
  start();
  ASSERT_EQ(write(kFile, 0, "patience"), ErrorCode::kOk);
  cluster.is_silent_to_opens = true;
  for (const std::uint32_t node : {1, 2, 3}) {
    cluster.append_errors[NodeId{node}] = ErrorCode::kIo;
  }
  const auto call = start_flush(kFile, true);
  run_for(seconds(300));
  cluster.is_silent_to_opens = false;
  run_for(seconds(20));
  EXPECT_FALSE(call->is_done());
  EXPECT_EQ(visible(kFile), "patience");
  cluster.append_errors.clear();
  EXPECT_EQ(finish(call), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "patience");
}

TEST_F(WriteBackFailureTest, chunks_that_break_at_once_are_not_opened_without_pause) {
  start();
  ASSERT_EQ(write(kFile, 0, "text"), ErrorCode::kOk);
  cluster.append_errors[NodeId{2}] = ErrorCode::kNoSpace;
  cluster.append_errors[NodeId{3}] = ErrorCode::kNoSpace;
  const auto call = start_flush(kFile, true);
  run_for(seconds(10));
  EXPECT_FALSE(call->is_done());
  EXPECT_GE(cluster.opens.size(), 8u);
  EXPECT_LE(cluster.opens.size(), 20u);
  cluster.append_errors.clear();
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "text");
}

TEST_F(WriteBackFailureTest, a_waiting_write_can_be_interrupted) {
  cluster.open_chunk_error = ErrorCode::kNotEnoughServers;
  start();
  const auto call = start_write(kFile, 0, "never");
  const auto id = last_wait;
  const auto behind = start_write(kFile, 0, "later");
  run_for(seconds(1));
  write_back->interrupt(id);
  ASSERT_EQ(finish(call), ErrorCode::kInterrupted);
  EXPECT_FALSE(behind->is_done());
  cluster.open_chunk_error = ErrorCode::kOk;
  ASSERT_EQ(finish(behind), ErrorCode::kOk);
  EXPECT_EQ(visible(kFile), "later");
}

TEST_F(WriteBackFailureTest, a_cut_waits_for_the_flush_under_way_and_holds_writes) {
  start();
  cluster.is_holding_commits = true;
  ASSERT_EQ(write(kFile, 0, "0123456789"), ErrorCode::kOk);
  const auto flushed = start_flush(kFile, false);
  run_for(milliseconds(50));
  ASSERT_EQ(write(kFile, 2, "abcdef"), ErrorCode::kOk);
  const auto cut = start_cut(kFile, 4);
  const auto held = start_write(kFile, 8, "Z");
  run_for(milliseconds(500));
  EXPECT_FALSE(cut->is_done());
  EXPECT_FALSE(held->is_done());
  cluster.release_commits();
  ASSERT_EQ(finish(cut), ErrorCode::kOk);
  EXPECT_TRUE(flushed->is_done());
  EXPECT_FALSE(held->is_done());
  write_back->make_cut(kFile, 4);
  const auto ranges = write_back->dirty_ranges(kFile, 0, 100);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].data.text(), "ab");
  write_back->release_cut(kFile);
  ASSERT_EQ(finish(held), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
}

TEST_F(WriteBackFailureTest, what_a_cut_is_to_make_void_shows_until_then_and_is_not_stored) {
  start();
  ASSERT_EQ(write(kFile, 0, "0123456789"), ErrorCode::kOk);
  ASSERT_EQ(finish(start_cut(kFile, 4)), ErrorCode::kOk);
  const auto flushed = start_flush(kFile, true);
  const auto all_flushed = start_flush_all(true);
  run_for(seconds(5));
  EXPECT_FALSE(flushed->is_done());
  EXPECT_FALSE(all_flushed->is_done());
  EXPECT_FALSE(write_back->is_settled(kFile));
  EXPECT_EQ(visible(kFile), "0123456789");
  write_back->make_cut(kFile, 4);
  EXPECT_EQ(visible(kFile), "0123");
  write_back->release_cut(kFile);
  ASSERT_EQ(finish(flushed), ErrorCode::kOk);
  ASSERT_EQ(finish(all_flushed), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "0123");
}

TEST_F(WriteBackFailureTest, what_a_cut_that_is_refused_would_make_void_is_stored) {
  start();
  ASSERT_EQ(write(kFile, 0, "0123456789"), ErrorCode::kOk);
  ASSERT_EQ(finish(start_cut(kFile, 4)), ErrorCode::kOk);
  run_for(seconds(5));
  write_back->release_cut(kFile);
  run_for(seconds(1));
  EXPECT_EQ(cluster.contents(kFile), "0123456789");
}

TEST_F(WriteBackFailureTest, a_cut_of_a_clean_file_holds_writes_too) {
  start();
  const auto cut = start_cut(kFile, 0);
  ASSERT_EQ(finish(cut), ErrorCode::kOk);
  const auto held = start_write(kFile, 0, "x");
  run_for(seconds(5));
  EXPECT_FALSE(held->is_done());
  write_back->release_cut(kFile);
  EXPECT_EQ(finish(held), ErrorCode::kOk);
}

TEST_F(WriteBackFailureTest, a_cut_that_waits_can_be_interrupted_and_forgets_nothing) {
  start();
  cluster.is_holding_commits = true;
  ASSERT_EQ(write(kFile, 0, "0123456789"), ErrorCode::kOk);
  const auto flushed = start_flush(kFile, false);
  run_for(milliseconds(50));
  ASSERT_EQ(write(kFile, 2, "abcdef"), ErrorCode::kOk);
  const auto cut = start_cut(kFile, 4);
  write_back->interrupt_cut(kFile, last_wait);
  EXPECT_EQ(finish(cut), ErrorCode::kInterrupted);
  write_back->release_cut(kFile);
  cluster.release_commits();
  ASSERT_EQ(finish(flushed), ErrorCode::kOk);
  EXPECT_EQ(visible(kFile), "01abcdef89");
}

TEST_F(WriteBackFailureTest, a_discarded_file_is_not_committed) {
  start();
  ASSERT_EQ(write(kFile, 0, "rubbish"), ErrorCode::kOk);
  ASSERT_EQ(write(kOther, 0, "treasure"), ErrorCode::kOk);
  const auto call = start_flush(kFile, true);
  write_back->discard(kFile);
  EXPECT_TRUE(write_back->dirty_ranges(kFile, 0, 10).empty());
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  ASSERT_EQ(finish(start_flush_all()), ErrorCode::kOk);
  EXPECT_FALSE(cluster.files.contains(kFile));
  EXPECT_EQ(cluster.contents(kOther), "treasure");
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
}

TEST_F(WriteBackFailureTest, a_file_discarded_during_its_commit_is_no_lost_write) {
  start();
  cluster.is_holding_commits = true;
  ASSERT_EQ(write(kFile, 0, "rubbish"), ErrorCode::kOk);
  const auto call = start_flush(kFile, false);
  run_for(milliseconds(50));
  write_back->discard(kFile);
  cluster.remove_file(kFile);
  cluster.release_commits();
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  run_for(seconds(60));
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
  EXPECT_EQ(cluster.open_chunks(), 0u);
}

// The file may come back with the power loss of a master that has lost the unlink: what is done to
// it then must not be overtaken.
TEST_F(WriteBackFailureTest, a_commit_under_way_of_a_discarded_file_is_waited_for) {
  start();
  cluster.is_holding_commits = true;
  ASSERT_EQ(write(kFile, 0, "0123456789"), ErrorCode::kOk);
  start_flush(kFile, false);
  run_for(milliseconds(50));
  write_back->discard(kFile);
  const auto flushed = start_flush_all(true);
  const auto cut = start_cut(kFile, 4);
  run_for(milliseconds(500));
  EXPECT_FALSE(flushed->is_done());
  EXPECT_FALSE(cut->is_done());
  cluster.release_commits();
  EXPECT_EQ(finish(flushed), ErrorCode::kOk);
  EXPECT_EQ(finish(cut), ErrorCode::kOk);
  write_back->release_cut(kFile);
}

TEST_F(WriteBackFailureTest, of_a_closed_file_that_is_gone_nothing_is_lost) {
  start();
  ASSERT_EQ(write(kFile, 0, "text"), ErrorCode::kOk);
  is_open = false;
  cluster.remove_file(kFile);
  EXPECT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
  EXPECT_FALSE(write_back->dirty_attributes(kFile).has_value());
}

TEST_F(WriteBackFailureTest, a_file_somebody_else_removed_is_a_lost_write) {
  start();
  ASSERT_EQ(write(kFile, 0, "text"), ErrorCode::kOk);
  ASSERT_EQ(write(kOther, 0, "kept"), ErrorCode::kOk);
  cluster.remove_file(kFile);
  const auto other = start_flush(kOther, true);
  EXPECT_EQ(flush(kFile), ErrorCode::kStale);
  EXPECT_EQ(finish(other), ErrorCode::kOk);
  EXPECT_EQ(write_back->lost_writes(kFile), 1u);
  EXPECT_EQ(cluster.contents(kOther), "kept");
}

TEST_F(WriteBackFailureTest, an_expired_session_costs_no_data) {
  start();
  ASSERT_EQ(write(kFile, 0, "first"), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  ASSERT_EQ(write(kFile, 5, "second"), ErrorCode::kOk);
  cluster.is_holding_commits = true;
  const auto call = start_flush(kFile, true);
  run_for(milliseconds(50));
  cluster.expire_session();
  cluster.release_commits();
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "firstsecond");
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
}

TEST_F(WriteBackFailureTest, after_a_session_nothing_is_committed_before_its_lease_is_back) {
  has_leases = true;
  start();
  ASSERT_EQ(write(kFile, 0, "mine"), ErrorCode::kOk);
  cluster.expire_session();
  const auto call = start_flush(kFile, true);
  ASSERT_TRUE(run_until([&] { return !lost_leases.empty(); }));
  run_for(seconds(20));
  EXPECT_FALSE(call->is_done());
  EXPECT_TRUE(cluster.commits.empty());
  write_back->lease_settled();  // of another lease, which others wanted at once
  cluster.events.run_for(std::chrono::seconds(1));
  EXPECT_TRUE(cluster.commits.empty());
  // The lease may wait for this: nothing is promised for these bytes.
  auto settled = std::make_shared<Call>();
  write_back->settle(kFile, into(settled));
  EXPECT_EQ(finish(settled), ErrorCode::kOk);
  EXPECT_EQ(visible(kFile), "mine");
  write_epoch = 6;
  write_back->lease_taken(kFile);
  EXPECT_EQ(finish(call), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "mine");
  EXPECT_EQ(cluster.commits.back().files.at(0).write_epoch, 6u);
}

TEST_F(WriteBackFailureTest, a_commit_bears_the_epoch_its_bytes_were_written_under) {
  has_leases = true;
  start();
  ASSERT_EQ(write(kFile, 0, "mine"), ErrorCode::kOk);
  write_epoch = 6;  // of another lease, which these bytes do not have
  ASSERT_EQ(write(kFile, 4, "too"), ErrorCode::kOk);
  EXPECT_EQ(finish(start_flush(kFile, false)), ErrorCode::kOk);
  EXPECT_EQ(cluster.commits.back().files.at(0).write_epoch, 5u);
  ASSERT_EQ(write(kFile, 0, "next"), ErrorCode::kOk);
  EXPECT_EQ(finish(start_flush(kFile, false)), ErrorCode::kOk);
  EXPECT_EQ(cluster.commits.back().files.at(0).write_epoch, 6u);
}

TEST_F(WriteBackFailureTest, a_refused_lease_loses_what_was_written_under_the_old_one) {
  has_leases = true;
  start();
  ASSERT_EQ(write(kFile, 0, "mine"), ErrorCode::kOk);
  cluster.expire_session();
  const auto call = start_flush(kFile, true);
  ASSERT_TRUE(run_until([&] { return !lost_leases.empty(); }));
  write_back->lease_refused(kFile, make_error(ErrorCode::kLeaseLost, "another wrote"));
  EXPECT_EQ(finish(call), ErrorCode::kLeaseLost);
  EXPECT_EQ(write_back->lost_writes(kFile), 1u);
  EXPECT_TRUE(cluster.commits.empty());
}

// The end of the session is heard of before the answer to the commit.
TEST_F(WriteBackFailureTest, what_a_refused_lease_loses_can_be_in_a_commit_under_way) {
  has_leases = true;
  start();
  cluster.is_holding_commits = true;
  ASSERT_EQ(write(kFile, 0, "mine"), ErrorCode::kOk);
  const auto call = start_flush(kFile, true);
  run_for(milliseconds(50));
  cluster.expire_session();
  ASSERT_TRUE(run_until([&] { return !lost_leases.empty(); }));
  write_back->lease_refused(kFile, make_error(ErrorCode::kLeaseLost, "another wrote"));
  EXPECT_EQ(write_back->lost_writes(kFile), 1u);
  EXPECT_EQ(visible(kFile), "");
  cluster.release_commits();
  EXPECT_EQ(finish(call), ErrorCode::kLeaseLost);
  run_for(seconds(60));
  EXPECT_EQ(write_back->lost_writes(kFile), 1u);
}

TEST_F(WriteBackFailureTest, dirty_memory_stays_under_its_share) {
  start(16u << 20);
  std::uint64_t most = 0;
  CallPtr last;
  for (std::uint64_t at = 0; at < (64u << 20); at += 1u << 20) {
    last = start_write(kFile, at, pattern(1u << 20, at));
  }
  while (!last->is_done()) {
    ASSERT_TRUE(cluster.events.run_one());
    most = std::max(
        most, memory->used(MemoryBudget::Use::kDirty) + memory->used(MemoryBudget::Use::kInFlight));
  }
  EXPECT_LE(most, 16u << 20);
  EXPECT_GE(most, 4u << 20);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  expect_stream(kFile, 64u << 20);
}

TEST_F(WriteBackFailureTest, a_window_of_many_pieces_is_rewritten_as_whole_blocks) {
  start();
  std::string expected;
  for (int i = 0; i < 1100; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    ASSERT_EQ(write(kFile, expected.size(), line), ErrorCode::kOk);
    expected += line;
    ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  }
  run_for(seconds(2));
  EXPECT_EQ(cluster.contents(kFile), expected);
  EXPECT_GE(reads, 1u);
  EXPECT_LE(cluster.files[kFile].extents.size(), 200u);
}

TEST_F(WriteBackFailureTest, data_written_while_a_window_is_read_wins) {
  read_delay = seconds(3);
  start();
  std::string expected;
  for (int i = 0; i < 1026; ++i) {
    ASSERT_EQ(write(kFile, expected.size(), "0123456789"), ErrorCode::kOk);
    expected += "0123456789";
    ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  }
  ASSERT_GE(reads, 1u);
  // Committed again before the read is answered.
  ASSERT_EQ(write(kFile, 5, "NEWER"), ErrorCode::kOk);
  expected.replace(5, 5, "NEWER");
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  ASSERT_EQ(write(kFile, 100, "BUFFERED"), ErrorCode::kOk);
  expected.replace(100, 8, "BUFFERED");
  const Timestamp mtime = cluster.files[kFile].attributes.mtime;
  run_for(seconds(10));
  EXPECT_EQ(cluster.contents(kFile), expected);
  EXPECT_LE(cluster.files[kFile].extents.size(), 50u);
  EXPECT_GE(cluster.files[kFile].attributes.mtime, mtime);
}

TEST_F(WriteBackFailureTest, a_commit_of_too_many_pieces_is_rewritten_first) {
  cluster.window_pieces_max = 100;
  start();
  ASSERT_EQ(write(kFile, 0, std::string(50'000, '.')), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  std::string expected(50'000, '.');
  for (std::size_t at = 10; at < 40'000; at += 100) {
    ASSERT_EQ(write(kFile, at, "#####"), ErrorCode::kOk);
    expected.replace(at, 5, "#####");
  }
  const auto call = start_flush(kFile, true);
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), expected);
  EXPECT_EQ(write_back->lost_writes(kFile), 0u);
  EXPECT_LE(cluster.files[kFile].extents.size(), 2u);
}

}  // namespace
}  // namespace dfs::client
