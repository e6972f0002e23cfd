#include "fuse-client/core/chunk_writer.h"

#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {
namespace {

using std::chrono::seconds;
using Use = MemoryBudget::Use;

class ChunkWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    OpenChunkReply reply;
    reply.chunk = ChunkId{5};
    reply.epoch = Epoch{7};
    reply.capacity_bytes = kChunkBytesMax;
    reply.nodes = {NodeId{1}, NodeId{2}};
    reply.addresses = {FakeCluster::address_of(NodeId{1}), FakeCluster::address_of(NodeId{2})};
    FakeChunk& chunk = cluster.chunks[reply.chunk];
    chunk.epoch = reply.epoch;
    chunk.capacity_bytes = reply.capacity_bytes;
    chunk.nodes = reply.nodes;
    chunk.bytes.assign(kChunkHeaderBytes, '\0');
    writer = std::make_unique<ChunkWriter>(
        host.world(), links, memory, reply,
        ChunkWriter::Events{.stable =
                                [this](const std::vector<FlightBlockPtr>& blocks) {
                                  for (const FlightBlockPtr& block : blocks) {
                                    EXPECT_LE(block->block_offset + block->room_bytes(),
                                              cluster.chunks[ChunkId{5}].synced_bytes);
                                    stable.push_back(block->file_offset);
                                  }
                                },
                            .broken = [this](ChunkWriter&) { ++broken; }});
  }
  ~ChunkWriterTest() override {
    writer.reset();
    EXPECT_EQ(memory.used(Use::kInFlight), 0u);
  }

  FlightBlockPtr block(std::uint64_t offset, std::uint32_t size) {
    std::uint64_t credit = BlockMemory::cost(size);
    EXPECT_TRUE(memory.try_reserve(Use::kDirty, credit));
    auto made = std::make_shared<FlightBlock>();
    made->inode = InodeId{1};
    made->file_offset = offset;
    made->length = size;
    made->order = ++order;
    made->memory = std::make_shared<BlockMemory>(memory, size, credit);
    const std::string text(size, static_cast<char>('a' + offset % 26));
    made->memory->write(0, std::as_bytes(std::span(text)));
    return made;
  }
  void run_for(Duration duration) { cluster.events.run_for(duration); }

  FakeCluster cluster;
  FakeHost host{cluster.events, cluster.network, "client", 7};
  ChunkLinks links{host.world(), kChunkLinksMax};
  MemoryBudget memory{256u << 20};
  std::unique_ptr<ChunkWriter> writer;
  std::vector<std::uint64_t> stable;
  std::uint64_t order = 0;
  int broken = 0;
};

TEST_F(ChunkWriterTest, small_blocks_go_in_one_append_with_the_sync) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    writer->add(block(i, 1000));
  }
  run_for(seconds(1));
  EXPECT_TRUE(cluster.appends.empty());
  writer->request_sync();
  run_for(seconds(1));
  ASSERT_EQ(cluster.appends.size(), 1u);
  EXPECT_TRUE(cluster.appends[0].sync);
  EXPECT_EQ(stable.size(), 100u);
  EXPECT_TRUE(std::is_sorted(stable.begin(), stable.end()));
}

TEST_F(ChunkWriterTest, large_blocks_are_sent_at_once_and_from_their_own_memory) {
  writer->add(block(0, 1u << 20));
  EXPECT_EQ(memory.used(Use::kInFlight), 0u);
  run_for(seconds(1));
  ASSERT_EQ(cluster.appends.size(), 1u);
  EXPECT_FALSE(cluster.appends[0].sync);
  EXPECT_TRUE(stable.empty());
  // Nothing left to send: the sync goes alone.
  writer->request_sync();
  run_for(seconds(1));
  ASSERT_EQ(cluster.appends.size(), 2u);
  EXPECT_TRUE(cluster.appends[1].sync);
  EXPECT_EQ(stable.size(), 1u);
}

TEST_F(ChunkWriterTest, what_is_in_flight_is_bounded) {
  std::size_t arrived = 0;
  cluster.on_append = [&](const AppendRequest&, const Buffer&) {
    ++arrived;
    return true;  // never answered
  };
  for (std::uint64_t i = 0; i < 40; ++i) {
    writer->add(block(i << 20, 1u << 20));
  }
  run_for(seconds(1));
  EXPECT_EQ(arrived, kAppendWindowFrames);
}

TEST_F(ChunkWriterTest, long_streams_are_synced_now_and_then) {
  for (std::uint64_t i = 0; i < 40; ++i) {
    writer->add(block(i << 20, 1u << 20));
  }
  run_for(seconds(1));
  EXPECT_EQ(cluster.appends.size(), 40u);
  EXPECT_GE(stable.size(), 30u);
  EXPECT_LT(stable.size(), 40u);
}

TEST_F(ChunkWriterTest, a_refused_append_breaks_the_chunk_and_names_the_server) {
  cluster.append_errors[NodeId{2}] = ErrorCode::kNoSpace;
  writer->add(block(0, 100));
  writer->request_sync();
  run_for(seconds(1));
  EXPECT_EQ(broken, 1);
  EXPECT_TRUE(writer->is_broken());
  EXPECT_EQ(writer->failed_node(), NodeId{2});
  EXPECT_EQ(writer->failure(), ErrorCode::kNoSpace);
  EXPECT_EQ(writer->room(), 0u);
  EXPECT_TRUE(stable.empty());
}

TEST_F(ChunkWriterTest, a_silent_server_breaks_the_chunk) {
  cluster.kill_node(NodeId{1});
  writer->add(block(0, 100));
  writer->request_sync();
  run_for(seconds(3));
  EXPECT_EQ(broken, 1);
  EXPECT_EQ(writer->failed_node(), NodeId{1});
}

TEST_F(ChunkWriterTest, a_server_that_lives_but_is_stuck_breaks_the_chunk_later) {
  cluster.on_append = [](const AppendRequest&, const Buffer&) { return true; };
  writer->add(block(0, 100));
  writer->request_sync();
  run_for(seconds(29));
  EXPECT_EQ(broken, 0);
  run_for(seconds(2));
  EXPECT_EQ(broken, 1);
  EXPECT_EQ(writer->failed_node(), NodeId{1});
}

TEST_F(ChunkWriterTest, blocks_nobody_wants_any_more_give_their_place_back) {
  const std::uint64_t room = writer->room();
  const FlightBlockPtr dropped = block(0, 1000);
  writer->add(dropped);
  writer->add(block(1, 1000));
  dropped->is_dropped = true;
  writer->request_sync();
  run_for(seconds(1));
  EXPECT_EQ(room - writer->room(), block_total_bytes(1000));
  EXPECT_EQ(stable, std::vector<std::uint64_t>{1});
}

TEST_F(ChunkWriterTest, a_block_that_was_sent_before_is_copied_for_another_chunk) {
  const FlightBlockPtr large = block(0, 1u << 20);
  ASSERT_NE(large->memory->claim_prefix(block_prefix_bytes(large->length)), nullptr);
  writer->add(large);
  EXPECT_EQ(memory.used(Use::kInFlight), block_total_bytes(1u << 20));
  writer->request_sync();
  run_for(seconds(1));
  EXPECT_EQ(stable.size(), 1u);
}

TEST_F(ChunkWriterTest, the_payload_that_fits_fits) {
  while (writer->payload_fitting() > 0) {
    const std::uint32_t size = std::min<std::uint32_t>(writer->payload_fitting(), 777'777);
    const std::uint64_t room = writer->room();
    writer->add(block(0, size));
    EXPECT_LE(room, writer->room() + block_total_bytes(size));
    writer->request_sync();
    run_for(seconds(1));
  }
  EXPECT_EQ(broken, 0);
  EXPECT_LE(cluster.chunks[ChunkId{5}].bytes.size(), kChunkBytesMax);
  EXPECT_GE(cluster.chunks[ChunkId{5}].bytes.size(), kChunkBytesMax - kChunkTailBytes);
}

}  // namespace
}  // namespace dfs::client
