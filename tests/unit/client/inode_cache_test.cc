#include "fuse-client/core/inode_cache.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "proto/block.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::client {
namespace {

constexpr std::uint64_t kWindow = kExtentWindowBytes;
const InodeId kFile{7};

Extent extent(std::uint64_t offset, std::uint32_t length, std::uint64_t chunk = 1) {
  return {.file_offset = offset,
          .length_bytes = length,
          .chunk = ChunkId{chunk},
          .block_offset = kChunkHeaderBytes,
          .block_bytes = length,
          .payload_offset = 0};
}

class InodeCacheTest : public testing::Test {
 protected:
  InodeCacheTest() {
    term_.set_session_timeout(std::chrono::seconds(10));  // of which 8 are relied upon
    term_.extend(now());
  }
  Attributes attributes(std::uint64_t version, std::uint64_t size = 100) {
    Attributes made;
    made.inode = kFile;
    made.mode = kModeRegular | 0644;
    made.size_bytes = size;
    made.data_version = version;
    return made;
  }
  GetExtentsReply extents(std::uint64_t version, std::uint64_t size, std::vector<Extent> list) {
    GetExtentsReply reply;
    reply.attributes = attributes(version, size);
    reply.extents = std::move(list);
    reply.covered_end = size;
    return reply;
  }
  FileCommitResult commit(std::uint64_t before, std::uint64_t after, std::uint64_t size = 100) {
    FileCommitResult result;
    result.attributes = attributes(after, size);
    result.data_version_before = before;
    return result;
  }
  MonoTime now() { return scheduler_.now(); }
  // An answer that may be kept, to a question asked then.
  static Told leased(MonoTime sent_at) { return {sent_at, true}; }

  sim::SimEvents events_;
  sim::SimScheduler scheduler_{events_};
  std::vector<InodeId> changed_;
  InodeCacheLimits limits_{.inodes_max = 4, .extents_max = 10, .locations_max = 2};
  LeaseTerm term_{scheduler_};
  std::set<InodeId> in_kernel_;
  std::vector<InodeId> left_;
  InodeCache cache_{scheduler_,
                    term_,
                    limits_,
                    {.changed = [this](InodeId inode) { changed_.push_back(inode); },
                     .is_in_kernel = [this](InodeId inode) { return in_kernel_.contains(inode); },
                     .lease_left = [this](InodeId inode) { left_.push_back(inode); }}};
};

TEST_F(InodeCacheTest, what_the_kernel_forgets_stays_fresh_under_its_lease) {
  in_kernel_ = {kFile};
  cache_.learn(attributes(1), leased(now()));
  in_kernel_.clear();
  cache_.forget(kFile);
  EXPECT_TRUE(cache_.is_fresh(kFile));
  EXPECT_TRUE(cache_.leases().contains(kFile));
  EXPECT_TRUE(left_.empty());
}

TEST_F(InodeCacheTest, what_the_kernel_forgets_and_nobody_keeps_has_no_lease) {
  in_kernel_ = {kFile};
  cache_.learn(attributes(1), leased(now()));
  cache_.expire_by_notice(kFile);
  EXPECT_TRUE(cache_.leases().contains(kFile));
  in_kernel_.clear();
  cache_.forget(kFile);
  EXPECT_FALSE(cache_.leases().contains(kFile));
  EXPECT_EQ(left_.back(), kFile);
}

TEST_F(InodeCacheTest, a_lease_ends_when_what_the_kernel_forgot_is_evicted) {
  in_kernel_ = {InodeId{11}};
  for (std::uint64_t inode = 11; inode < 16; ++inode) {
    Attributes of = attributes(1);
    of.inode = InodeId{inode};
    cache_.learn(of, leased(now()));
  }
  EXPECT_EQ(cache_.inode_count(), limits_.inodes_max);
  // Still the kernel's to keep: its changes must be heard of.
  EXPECT_TRUE(cache_.leases().contains(InodeId{11}));
  in_kernel_.clear();
  cache_.forget(InodeId{11});
  EXPECT_FALSE(cache_.leases().contains(InodeId{11}));
  Attributes one_more = attributes(1);
  one_more.inode = InodeId{16};
  cache_.learn(one_more, leased(now()));
  EXPECT_FALSE(cache_.leases().contains(InodeId{12}));
  EXPECT_EQ(left_, (std::vector<InodeId>{InodeId{11}, InodeId{12}}));
}

TEST_F(InodeCacheTest, what_is_leased_is_fresh_until_the_term_ends_and_what_is_not_never) {
  cache_.learn(attributes(1), {now(), false});
  EXPECT_FALSE(cache_.is_fresh(kFile));
  EXPECT_TRUE(cache_.is_data_as_of(kFile, now()));
  cache_.learn(attributes(1), leased(now()));
  EXPECT_TRUE(cache_.is_fresh(kFile));
  events_.run_for(std::chrono::seconds(7));
  EXPECT_TRUE(cache_.is_fresh(kFile));
  events_.run_for(std::chrono::seconds(2));
  EXPECT_FALSE(cache_.is_fresh(kFile));
  EXPECT_NE(cache_.attributes(kFile), nullptr);
}

TEST_F(InodeCacheTest, a_lease_that_ended_takes_extents_with_it_and_is_not_reclaimed) {
  ASSERT_TRUE(cache_.learn_extents(extents(1, 100, {extent(0, 100)}), 0, leased(now())));
  EXPECT_TRUE(cache_.leases().contains(kFile));
  cache_.expire(kFile);  // attributes alone
  EXPECT_TRUE(cache_.leases().contains(kFile));
  EXPECT_FALSE(cache_.is_fresh(kFile));
  cache_.end_lease(kFile);
  EXPECT_FALSE(cache_.leases().contains(kFile));
  EXPECT_FALSE(cache_.extents(kFile, 0, 100));
}

TEST_F(InodeCacheTest, an_answer_that_a_notice_overtook_counts_if_it_gives_a_lease) {
  cache_.learn(attributes(1), leased(now()));
  const MonoTime asked_at = now();
  events_.run_for(std::chrono::milliseconds(1));
  cache_.begin_ending_lease(kFile);
  events_.run_for(std::chrono::milliseconds(1));
  cache_.end_lease(kFile);
  cache_.learn(attributes(2), {asked_at, false});
  EXPECT_EQ(cache_.attributes(kFile)->data_version, 1u);
  cache_.learn(attributes(2), leased(asked_at));
  EXPECT_EQ(cache_.attributes(kFile)->data_version, 2u);
  EXPECT_TRUE(cache_.is_fresh(kFile));
}

TEST_F(InodeCacheTest, an_answer_that_is_not_kept_is_better_than_what_was_taken_back) {
  cache_.learn(attributes(2), leased(now()));
  EXPECT_FALSE(cache_.is_outdated_by(attributes(3)));
  cache_.expire_by_notice(kFile);
  EXPECT_TRUE(cache_.is_outdated_by(attributes(3)));
  EXPECT_TRUE(cache_.is_outdated_by(attributes(2)));
  EXPECT_FALSE(cache_.is_outdated_by(attributes(1)));
}

TEST_F(InodeCacheTest, an_answer_that_an_own_change_overtook_never_counts) {
  cache_.learn(attributes(1), leased(now()));
  const MonoTime asked_at = now();
  events_.run_for(std::chrono::milliseconds(1));
  cache_.expire(kFile);
  cache_.learn(attributes(2), leased(asked_at));
  EXPECT_FALSE(cache_.is_fresh(kFile));
}

TEST_F(InodeCacheTest, an_overtaken_answer_is_ignored) {
  const MonoTime earlier = now();
  events_.run_for(std::chrono::milliseconds(1));
  cache_.learn(attributes(5, 50), leased(now()));
  cache_.learn(attributes(4, 40), leased(now()));
  EXPECT_EQ(cache_.attributes(kFile)->size_bytes, 50u);
  Attributes old_mode = attributes(5, 50);
  old_mode.mode = kModeRegular;
  cache_.learn(old_mode, leased(earlier));
  EXPECT_EQ(cache_.attributes(kFile)->mode, kModeRegular | 0644);
}

TEST_F(InodeCacheTest, an_answer_asked_for_before_a_change_does_not_count_after_it) {
  cache_.learn(attributes(5), leased(now()));
  const MonoTime earlier = now();
  events_.run_for(std::chrono::milliseconds(1));
  cache_.expire(kFile);
  cache_.learn(attributes(5), leased(earlier));
  EXPECT_FALSE(cache_.is_fresh(kFile));
  cache_.learn(attributes(5), leased(now()));
  EXPECT_TRUE(cache_.is_fresh(kFile));
}

TEST_F(InodeCacheTest, what_a_change_of_names_left_is_fresh_and_earlier_questions_do_not_count) {
  cache_.learn(attributes(5), leased(now()));
  const MonoTime change = now();
  events_.run_for(std::chrono::milliseconds(1));
  const MonoTime question = now();
  events_.run_for(std::chrono::milliseconds(1));
  cache_.learn_changed(attributes(7, 70), leased(change));
  EXPECT_TRUE(cache_.is_fresh(kFile));
  EXPECT_EQ(cache_.attributes(kFile)->size_bytes, 70u);
  Attributes before_it = attributes(7, 60);
  cache_.learn(before_it, leased(question));
  EXPECT_EQ(cache_.attributes(kFile)->size_bytes, 70u);
  // An earlier change that is answered later does not bring its state back.
  cache_.learn_changed(attributes(6, 60), leased(change));
  EXPECT_EQ(cache_.attributes(kFile)->data_version, 7u);
  EXPECT_TRUE(cache_.is_fresh(kFile));
}

TEST_F(InodeCacheTest, an_overtaken_change_of_names_leaves_nothing_fresh) {
  const MonoTime change = now();
  events_.run_for(std::chrono::milliseconds(1));
  cache_.learn(attributes(5), leased(now()));
  cache_.learn_changed(attributes(5),
                       leased(change));  // such as a new ctime: no other data version
  EXPECT_FALSE(cache_.is_fresh(kFile));
}

TEST_F(InodeCacheTest, an_older_version_in_answer_to_a_later_question_is_believed) {
  cache_.learn(attributes(5, 50), leased(now()));
  events_.run_for(std::chrono::milliseconds(1));
  // The master lost power, and its newest transactions with it.
  cache_.learn(attributes(4, 40), leased(now()));
  EXPECT_EQ(cache_.attributes(kFile)->size_bytes, 40u);
}

TEST_F(InodeCacheTest, extents_go_with_the_data_version_they_belong_to) {
  ASSERT_TRUE(cache_.learn_extents(extents(1, 100, {extent(0, 100)}), 0, leased(now())));
  ASSERT_TRUE(cache_.extents(kFile, 0, 100));
  cache_.learn(attributes(1), leased(now()));
  EXPECT_TRUE(cache_.extents(kFile, 0, 100));
  cache_.learn(attributes(2), leased(now()));
  EXPECT_FALSE(cache_.extents(kFile, 0, 100));
}

TEST_F(InodeCacheTest, windows_are_known_one_by_one) {
  GetExtentsReply reply = extents(1, 3 * kWindow, {extent(kWindow + 5, 10)});
  reply.covered_end = 2 * kWindow;
  ASSERT_TRUE(cache_.learn_extents(reply, kWindow, leased(now())));
  EXPECT_EQ(cache_.known_until(kFile, 0, 3 * kWindow), 0u);
  EXPECT_EQ(cache_.known_until(kFile, kWindow, 3 * kWindow), 2 * kWindow);
  EXPECT_FALSE(cache_.extents(kFile, kWindow, 2 * kWindow + 1));
  const auto found = cache_.extents(kFile, kWindow, kWindow + 8);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].length_bytes, 3u);
}

TEST_F(InodeCacheTest, unsound_extents_are_refused) {
  const auto bad = extents(1, 100, {extent(0, 60), extent(50, 50)});
  EXPECT_EQ(cache_.learn_extents(bad, 0, leased(now())).code(), ErrorCode::kBadMessage);
  EXPECT_FALSE(cache_.extents(kFile, 0, 100));
}

TEST_F(InodeCacheTest, an_own_commit_directly_after_what_is_known_keeps_extents_and_pages) {
  cache_.hold(kFile);
  cache_.learn(attributes(1, 0), leased(now()));
  EXPECT_FALSE(cache_.pages_are_current(kFile));
  cache_.learn_commit(commit(1, 9), {extent(0, 100)}, {}, true);
  const auto found = cache_.extents(kFile, 0, 100);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->size(), 1u);
  EXPECT_TRUE(cache_.pages_are_current(kFile));
  EXPECT_TRUE(changed_.empty());
}

TEST_F(InodeCacheTest, a_foreign_change_between_own_commits_drops_extents_and_pages) {
  cache_.hold(kFile);
  cache_.learn(attributes(1, 0), leased(now()));
  cache_.pages_are_current(kFile);
  cache_.learn_commit(commit(5, 9), {extent(0, 100)}, {}, true);
  EXPECT_FALSE(cache_.extents(kFile, 0, 100));
  EXPECT_EQ(changed_, std::vector{kFile});
  EXPECT_EQ(cache_.attributes(kFile)->data_version, 9u);
}

TEST_F(InodeCacheTest, an_own_truncation_cuts_the_extents) {
  ASSERT_TRUE(cache_.learn_extents(extents(1, 100, {extent(0, 100)}), 0, leased(now())));
  cache_.learn_change(attributes(2, 30), 1, leased(now()));
  const auto found = cache_.extents(kFile, 0, 100);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().length_bytes, 30u);
}

// The kernel would not believe the answer to a question that a second dropping overtook.
TEST_F(InodeCacheTest,
       pages_dropped_for_a_notice_are_not_dropped_again_when_the_change_is_learned) {
  cache_.hold(kFile);
  cache_.learn(attributes(1), leased(now()));
  cache_.pages_are_current(kFile);
  cache_.begin_ending_lease(kFile);
  cache_.end_lease(kFile);
  events_.run_for(std::chrono::seconds(1));
  cache_.learn(attributes(2), leased(now()));
  EXPECT_TRUE(changed_.empty());
  EXPECT_TRUE(cache_.pages_are_current(kFile));
  // What it cached since is of that version.
  cache_.expire(kFile);
  events_.run_for(std::chrono::seconds(1));
  cache_.learn(attributes(3), leased(now()));
  EXPECT_EQ(changed_, std::vector{kFile});
}

TEST_F(InodeCacheTest, what_was_learned_before_the_change_does_not_make_dropped_pages_old) {
  cache_.hold(kFile);
  cache_.learn(attributes(1), leased(now()));
  cache_.pages_are_current(kFile);
  cache_.begin_ending_lease(kFile);
  events_.run_for(std::chrono::milliseconds(1));
  cache_.learn(attributes(1), {now(), false});  // a read while the change waits
  events_.run_for(std::chrono::milliseconds(1));
  cache_.end_lease(kFile);
  events_.run_for(std::chrono::milliseconds(1));
  cache_.learn(attributes(2), leased(now()));
  EXPECT_TRUE(changed_.empty());
}

TEST_F(InodeCacheTest, pages_of_a_closed_file_are_not_dropped_by_a_notice) {
  cache_.hold(kFile);
  cache_.learn(attributes(1), leased(now()));
  cache_.pages_are_current(kFile);
  cache_.release(kFile);
  cache_.begin_ending_lease(kFile);
  cache_.end_lease(kFile);
  events_.run_for(std::chrono::seconds(1));
  cache_.learn(attributes(2), leased(now()));
  EXPECT_FALSE(cache_.pages_are_current(kFile));
}

TEST_F(InodeCacheTest, pages_of_a_closed_file_are_current_until_its_contents_change) {
  cache_.learn(attributes(1), leased(now()));
  EXPECT_FALSE(cache_.pages_are_current(kFile));
  EXPECT_TRUE(cache_.pages_are_current(kFile));
  cache_.learn(attributes(2), leased(now()));
  EXPECT_TRUE(changed_.empty());  // nobody has it open
  EXPECT_FALSE(cache_.pages_are_current(kFile));
}

TEST_F(InodeCacheTest, after_a_restart_of_the_master_older_answers_are_believed) {
  cache_.hold(kFile);
  cache_.learn(attributes(9), leased(now()));
  cache_.pages_are_current(kFile);
  cache_.expire_all();
  EXPECT_EQ(changed_, std::vector{kFile});
  EXPECT_EQ(cache_.attributes(kFile), nullptr);
  cache_.learn(attributes(3), leased(now()));
  EXPECT_EQ(cache_.attributes(kFile)->data_version, 3u);
}

TEST_F(InodeCacheTest, inodes_that_are_not_held_are_evicted_the_longest_unused_first) {
  cache_.hold(InodeId{1});
  for (std::uint64_t i = 2; i <= 10; ++i) {
    Attributes each = attributes(1);
    each.inode = InodeId{i};
    cache_.learn(each, leased(now()));
  }
  EXPECT_LE(cache_.inode_count(), limits_.inodes_max);
  EXPECT_TRUE(cache_.is_held(InodeId{1}));
  EXPECT_NE(cache_.attributes(InodeId{10}), nullptr);
  EXPECT_EQ(cache_.attributes(InodeId{2}), nullptr);
}

TEST_F(InodeCacheTest, extents_are_bounded) {
  for (std::uint64_t i = 1; i <= 3; ++i) {
    GetExtentsReply reply = extents(1, 40, {});
    reply.attributes.inode = InodeId{i};
    for (std::uint64_t at = 0; at < 40; at += 10) {
      reply.extents.push_back(extent(at, 10, at + 1));
    }
    ASSERT_TRUE(cache_.learn_extents(reply, 0, leased(now())));
    EXPECT_LE(cache_.extent_count(), limits_.extents_max);
    EXPECT_TRUE(cache_.extents(InodeId{i}, 0, 40));
  }
}

TEST_F(InodeCacheTest, dropping_extents_forgets_where_their_chunks_are) {
  GetExtentsReply reply = extents(1, 100, {extent(0, 100, 4)});
  reply.locations.push_back({ChunkId{4}, {NodeId{1}}, {"a:1"}});
  ASSERT_TRUE(cache_.learn_extents(reply, 0, leased(now())));
  ASSERT_NE(cache_.location(ChunkId{4}), nullptr);
  cache_.drop_extents(kFile);
  EXPECT_EQ(cache_.location(ChunkId{4}), nullptr);
  EXPECT_FALSE(cache_.extents(kFile, 0, 100));
}

}  // namespace
}  // namespace dfs::client
