#include "tests/unit/client/write_back_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr InodeId kFile{10};
constexpr InodeId kOther{11};

class WriteBackTest : public WriteBackRig {};

TEST_F(WriteBackTest, written_bytes_are_visible_at_once_and_committed_by_a_flush) {
  start();
  ASSERT_EQ(write(kFile, 0, "hello"), ErrorCode::kOk);
  EXPECT_EQ(visible(kFile), "hello");
  EXPECT_EQ(cluster.contents(kFile), "");
  EXPECT_EQ(write_back->dirty_attributes(kFile)->dirty_bytes, 5u);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "hello");
  EXPECT_TRUE(write_back->dirty_ranges(kFile, 0, 100).empty());
  EXPECT_FALSE(write_back->dirty_attributes(kFile).has_value());
}

TEST_F(WriteBackTest, an_fsync_is_one_synced_append_and_one_durable_commit) {
  start();
  ASSERT_EQ(write(kFile, 0, pattern(4096, 1)), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  ASSERT_EQ(cluster.appends.size(), 1u);
  EXPECT_TRUE(cluster.appends[0].sync);
  ASSERT_EQ(cluster.commits.size(), 1u);
  EXPECT_TRUE(cluster.commits[0].durable);
  EXPECT_EQ(cluster.metadata_syncs, 0u);
}

TEST_F(WriteBackTest, a_durable_flush_of_a_clean_file_syncs_the_metadata) {
  start();
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.metadata_syncs, 1u);
  ASSERT_EQ(flush(kFile, false), ErrorCode::kOk);
  EXPECT_EQ(cluster.metadata_syncs, 1u);
}

TEST_F(WriteBackTest, a_write_that_nobody_flushes_is_committed_durably_by_its_age) {
  start();
  ASSERT_EQ(write(kFile, 0, "old"), ErrorCode::kOk);
  run_for(seconds(1));
  EXPECT_EQ(cluster.contents(kFile), "old");
  EXPECT_TRUE(cluster.commits.at(0).durable);
}

TEST_F(WriteBackTest, a_write_that_waits_holds_its_bytes_and_not_the_request_they_came_in) {
  start();
  auto request = std::make_shared<std::string>(std::size_t{1} << 20, 'x');
  const std::weak_ptr<std::string> held = request;
  const auto* const bytes = reinterpret_cast<const std::byte*>(request->data());
  auto call = std::make_shared<Call>();
  write_back->write(kFile, kPolicy, {.offset = 0}, Buffer(std::move(request), bytes, 5),
                    written_into(call));
  EXPECT_TRUE(held.expired());  // it waits for the first chunk
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "xxxxx");
}

TEST_F(WriteBackTest, many_small_files_share_a_chunk_an_append_and_a_commit) {
  start();
  for (std::uint64_t i = 0; i < 500; ++i) {
    ASSERT_EQ(write(InodeId{100 + i}, 0, pattern(2000 + i, i)), ErrorCode::kOk);
  }
  ASSERT_EQ(finish(start_flush_all()), ErrorCode::kOk);
  EXPECT_EQ(cluster.chunks.size(), 1u);
  EXPECT_EQ(cluster.commits.size(), 1u);
  EXPECT_LE(cluster.appends.size(), 3u);
  for (std::uint64_t i = 0; i < 500; ++i) {
    EXPECT_EQ(cluster.contents(InodeId{100 + i}), pattern(2000 + i, i));
  }
}

TEST_F(WriteBackTest, small_writes_in_a_row_become_one_block) {
  start();
  const std::string text = pattern(1u << 20, 3);
  for (std::size_t at = 0; at < text.size(); at += 4096) {
    ASSERT_EQ(write(kFile, at, text.substr(at, 4096)), ErrorCode::kOk);
  }
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.files[kFile].extents.size(), 1u);
  EXPECT_EQ(cluster.contents(kFile), text);
}

TEST_F(WriteBackTest, a_large_file_gets_chunks_of_its_own_and_whole_blocks) {
  start();
  ASSERT_EQ(write(kOther, 0, "small"), ErrorCode::kOk);
  const std::size_t size = 150u << 20;
  const std::string part = pattern(1u << 20, 5);
  for (std::size_t at = 0; at < size; at += part.size()) {
    ASSERT_EQ(write(kFile, at, part), ErrorCode::kOk);
  }
  ASSERT_EQ(finish(start_flush_all()), ErrorCode::kOk);
  std::set<ChunkId> chunks;
  for (const Extent& extent : cluster.files[kFile].extents.extents()) {
    chunks.insert(extent.chunk);
  }
  EXPECT_FALSE(chunks.contains(cluster.files[kOther].extents.extents().at(0).chunk));
  EXPECT_LE(chunks.size(), 4u);
  EXPECT_LE(cluster.files[kFile].extents.size(), 160u);
  const std::string contents = cluster.contents(kFile);
  ASSERT_EQ(contents.size(), size);
  for (std::size_t at = 0; at < size; at += part.size()) {
    ASSERT_EQ(contents.compare(at, part.size(), part), 0) << at;
  }
  // Syncs are spread over many appends.
  std::size_t syncs = 0;
  for (const AppendRequest& append : cluster.appends) {
    syncs += append.sync ? 1u : 0u;
  }
  EXPECT_LE(syncs, 20u);
}

TEST_F(WriteBackTest, a_chunk_that_is_full_is_sealed_and_blocks_go_on_in_the_next) {
  cluster.chunk_capacity_bytes = 1u << 20;
  start();
  const std::string text = pattern(5u << 20, 9);
  for (std::size_t at = 0; at < text.size(); at += 1u << 18) {
    ASSERT_EQ(write(kFile, at, text.substr(at, 1u << 18)), ErrorCode::kOk);
  }
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), text);
  run_for(seconds(1));
  EXPECT_GE(cluster.seals.size(), 4u);
}

TEST_F(WriteBackTest, chunks_that_are_not_used_any_more_are_sealed) {
  start();
  ASSERT_EQ(write(kFile, 0, "x"), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.open_chunks(), 1u);
  run_for(seconds(60));
  EXPECT_EQ(cluster.open_chunks(), 0u);
}

TEST_F(WriteBackTest, seal_all_leaves_no_open_chunk) {
  start();
  ASSERT_EQ(write(kFile, 0, "x"), ErrorCode::kOk);
  ASSERT_EQ(finish(start_flush_all()), ErrorCode::kOk);
  auto call = std::make_shared<Call>();
  write_back->seal_all(into(call));
  ASSERT_EQ(finish(call), ErrorCode::kOk);
  EXPECT_EQ(cluster.open_chunks(), 0u);
  ASSERT_EQ(write(kFile, 0, "y"), ErrorCode::kOk);
}

TEST_F(WriteBackTest, reads_see_the_newest_bytes_while_a_commit_is_under_way) {
  start();
  cluster.is_holding_commits = true;
  ASSERT_EQ(write(kFile, 0, "aaaaaaaaaa"), ErrorCode::kOk);
  const auto first = start_flush(kFile, false);
  run_for(milliseconds(50));
  ASSERT_EQ(write(kFile, 3, "bbbb"), ErrorCode::kOk);
  EXPECT_EQ(visible(kFile), "aaabbbbaaa");
  const auto second = start_flush(kFile, false);
  run_for(milliseconds(50));
  ASSERT_EQ(write(kFile, 5, "c"), ErrorCode::kOk);
  EXPECT_EQ(visible(kFile), "aaabbcbaaa");
  EXPECT_FALSE(first->is_done());
  cluster.release_commits();
  ASSERT_EQ(finish(second), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "aaabbbbaaa");
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.contents(kFile), "aaabbcbaaa");
}

TEST_F(WriteBackTest, commits_of_one_file_are_never_under_way_together) {
  start();
  cluster.is_holding_commits = true;
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(write(kFile, 0, std::string(100, static_cast<char>('a' + i))), ErrorCode::kOk);
    start_flush(kFile, false);
    run_for(milliseconds(20));
  }
  EXPECT_EQ(cluster.commits.size(), 0u);
  cluster.release_commits();
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.commits.size(), 2u);
  EXPECT_EQ(cluster.contents(kFile), std::string(100, 'e'));
}

TEST_F(WriteBackTest, what_waits_for_a_lease_is_taken_at_once_even_if_it_is_lost_again_at_once) {
  has_leases = true;
  start();
  ASSERT_EQ(write(kFile, 100, "room"), ErrorCode::kOk);
  may_write = false;
  const CallPtr waiting = start_write(kFile, 0, "text");
  run_for(milliseconds(20));
  EXPECT_FALSE(waiting->is_done());
  EXPECT_EQ(wanted_leases, std::vector{kFile});
  may_write = true;
  write_back->lease_taken(kFile);
  may_write = false;  // the notice came with the answer
  EXPECT_EQ(finish(waiting), ErrorCode::kOk);
  EXPECT_EQ(wanted_leases.size(), 1u);
}

TEST_F(WriteBackTest, a_time_set_by_hand_survives_the_commit_of_earlier_writes) {
  start();
  ASSERT_EQ(write(kFile, 0, "text"), ErrorCode::kOk);
  const Timestamp by_hand{.seconds = 1234, .nanoseconds = 5};
  write_back->set_mtime(kFile, by_hand);
  EXPECT_EQ(write_back->dirty_attributes(kFile)->mtime, by_hand);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_EQ(cluster.files[kFile].attributes.mtime, by_hand);
  EXPECT_GT(cluster.files[kFile].attributes.ctime, by_hand);
  ASSERT_EQ(write(kFile, 0, "more"), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  EXPECT_GT(cluster.files[kFile].attributes.mtime, by_hand);
}

TEST_F(WriteBackTest, files_get_the_times_of_the_masters_clock) {
  host.scheduler.set_wall_skew(std::chrono::hours(1));
  start();
  const Timestamp before = cluster.master_wall_now();
  run_for(std::chrono::seconds(30));
  ASSERT_EQ(write(kFile, 0, "text"), ErrorCode::kOk);
  ASSERT_EQ(flush(kFile), ErrorCode::kOk);
  const Attributes& written = cluster.files[kFile].attributes;
  EXPECT_GT(written.mtime, later(before, std::chrono::seconds(29)));
  EXPECT_LE(written.mtime, cluster.master_wall_now());
  EXPECT_EQ(written.ctime, written.mtime);
}

}  // namespace
}  // namespace dfs::client
