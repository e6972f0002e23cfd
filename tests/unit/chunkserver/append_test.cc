// Appends: the pipeline, repetition, order, failures of servers and disks.
#include "tests/unit/chunkserver/chunkserver_rig.h"

namespace dfs::chunkserver {
namespace {

constexpr std::uint32_t kStart = kChunkHeaderBytes;

std::uint32_t end_of(std::uint32_t offset, const std::string& frame) {
  return offset + static_cast<std::uint32_t>(frame.size());
}

class AppendTest : public ChunkserverRig {};

TEST_F(AppendTest, append_reaches_all_replicas_of_the_chain) {
  start_all();
  const std::string frame = blocks(kStart, {100, 5000, 70000});
  const AppendReply reply = append(0, append_request(kStart, false, {1, 2}), frame);
  EXPECT_EQ(error_code_from_wire(reply.outcome), ErrorCode::kOk);
  EXPECT_EQ(reply.length_bytes, end_of(kStart, frame));
  for (std::size_t i = 0; i < kNodes; ++i) {
    const auto replicas = list(i);
    ASSERT_EQ(replicas.size(), 1u);
    EXPECT_EQ(replicas[0], (ReplicaInfo{kChunk, kEpoch, end_of(kStart, frame), false, false}));
    EXPECT_EQ(read_code(i, {kStart, 100, 0, 100}), ErrorCode::kOk);
  }
}

TEST_F(AppendTest, synced_append_survives_power_loss_of_all_replicas) {
  start_all();
  const std::string first = blocks(kStart, {4096, 9000});
  const std::string second = blocks(end_of(kStart, first), {123});
  EXPECT_EQ(append_code(0, append_request(kStart, false, {1, 2}), first), ErrorCode::kOk);
  EXPECT_EQ(append_code(0, append_request(end_of(kStart, first), true, {1, 2}), second),
            ErrorCode::kOk);
  for (std::size_t i = 0; i < kNodes; ++i) {
    crash(i);
    start(i);
    const auto replicas = list(i);
    ASSERT_EQ(replicas.size(), 1u);
    EXPECT_EQ(replicas[0].length_bytes, end_of(kStart, first + second));
  }
}

TEST_F(AppendTest, sync_only_append_makes_earlier_ones_durable) {
  start(0);
  const std::string frame = blocks(kStart, {50000});
  EXPECT_EQ(append_code(0, append_request(kStart), frame), ErrorCode::kOk);
  EXPECT_EQ(append_code(0, append_request(end_of(kStart, frame), true), ""), ErrorCode::kOk);
  crash(0);
  start(0);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
}

TEST_F(AppendTest, torn_tail_is_cut_at_the_last_whole_block) {
  start(0);
  const std::string frame = blocks(kStart, {4096, 9000});
  EXPECT_EQ(append_code(0, append_request(kStart, true), frame), ErrorCode::kOk);
  kill(0);
  auto file = node(0).state.open(chunk_path(".open"), OpenMode::kReadWrite);
  ASSERT_TRUE(file);
  const std::string torn = blocks(end_of(kStart, frame), {20000}).substr(0, 9000);
  ASSERT_TRUE(node(0).state.write(**file, end_of(kStart, frame), torn));
  start(0);
  EXPECT_TRUE(node(0).log.contains("torn tail"));
  EXPECT_EQ((*file)->bytes().size(), end_of(kStart, frame));
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
  // The append that was torn is sent again and goes on from there.
  const std::string again = blocks(end_of(kStart, frame), {20000});
  EXPECT_EQ(append_code(0, append_request(end_of(kStart, frame), true), again), ErrorCode::kOk);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame + again));
}

TEST_F(AppendTest, append_torn_between_its_blocks_is_completed_when_repeated) {
  start(0);
  const std::string frame = blocks(kStart, {4096, 9000});
  EXPECT_EQ(append_code(0, append_request(kStart, true), frame), ErrorCode::kOk);
  kill(0);
  auto file = node(0).state.open(chunk_path(".open"), OpenMode::kReadWrite);
  ASSERT_TRUE(node(0).state.truncate(**file, kStart + block_total_bytes(4096) + 77));
  start(0);
  EXPECT_EQ(list(0).at(0).length_bytes, kStart + block_total_bytes(4096));
  EXPECT_EQ(append_code(0, append_request(kStart, true), frame), ErrorCode::kOk);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
  EXPECT_EQ(read_code(0, {kStart + block_total_bytes(4096), 9000, 0, 9000}), ErrorCode::kOk);
}

TEST_F(AppendTest, damaged_block_followed_by_whole_ones_is_kept_and_never_taken_for_a_repetition) {
  start(0);
  const std::string frame = blocks(kStart, {5000, 5000});
  EXPECT_EQ(append_code(0, append_request(kStart, true), frame), ErrorCode::kOk);
  kill(0);
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".open"), kStart + 3000, 1));
  start(0);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
  EXPECT_TRUE(node(0).log.contains("Damaged block"));
  EXPECT_EQ(append_code(0, append_request(kStart, true), frame), ErrorCode::kWrongOffset);
  EXPECT_EQ(read_code(0, {kStart, 5000, 0, 5000}), ErrorCode::kCorrupt);
  EXPECT_EQ(read_code(0, {kStart + block_total_bytes(5000), 5000, 0, 5000}), ErrorCode::kOk);
}

// A process killed while it wrote two blocks can leave the second alone whole.
TEST_F(AppendTest, a_fence_tells_what_is_whole_up_to_a_damaged_block) {
  start(0);
  const std::string first = blocks(kStart, {5000});
  const std::uint32_t torn = end_of(kStart, first);
  ASSERT_EQ(append_code(0, append_request(kStart, true), first), ErrorCode::kOk);
  ASSERT_EQ(append_code(0, append_request(torn, true), blocks(torn, {5000, 5000})), ErrorCode::kOk);
  kill(0);
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".open"), torn + 3000, 1));
  start(0);
  const auto fenced = call(0, FenceReplicaRequest{kChunk, Epoch{7}});
  ASSERT_TRUE(fenced);
  EXPECT_EQ(fenced->body.replica.length_bytes, torn);
}

TEST_F(AppendTest, repeated_append_is_answered_again_and_written_once) {
  start_all();
  const std::string frame = blocks(kStart, {5000});
  const AppendRequest request = append_request(kStart, true, {1});
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kOk);
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kOk);
  kill(0);
  start(0);
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kOk);  // known from the file
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
  EXPECT_EQ(append_code(0, request, blocks(kStart, {5000}, 'x')), ErrorCode::kWrongOffset);
}

TEST_F(AppendTest, append_repeated_while_in_progress_joins_it) {
  start(0);
  const std::string frame = blocks(kStart, {5000});
  const auto one = send(0, append_request(kStart, true), frame);
  const auto two = send(0, append_request(kStart, true), frame);
  ASSERT_TRUE(events_.run_until([&] { return one->has_value() && two->has_value(); }, seconds(5)));
  EXPECT_EQ(outcome_of(one), ErrorCode::kOk);
  EXPECT_EQ(outcome_of(two), ErrorCode::kOk);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
}

TEST_F(AppendTest, appends_out_of_order_are_put_in_order) {
  start_all();
  const std::string first = blocks(kStart, {5000});
  const std::string second = blocks(end_of(kStart, first), {6000});
  const std::string third = blocks(end_of(kStart, first + second), {7000});
  const std::vector<std::size_t> chain{1, 2};
  const auto c = send(0, append_request(end_of(kStart, first + second), true, chain), third);
  events_.run_for(milliseconds(5));
  const auto b = send(0, append_request(end_of(kStart, first), false, chain), second);
  events_.run_for(milliseconds(5));
  EXPECT_FALSE(b->has_value());
  const auto a = send(0, append_request(kStart, false, chain), first);
  ASSERT_TRUE(events_.run_until([&] { return a->has_value() && b->has_value() && c->has_value(); },
                                seconds(5)));
  EXPECT_EQ(outcome_of(a), ErrorCode::kOk);
  EXPECT_EQ(outcome_of(b), ErrorCode::kOk);
  EXPECT_EQ(outcome_of(c), ErrorCode::kOk);
  EXPECT_EQ(list(2).at(0).length_bytes, end_of(kStart, first + second + third));
}

TEST_F(AppendTest, append_beyond_the_end_is_refused_after_a_while) {
  start(0);
  const auto sent_at = events_.now();
  const std::string frame = blocks(kStart + 1000, {100});
  EXPECT_EQ(append_code(0, append_request(kStart + 1000), frame), ErrorCode::kWrongOffset);
  EXPECT_GE(events_.now() - sent_at, seconds(1));
  EXPECT_LT(events_.now() - sent_at, seconds(2));
  EXPECT_EQ(append_code(0, append_request(kStart, true), ""), ErrorCode::kWrongOffset);
}

TEST_F(AppendTest, too_many_appends_ahead_of_their_turn_are_refused) {
  node(0).options.bounds.held_appends_max = 2;
  start(0);
  std::vector<Pending<AppendRequest>> held;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const std::uint32_t offset = kStart + 1000 + i * 1000;
    held.push_back(send(0, append_request(offset), blocks(offset, {100})));
  }
  ASSERT_TRUE(events_.run_until([&] { return held[2]->has_value(); }, milliseconds(500)));
  EXPECT_EQ(outcome_of(held[2]), ErrorCode::kBusy);
  EXPECT_FALSE(held[1]->has_value());
}

TEST_F(AppendTest, appends_over_the_bound_of_bytes_in_progress_are_refused) {
  node(0).options.bounds.append_bytes_in_progress_max = 20000;
  start(0);
  const std::string first = blocks(kStart, {9000});
  const std::string second = blocks(end_of(kStart, first), {9000});
  const auto one = send(0, append_request(kStart, true), first);
  const auto two = send(0, append_request(end_of(kStart, first), true), second);
  ASSERT_TRUE(events_.run_until([&] { return one->has_value() && two->has_value(); }, seconds(5)));
  EXPECT_EQ(outcome_of(one), ErrorCode::kOk);
  EXPECT_EQ(outcome_of(two), ErrorCode::kBusy);
  EXPECT_EQ(append_code(0, append_request(end_of(kStart, first), true), second), ErrorCode::kOk);
}

TEST_F(AppendTest, garbage_is_refused_and_leaves_nothing) {
  start(0);
  const std::string good = blocks(kStart, {5000});
  std::string flipped = good;
  flipped[3000] = static_cast<char>(flipped[3000] ^ 1);
  for (const std::string& frame :
       {std::string(5000, 'x'), flipped, good.substr(0, 4000), good + "x",
        blocks(kStart + 64, {5000}), blocks(kStart, {5000}, 'a', ChunkId{99}),
        blocks(kStart, {5000}, 'a', kChunk, Epoch{7})}) {
    const AppendReply reply = append(0, append_request(kStart), frame);
    EXPECT_EQ(error_code_from_wire(reply.outcome), ErrorCode::kCorrupt);
    EXPECT_EQ(reply.failed_node, NodeId{1});
  }
  EXPECT_TRUE(list(0).empty());
  EXPECT_FALSE(node(0).state.exists(chunk_path(".open")));
}

TEST_F(AppendTest, appends_that_are_none_are_refused) {
  start(0);
  const std::string frame = blocks(kStart, {100});
  AppendRequest request = append_request(kStart);
  EXPECT_EQ(append_code(0, request, ""), ErrorCode::kInvalidArgument);
  request.epoch = Epoch{};
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kInvalidArgument);
  request = append_request(0);
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kInvalidArgument);
  request = append_request(kStart);
  request.chain_nodes.push_back(NodeId{2});
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kInvalidArgument);
  request = append_request(kChunkBytesMax - 10);
  EXPECT_EQ(append_code(0, request, frame), ErrorCode::kTooLarge);
}

TEST_F(AppendTest, dead_server_down_the_chain_is_named_within_the_liveness_time) {
  start_all();
  const std::string first = blocks(kStart, {5000});
  EXPECT_EQ(append_code(0, append_request(kStart, false, {1, 2}), first), ErrorCode::kOk);
  kill(2);
  const auto sent_at = events_.now();
  const std::string second = blocks(end_of(kStart, first), {100});
  const AppendReply reply = append(0, append_request(end_of(kStart, first), false, {1, 2}), second);
  EXPECT_EQ(error_code_from_wire(reply.outcome), ErrorCode::kUnavailable);
  EXPECT_EQ(reply.failed_node, NodeId{3});
  EXPECT_LT(events_.now() - sent_at, kLivenessTimeout + milliseconds(600));
}

TEST_F(AppendTest, failing_server_down_the_chain_is_named) {
  start_all();
  node(2).state.set_faults("/data", {.fail_writes = true});
  const AppendReply reply =
      append(0, append_request(kStart, false, {1, 2}), blocks(kStart, {5000}));
  EXPECT_EQ(error_code_from_wire(reply.outcome), ErrorCode::kIo);
  EXPECT_EQ(reply.failed_node, NodeId{3});
}

TEST_F(AppendTest, failed_write_ends_the_growth_of_the_replica_but_not_its_reads) {
  node(0).options.reserve_bytes = 1;
  start(0);
  const std::string first = blocks(kStart, {5000});
  EXPECT_EQ(append_code(0, append_request(kStart, true), first), ErrorCode::kOk);
  node(0).state.set_capacity(node(0).state.used_bytes());
  const std::string second = blocks(end_of(kStart, first), {60000});
  EXPECT_EQ(append_code(0, append_request(end_of(kStart, first)), second), ErrorCode::kNoSpace);
  node(0).state.set_capacity(std::uint64_t{1} << 30);
  EXPECT_EQ(append_code(0, append_request(end_of(kStart, first)), second), ErrorCode::kNoSpace);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, first));
  EXPECT_EQ(read_code(0, {kStart, 5000, 0, 5000}), ErrorCode::kOk);
  EXPECT_EQ(seal(0, end_of(kStart, first), Epoch{2}), ErrorCode::kOk);
}

TEST_F(AppendTest, new_chunks_are_refused_below_the_watermark_and_open_ones_grow_into_it) {
  node(0).state.set_capacity(64 << 20);
  node(0).options.reserve_bytes = 60 << 20;
  start(0);
  const std::string first = blocks(kStart, {1 << 20, 1 << 20, 1 << 20});
  EXPECT_EQ(append_code(0, append_request(kStart), first), ErrorCode::kOk);
  const std::uint32_t at = end_of(kStart, first);
  const std::string second = blocks(at, {1 << 20, 1 << 20});
  EXPECT_EQ(append_code(0, append_request(at), second), ErrorCode::kOk);
  EXPECT_EQ(node(0).server().directories().at(0).available_bytes, 0u);
  const ChunkId other{77};
  AppendRequest request = append_request(kStart);
  request.chunk = other;
  EXPECT_EQ(append_code(0, request, blocks(kStart, {100}, 'a', other)), ErrorCode::kNoSpace);
  const std::string third = blocks(at + static_cast<std::uint32_t>(second.size()), {5000});
  EXPECT_EQ(append_code(0, append_request(at + static_cast<std::uint32_t>(second.size())), third),
            ErrorCode::kOk);
}

TEST_F(AppendTest, stop_syncs_open_chunks) {
  start(0);
  const std::string frame = blocks(kStart, {50000});
  EXPECT_EQ(append_code(0, append_request(kStart), frame), ErrorCode::kOk);
  bool is_stopped = false;
  node(0).server().stop([&] { is_stopped = true; });
  ASSERT_TRUE(events_.run_until([&] { return is_stopped; }, seconds(5)));
  crash(0);
  start(0);
  EXPECT_EQ(list(0).at(0).length_bytes, end_of(kStart, frame));
}

}  // namespace
}  // namespace dfs::chunkserver
