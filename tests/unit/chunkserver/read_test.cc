// Reads and verification: what is served, what is found damaged, and who is told.
#include "tests/unit/chunkserver/chunkserver_rig.h"

#include "proto/block.h"

namespace dfs::chunkserver {
namespace {

constexpr std::uint32_t kStart = kChunkHeaderBytes;
constexpr std::uint32_t kLarge = 600'000;  // its later cells are read apart from its prefix

class ReadTest : public ChunkserverRig {
 protected:
  void make_chunk() {
    start(0);
    ASSERT_EQ(append_code(0, append_request(kStart, true), frame_), ErrorCode::kOk);
  }
  // Checks the answer's cells with its checksums and returns them.
  static std::string cells(const RpcReply<ReadReply>& reply) {
    std::string all(reply.bulk.text());
    std::size_t at = 0;
    for (const ReadRangeResult& range : reply.body.ranges) {
      const auto bytes = reply.bulk.bytes().subspan(at, range.size_bytes);
      EXPECT_TRUE(verify_cells(bytes, range.checksums));
      at += range.size_bytes;
    }
    EXPECT_EQ(at, all.size());
    return all;
  }
  std::string payload(std::uint32_t block, std::uint32_t block_bytes) const {
    return frame_.substr(block - kStart + block_prefix_bytes(block_bytes), block_bytes);
  }
  const std::string frame_ = blocks(kStart, {10'000, kLarge, 100});
  const std::uint32_t large_ = kStart + block_total_bytes(10'000);
  const std::uint32_t last_ = large_ + block_total_bytes(kLarge);
};

TEST_F(ReadTest, one_range_gets_the_cells_that_cover_it) {
  make_chunk();
  auto reply = read(0, {{kStart, 10'000, 5000, 10}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body.ranges[0].first_cell, 1u);
  EXPECT_EQ(cells(*reply), payload(kStart, 10'000).substr(4096, 4096));
  reply = read(0, {{kStart, 10'000, 0, 10'000}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(cells(*reply), payload(kStart, 10'000));
  for (int i = 0; i < 2; ++i) {  // the second time with a known prefix
    reply = read(0, {{large_, kLarge, 500'000, 90'000}});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->body.ranges[0].first_cell, 122u);
    EXPECT_EQ(cells(*reply),
              payload(large_, kLarge).substr(122 * 4096, 590'000 - 122 * 4096 + 3920));
  }
}

TEST_F(ReadTest, several_ranges_come_back_to_back) {
  make_chunk();
  const auto reply =
      read(0, {{last_, 100, 10, 20}, {kStart, 10'000, 9000, 1000}, {large_, kLarge, 0, 1}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(cells(*reply), payload(last_, 100) + payload(kStart, 10'000).substr(8192) +
                               payload(large_, kLarge).substr(0, 4096));
}

TEST_F(ReadTest, what_is_stored_behind_a_block_comes_along_when_asked_for) {
  make_chunk();
  ReadRequest request{.chunk = kChunk, .ranges = {{kStart, 10'000, 0, 10'000}}};
  const auto bulk = [&](std::uint32_t until) {
    request.neighbours_until = until;
    const auto reply = call(0, request);
    EXPECT_TRUE(reply);
    EXPECT_EQ(reply->body.ranges[0].size_bytes, 10'000u);
    return std::string(reply->bulk.text());
  };
  const std::size_t behind = large_ - kStart;
  EXPECT_EQ(bulk(0), payload(kStart, 10'000));
  EXPECT_EQ(bulk(large_ + 1000), payload(kStart, 10'000) + frame_.substr(behind, 1000));
  // Never more than the bound, and not behind the end of the chunk.
  EXPECT_EQ(bulk(kChunkBytesMax).size(), 10'000 + kReadNeighboursBytesMax);
  request.ranges = {{last_, 100, 0, 100}};
  request.neighbours_until = kChunkBytesMax;
  auto reply = call(0, request);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->bulk.text(), payload(last_, 100));
  // A range that ends within its block has no neighbours.
  request.ranges = {{kStart, 10'000, 0, 5000}};
  reply = call(0, request);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->bulk.size(), 8192u);
}

TEST_F(ReadTest, wrong_ranges_are_refused_one_by_one) {
  make_chunk();
  const std::vector<ReadRange> wrong{
      {kStart, 10'000, 9000, 1001}, {kStart, 10'000, 0, 0},     {kStart, 0, 0, 1},
      {kStart + 1, 10'000, 0, 1},   {kStart, 9'999, 0, 1},      {0, 100, 0, 1},
      {0xFFFFFFFF, 100, 0, 1},      {kStart, 0xFFFFFFFF, 0, 1}, {kStart, 100, 0xFFFFFFFF, 2}};
  for (const ReadRange& range : wrong) {
    EXPECT_EQ(read_code(0, range), ErrorCode::kInvalidArgument);
  }
  const auto mixed = read(0, {wrong[0], {last_, 100, 0, 100}});
  ASSERT_TRUE(mixed);
  EXPECT_EQ(error_code_from_wire(mixed->body.ranges[0].code), ErrorCode::kInvalidArgument);
  EXPECT_EQ(mixed->bulk.text(), payload(last_, 100));
  EXPECT_EQ(read_code(0, {last_ + block_total_bytes(100), 100, 0, 1}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{99}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(read(0, {}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(read(0, std::vector<ReadRange>(kReadRangesMax + 1, {last_, 100, 0, 1})).code(),
            ErrorCode::kTooLarge);
  EXPECT_EQ(read(0, std::vector<ReadRange>(8, {large_, kLarge, 0, kLarge})).code(),
            ErrorCode::kTooLarge);
  EXPECT_TRUE(master().reports.empty());
}

TEST_F(ReadTest, reads_over_the_bound_of_bytes_in_progress_are_refused) {
  node(0).options.bounds.read_bytes_in_progress_max = 700'000;
  make_chunk();
  const auto one = send(0, ReadRequest{kChunk, {{large_, kLarge, 0, kLarge}}});
  const auto two = send(0, ReadRequest{kChunk, {{large_, kLarge, 0, kLarge}}});
  ASSERT_TRUE(events_.run_until([&] { return one->has_value() && two->has_value(); }, seconds(5)));
  EXPECT_TRUE(**one);
  EXPECT_EQ((*two)->code(), ErrorCode::kBusy);
  EXPECT_EQ(read_code(0, {large_, kLarge, 0, kLarge}), ErrorCode::kOk);
}

TEST_F(ReadTest, flipped_byte_is_noticed_not_served_and_reported_once) {
  make_chunk();
  EXPECT_EQ(seal(0, kStart + static_cast<std::uint32_t>(frame_.size()), Epoch{2}), ErrorCode::kOk);
  const std::uint32_t at = large_ + block_prefix_bytes(kLarge) + 200'000;
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".sealed"), at, 3));
  const auto reply = read(0, {{large_, kLarge, 200'000, 1}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(error_code_from_wire(reply->body.ranges[0].code), ErrorCode::kCorrupt);
  EXPECT_TRUE(reply->bulk.empty());
  EXPECT_EQ(read_code(0, {large_, kLarge, 200'000, 1}), ErrorCode::kCorrupt);
  EXPECT_EQ(read_code(0, {large_, kLarge, 0, 4096}), ErrorCode::kOk);
  events_.run_for(seconds(1));
  EXPECT_EQ(node(0).log.count("Damaged replica"), 1u);
  ASSERT_EQ(master().reports.size(), 1u);
  ASSERT_EQ(master().reports[0].damaged.size(), 1u);
  EXPECT_EQ(master().reports[0].damaged[0].chunk, kChunk);
  EXPECT_TRUE(list(0).at(0).damaged);
}

TEST_F(ReadTest, flipped_byte_in_a_header_is_told_from_a_wrong_request) {
  make_chunk();
  EXPECT_EQ(seal(0, kStart + static_cast<std::uint32_t>(frame_.size()), Epoch{2}), ErrorCode::kOk);
  // No block begins there: the asker's fault.
  EXPECT_EQ(read_code(0, {kStart + 8, 100, 0, 1}), ErrorCode::kCorrupt);
  events_.run_for(seconds(1));
  EXPECT_TRUE(master().reports.empty());
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".sealed"), large_ + 33, 0));
  EXPECT_EQ(read_code(0, {large_, kLarge, 0, 1}), ErrorCode::kCorrupt);
  events_.run_for(seconds(1));
  ASSERT_EQ(master().reports.size(), 1u);
  EXPECT_EQ(master().reports[0].damaged.at(0).chunk, kChunk);
}

TEST_F(ReadTest, unreadable_place_costs_one_replica_not_its_directory) {
  make_chunk();
  node(0).state.set_faults(chunk_path(".open"), {.fail_reads = true});
  EXPECT_EQ(read_code(0, {kStart, 10'000, 0, 1}), ErrorCode::kIo);
  events_.run_for(seconds(2));
  EXPECT_FALSE(node(0).server().directories().at(0).failed);
  ASSERT_EQ(master().reports.size(), 1u);
  EXPECT_EQ(master().reports[0].damaged.at(0).chunk, kChunk);
}

TEST_F(ReadTest, unreadable_neighbour_does_not_cost_the_block_asked_for) {
  make_chunk();
  node(0).state.set_faults(chunk_path(".open"), {.unreadable_from = large_ + 100});
  const auto reply = call(0, ReadRequest{.chunk = kChunk,
                                         .ranges = {{kStart, 10'000, 0, 10'000}},
                                         .neighbours_until = large_ + 1000});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body.ranges[0].code, 0u);
  EXPECT_EQ(reply->bulk.text(), payload(kStart, 10'000));
  events_.run_for(seconds(2));
  EXPECT_TRUE(master().reports.empty());
}

TEST_F(ReadTest, file_that_vanished_is_reported_lost) {
  make_chunk();
  EXPECT_EQ(seal(0, kStart + static_cast<std::uint32_t>(frame_.size()), Epoch{2}), ErrorCode::kOk);
  kill(0);
  start(0);
  ASSERT_TRUE(node(0).state.remove(chunk_path(".sealed")));
  EXPECT_EQ(read_code(0, {kStart, 10'000, 0, 1}), ErrorCode::kNoSuchChunk);
  events_.run_for(seconds(1));
  ASSERT_EQ(master().reports.size(), 1u);
  EXPECT_EQ(master().reports[0].lost, std::vector<ChunkId>{kChunk});
  EXPECT_TRUE(list(0).empty());
}

TEST_F(ReadTest, verification_finds_the_bad_blocks) {
  make_chunk();
  auto verified = call(0, VerifyReplicaRequest{kChunk});
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->body.blocks_checked, 3u);
  EXPECT_TRUE(verified->body.bad_block_offsets.empty());
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".open"), last_ + 80, 3));
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".open"), kStart + 5000, 3));
  const auto again = send(0, VerifyReplicaRequest{kChunk});
  verified = call(0, VerifyReplicaRequest{kChunk});
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->body.blocks_checked, 3u);
  EXPECT_EQ(verified->body.bad_block_offsets, (std::vector<std::uint32_t>{kStart, last_}));
  EXPECT_TRUE(verified->body.replica.damaged);
  EXPECT_TRUE(again->has_value());
  EXPECT_EQ(call(0, VerifyReplicaRequest{ChunkId{99}}).code(), ErrorCode::kNoSuchChunk);
}

TEST_F(ReadTest, verification_finds_a_bad_chunk_header) {
  make_chunk();
  ASSERT_TRUE(node(0).state.flip_bit(chunk_path(".open"), 33, 3));
  const auto verified = call(0, VerifyReplicaRequest{kChunk});
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->body.blocks_checked, 3u);
  EXPECT_EQ(verified->body.bad_block_offsets, std::vector<std::uint32_t>{0});
  EXPECT_TRUE(verified->body.replica.damaged);
}

TEST_F(ReadTest, verification_goes_through_a_chunk_of_many_pieces) {
  start(0);
  std::uint32_t at = kStart;
  std::uint32_t count = 0;
  for (int i = 0; i < 5; ++i) {
    const std::string frame = blocks(at, {1 << 20, 700'000, 1, 300'000});
    ASSERT_EQ(append_code(0, append_request(at), frame), ErrorCode::kOk);
    at += static_cast<std::uint32_t>(frame.size());
    count += 4;
  }
  const auto verified = call(0, VerifyReplicaRequest{kChunk});
  ASSERT_TRUE(verified);
  EXPECT_EQ(verified->body.blocks_checked, count);
  EXPECT_TRUE(verified->body.bad_block_offsets.empty());
}

}  // namespace
}  // namespace dfs::chunkserver
