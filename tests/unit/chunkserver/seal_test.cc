// The end of a chunk: fences, sealing, deletion.
#include "tests/unit/chunkserver/chunkserver_rig.h"

namespace dfs::chunkserver {
namespace {

constexpr std::uint32_t kStart = kChunkHeaderBytes;

class SealTest : public ChunkserverRig {
 protected:
  // A synced chunk of two blocks on node 0.
  void make_chunk() {
    start(0);
    ASSERT_EQ(append_code(0, append_request(kStart, true), first_), ErrorCode::kOk);
    ASSERT_EQ(append_code(0, append_request(middle_, true), second_), ErrorCode::kOk);
  }
  const std::string first_ = blocks(kStart, {5000});
  const std::uint32_t middle_ = kStart + static_cast<std::uint32_t>(first_.size());
  const std::string second_ = blocks(middle_, {9000});
  const std::uint32_t end_ = middle_ + static_cast<std::uint32_t>(second_.size());
};

TEST_F(SealTest, fenced_chunk_takes_no_appends_of_older_epochs_even_after_power_loss) {
  make_chunk();
  const auto fenced = fence(0, Epoch{5});
  ASSERT_TRUE(fenced);
  EXPECT_EQ(fenced->body.replica, (ReplicaInfo{kChunk, Epoch{5}, end_, false, false}));
  const std::string third = blocks(end_, {100});
  EXPECT_EQ(append_code(0, append_request(end_), third), ErrorCode::kSealed);
  crash(0);
  start(0);
  EXPECT_EQ(append_code(0, append_request(end_), third), ErrorCode::kSealed);
  EXPECT_EQ(list(0).at(0).epoch, Epoch{5});
  // Of the new epoch they are taken.
  AppendRequest request = append_request(end_);
  request.epoch = Epoch{5};
  EXPECT_EQ(append_code(0, request, blocks(end_, {100}, 'a', kChunk, Epoch{5})), ErrorCode::kOk);
}

TEST_F(SealTest, chunk_that_was_never_made_can_be_fenced) {
  start(0);
  const auto fenced = fence(0, Epoch{2});
  ASSERT_TRUE(fenced);
  EXPECT_EQ(fenced->body.replica, (ReplicaInfo{kChunk, Epoch{2}, 0, false, false}));
  EXPECT_EQ(append_code(0, append_request(kStart), first_), ErrorCode::kSealed);
  crash(0);
  start(0);
  EXPECT_EQ(append_code(0, append_request(kStart), first_), ErrorCode::kSealed);
  EXPECT_TRUE(list(0).empty());
}

TEST_F(SealTest, fence_counts_appends_that_were_under_way) {
  start(0);
  const auto append = send(0, append_request(kStart, true), first_);
  const auto fenced = send(0, FenceReplicaRequest{kChunk, Epoch{2}});
  ASSERT_TRUE(
      events_.run_until([&] { return append->has_value() && fenced->has_value(); }, seconds(5)));
  EXPECT_EQ(outcome_of(append), ErrorCode::kOk);
  ASSERT_TRUE(**fenced);
  EXPECT_EQ((**fenced)->body.replica.length_bytes, middle_);
}

TEST_F(SealTest, held_appends_are_refused_by_a_fence) {
  start(0);
  const auto held = send(0, append_request(middle_), second_);
  events_.run_for(milliseconds(5));
  ASSERT_TRUE(fence(0, Epoch{2}));
  ASSERT_TRUE(events_.run_until([&] { return held->has_value(); }, milliseconds(100)));
  EXPECT_EQ(outcome_of(held), ErrorCode::kSealed);
}

TEST_F(SealTest, older_fences_and_seals_do_not_lower_the_epoch) {
  make_chunk();
  ASSERT_TRUE(fence(0, Epoch{5}));
  const auto fenced = fence(0, Epoch{3});
  ASSERT_TRUE(fenced);
  EXPECT_EQ(fenced->body.replica.epoch, Epoch{5});
  EXPECT_EQ(seal(0, end_, Epoch{3}), ErrorCode::kSealed);
  EXPECT_EQ(seal(0, end_, Epoch{5}), ErrorCode::kOk);
}

TEST_F(SealTest, seal_cuts_to_the_length_and_can_be_repeated) {
  make_chunk();
  ASSERT_TRUE(fence(0, Epoch{2}));
  EXPECT_EQ(seal(0, middle_, Epoch{2}), ErrorCode::kOk);
  EXPECT_EQ(seal(0, middle_, Epoch{2}), ErrorCode::kOk);
  EXPECT_EQ(list(0).at(0), (ReplicaInfo{kChunk, Epoch{2}, middle_, true, false}));
  EXPECT_FALSE(node(0).state.exists(chunk_path(".open")));
  EXPECT_FALSE(node(0).state.exists(chunk_path(".fence")));
  EXPECT_EQ(append_code(0, append_request(middle_), second_), ErrorCode::kSealed);
  EXPECT_EQ(read_code(0, {kStart, 5000, 0, 5000}), ErrorCode::kOk);
  EXPECT_EQ(read_code(0, {middle_, 9000, 0, 9000}), ErrorCode::kNoSuchChunk);
  crash(0);
  start(0);
  EXPECT_EQ(list(0).at(0), (ReplicaInfo{kChunk, Epoch{}, middle_, true, false}));
  EXPECT_EQ(seal(0, middle_, Epoch{2}), ErrorCode::kOk);
  EXPECT_EQ(read_code(0, {kStart, 5000, 0, 5000}), ErrorCode::kOk);
}

TEST_F(SealTest, unsynced_appends_are_synced_by_the_seal) {
  start(0);
  ASSERT_EQ(append_code(0, append_request(kStart), first_), ErrorCode::kOk);
  EXPECT_EQ(seal(0, middle_, Epoch{2}), ErrorCode::kOk);
  crash(0);
  start(0);
  EXPECT_EQ(list(0).at(0).length_bytes, middle_);
  EXPECT_EQ(read_code(0, {kStart, 5000, 0, 5000}), ErrorCode::kOk);
}

TEST_F(SealTest, seals_that_do_not_fit_the_replica_are_refused) {
  make_chunk();
  EXPECT_EQ(seal(0, end_ + 100, Epoch{2}), ErrorCode::kCorrupt);
  EXPECT_EQ(seal(0, middle_ + 1, Epoch{2}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(seal(0, end_, Epoch{2}, ChunkId{99}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(seal(0, end_, Epoch{2}), ErrorCode::kOk);
  EXPECT_EQ(seal(0, end_ + 100, Epoch{3}), ErrorCode::kSealed);
}

TEST_F(SealTest, sealed_replica_is_cut_shorter_only_after_a_new_fence) {
  make_chunk();
  EXPECT_EQ(seal(0, end_, Epoch{2}), ErrorCode::kOk);
  kill(0);
  start(0);
  EXPECT_EQ(seal(0, middle_, Epoch{3}), ErrorCode::kSealed);
  ASSERT_TRUE(fence(0, Epoch{3}));
  EXPECT_EQ(seal(0, middle_, Epoch{3}), ErrorCode::kOk);
  EXPECT_EQ(list(0).at(0).length_bytes, middle_);
}

TEST_F(SealTest, seal_at_no_length_deletes) {
  make_chunk();
  EXPECT_EQ(seal(0, 0, Epoch{2}), ErrorCode::kOk);
  EXPECT_TRUE(list(0).empty());
  EXPECT_FALSE(node(0).state.exists(chunk_path(".open")));
  EXPECT_EQ(seal(0, 0, Epoch{2}), ErrorCode::kOk);
}

TEST_F(SealTest, deleted_chunks_are_gone_and_take_no_late_append) {
  make_chunk();
  ASSERT_TRUE(fence(0, Epoch{2}));
  const auto append = send(0, append_request(end_, true), blocks(end_, {100}));
  EXPECT_TRUE(call(0, DeleteReplicasRequest{{kChunk, ChunkId{99}}}));
  EXPECT_TRUE(events_.run_until([&] { return append->has_value(); }, seconds(5)));
  EXPECT_TRUE(list(0).empty());
  EXPECT_FALSE(node(0).state.exists(chunk_path(".open")));
  EXPECT_FALSE(node(0).state.exists(chunk_path(".fence")));
  EXPECT_EQ(append_code(0, append_request(kStart), first_), ErrorCode::kSealed);
  EXPECT_EQ(read_code(0, {kStart, 5000, 0, 5000}), ErrorCode::kNoSuchChunk);
  EXPECT_TRUE(call(0, DeleteReplicasRequest{{kChunk}}));
}

TEST_F(SealTest, write_under_way_when_the_chunk_is_deleted_does_no_harm) {
  start(0);
  const auto append = send(0, append_request(kStart, true), first_);
  const auto deleted = send(0, DeleteReplicasRequest{{kChunk}});
  ASSERT_TRUE(
      events_.run_until([&] { return append->has_value() && deleted->has_value(); }, seconds(5)));
  EXPECT_EQ(outcome_of(append), ErrorCode::kSealed);
  EXPECT_TRUE(list(0).empty());
}

}  // namespace
}  // namespace dfs::chunkserver
