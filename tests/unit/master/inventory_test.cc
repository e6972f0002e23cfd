// What servers report against what the master's rows say.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "proto/block.h"
#include "tests/unit/master/chunk_rig.h"

namespace dfs::master {
namespace {

using std::chrono::seconds;

class Inventory : public ChunkRig {
 protected:
  void SetUp() override {
    ChunkRig::SetUp();
    add_servers(2);
    file = client->make_file("file");
    chunk = open_chunk();
    write(chunk, file, 0, 4096);
  }
  void seal_everywhere() {
    seal(chunk.chunk);
    ASSERT_TRUE(wait_until_sealed(chunk.chunk));
    ASSERT_TRUE(
        events.run_until([&] { return replica(0).sealed && replica(1).sealed; }, seconds(5)));
  }
  FakeChunkserver& at(std::size_t index) { return server_of(chunk, index); }
  ReplicaInfo& replica(std::size_t index) { return at(index).replicas[chunk.chunk]; }
  ReplicaRowState state(std::size_t index) { return state_of(chunk.chunk, chunk.nodes[index]); }
  // Starts again and reports what it has now.
  void restart(FakeChunkserver& server) {
    server.kill();
    server.start();
    run_for(seconds(1));
  }

  InodeId file;
  OpenChunkReply chunk;
};

TEST_F(Inventory, a_replica_that_vanished_is_missing_until_it_is_back) {
  seal_everywhere();
  const ReplicaInfo kept = replica(0);
  at(0).replicas.clear();
  restart(at(0));
  EXPECT_EQ(state(0), ReplicaRowState::kMissing);
  at(0).replicas[chunk.chunk] = kept;
  at(0).replicas[chunk.chunk].length_bytes -= 1;
  restart(at(0));
  EXPECT_EQ(state(0), ReplicaRowState::kDamaged);  // back, but shorter
}

TEST_F(Inventory, a_replica_that_is_back_whole_is_good_again) {
  seal_everywhere();
  const ReplicaInfo kept = replica(0);
  at(0).replicas.clear();
  restart(at(0));
  ASSERT_EQ(state(0), ReplicaRowState::kMissing);
  at(0).replicas[chunk.chunk] = kept;
  restart(at(0));
  EXPECT_EQ(state(0), ReplicaRowState::kGood);
}

TEST_F(Inventory, a_report_of_before_the_last_append_tells_of_no_damage) {
  seal_everywhere();
  ReportInventoryRequest report;
  report.node = chunk.nodes[0];
  report.incarnation = 1;  // of a server that was never started again
  report.first = ChunkId{chunk.chunk.value - 1};
  report.last = chunk.chunk;
  report.replicas = {replica(0)};
  report.replicas[0].length_bytes -= 1;
  report.replicas[0].sealed = false;
  ASSERT_TRUE(client->ask(report));
  run_for(seconds(1));
  EXPECT_EQ(state(0), ReplicaRowState::kGood);
}

TEST_F(Inventory, an_unsealed_replica_that_is_shorter_than_its_chunk_is_damaged) {
  seal_everywhere();
  replica(0).length_bytes -= 1;
  replica(0).sealed = false;
  restart(at(0));
  EXPECT_EQ(state(0), ReplicaRowState::kDamaged);
}

TEST_F(Inventory, a_damaged_replica_stays_damaged_however_well_it_looks) {
  seal_everywhere();
  ReportReplicasRequest report;
  report.node = chunk.nodes[0];
  report.damaged = {replica(0)};
  ASSERT_TRUE(client->ask(report));
  EXPECT_EQ(state(0), ReplicaRowState::kDamaged);
  restart(at(0));
  EXPECT_EQ(state(0), ReplicaRowState::kDamaged);
}

TEST_F(Inventory, a_lost_directory_loses_its_replicas) {
  seal_everywhere();
  ReportReplicasRequest report;
  report.node = chunk.nodes[1];
  report.lost = {chunk.chunk, ChunkId{777}};
  ASSERT_TRUE(client->ask(report));
  EXPECT_EQ(state(1), ReplicaRowState::kMissing);
}

TEST_F(Inventory, a_lost_disk_is_not_a_flood_of_log_lines) {
  ReportReplicasRequest report;
  report.node = chunk.nodes[0];
  for (int i = 0; i < 50; ++i) {
    const auto other = open_chunk();
    ASSERT_EQ(std::count(other.nodes.begin(), other.nodes.end(), report.node), 1);
    report.lost.push_back(other.chunk);
  }
  process->log.clear();
  ASSERT_TRUE(client->ask(report));
  EXPECT_EQ(process->log.count("A replica is now missing"), 16u);
  EXPECT_EQ(process->log.count("replicas=34"), 1u);
}

TEST_F(Inventory, bad_blocks_and_other_lengths_are_damage) {
  seal_everywhere();
  replica(0).damaged = true;
  replica(1).length_bytes += 4096;
  restart(at(0));
  restart(at(1));
  EXPECT_EQ(state(0), ReplicaRowState::kDamaged);
  EXPECT_EQ(state(1), ReplicaRowState::kDamaged);
}

TEST_F(Inventory, an_open_chunk_need_not_be_there_yet) {
  const auto fresh = open_chunk();
  restart(at(0));
  EXPECT_EQ(state_of(fresh.chunk, fresh.nodes[0]), ReplicaRowState::kGood);
  EXPECT_EQ(state_of(fresh.chunk, fresh.nodes[1]), ReplicaRowState::kGood);
}

TEST_F(Inventory, an_unsealed_replica_of_a_sealed_chunk_is_cut_and_sealed) {
  seal_everywhere();
  const std::uint32_t length = replica(0).length_bytes;
  replica(0).sealed = false;
  replica(0).length_bytes += 500;
  restart(at(0));
  EXPECT_TRUE(replica(0).sealed);
  EXPECT_EQ(replica(0).length_bytes, length);
  EXPECT_EQ(state(0), ReplicaRowState::kGood);
}

TEST_F(Inventory, chunks_forgotten_by_the_master_are_deleted_but_never_newer_ones) {
  seal_everywhere();
  const auto forgotten = open_chunk();
  ASSERT_TRUE(in_transaction([&](OpContext& context) -> Status {
    for (const NodeId node : forgotten.nodes) {
      DFS_CHECK_OK(context.store.erase_replica(forgotten.chunk, node));
    }
    return context.store.erase_chunk(forgotten.chunk);
  }));
  const ChunkId newer{1u << 20};
  for (const ChunkId id : {forgotten.chunk, newer}) {
    at(0).replicas[id].chunk = id;
    at(0).replicas[id].length_bytes = 5000;
  }
  restart(at(0));
  EXPECT_EQ(at(0).deleted, std::vector<ChunkId>{forgotten.chunk});
  EXPECT_TRUE(at(0).replicas.contains(newer));
  EXPECT_TRUE(at(0).replicas.contains(chunk.chunk));
  EXPECT_TRUE(process->log.contains("newer than this database"));
}

TEST_F(Inventory, a_report_made_before_a_chunk_was_opened_does_not_make_it_missing) {
  // Registered, and its report is on its way while a chunk is opened, filled and sealed.
  RegisterNodeRequest again;
  again.uuid = std::string(32, 'e');
  again.address = "elsewhere:1";
  again.incarnation = 1;
  const auto registered = client->ask(again);
  ASSERT_TRUE(registered);
  const ChunkId late{900};
  ASSERT_TRUE(in_transaction([&](OpContext& context) -> Status {
    ChunkRow row;
    row.chunk = late;
    row.state = ChunkState::kSealed;
    row.length_bytes = 5000;
    row.live_bytes = 1;
    DFS_CHECK_OK(context.store.put_chunk(row));
    return context.store.put_replica({late, registered->node, ReplicaRowState::kGood});
  }));
  ReportInventoryRequest report;
  report.node = registered->node;
  report.incarnation = 1;
  report.last = ChunkId{std::numeric_limits<std::uint64_t>::max()};
  ASSERT_TRUE(client->ask(report));
  EXPECT_EQ(state_of(late, registered->node), ReplicaRowState::kGood);
}

TEST_F(Inventory, strangers_and_nonsense_are_refused) {
  ReportInventoryRequest report;
  report.node = chunk.nodes[0];
  report.incarnation = 999;
  EXPECT_EQ(client->ask(report).code(), ErrorCode::kStale);
  report.incarnation = 1;
  report.last = ChunkId{100};
  report.replicas.resize(2);
  report.replicas[0].chunk = ChunkId{5};
  report.replicas[1].chunk = ChunkId{4};
  EXPECT_EQ(client->ask(report).code(), ErrorCode::kInvalidArgument);
  report.replicas.resize(1);
  report.replicas[0].chunk = ChunkId{101};
  EXPECT_EQ(client->ask(report).code(), ErrorCode::kInvalidArgument);
  HeartbeatRequest heartbeat;
  heartbeat.node = NodeId{55};
  EXPECT_EQ(client->ask(heartbeat).code(), ErrorCode::kStale);

  RegisterNodeRequest request;
  request.uuid = "short";
  request.address = "x:1";
  EXPECT_EQ(client->ask(request).code(), ErrorCode::kInvalidArgument);
  request.uuid = std::string(32, 'f');
  request.cluster_id = std::string(32, '0');
  EXPECT_EQ(client->ask(request).code(), ErrorCode::kWrongCluster);
  request.cluster_id = kTestCluster;
  const auto first = client->ask(request);
  ASSERT_TRUE(first);
  request.address = "y:1";  // the same server, moved
  const auto moved = client->ask(request);
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->node, first->node);
}

TEST_F(Inventory, a_server_keeps_its_id_over_restarts_and_power_loss_of_the_master) {
  const NodeId before = servers[0]->id;
  restart_after_power_loss();
  wait_for_servers();
  EXPECT_EQ(servers[0]->id, before);
  const auto nodes = client->ask(ListNodesRequest{});
  ASSERT_TRUE(nodes);
  EXPECT_EQ(nodes->nodes.size(), 2u);
}

TEST_F(Inventory, status_and_lists_say_what_is_there) {
  seal_everywhere();
  const auto open = open_chunk({3, 2});
  const auto status = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(status);
  EXPECT_EQ(status->chunks, 2u);
  EXPECT_EQ(status->chunks_open, 1u);
  EXPECT_EQ(status->chunks_degraded, 1u);  // two of three
  EXPECT_EQ(status->nodes_up, 2u);
  EXPECT_EQ(status->live_bytes, 4096u);
  at(0).kill();
  at(1).kill();
  run_for(seconds(20));
  const auto down = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(down);
  EXPECT_EQ(down->nodes_down, 2u);
  EXPECT_EQ(down->chunks_unavailable, 2u);

  ListChunksRequest page;
  page.chunks_max = 1;
  const auto first = client->ask(page);
  ASSERT_TRUE(first);
  ASSERT_EQ(first->chunks.size(), 1u);
  EXPECT_FALSE(first->end);
  EXPECT_TRUE(first->chunks[0].sealed);
  EXPECT_EQ(first->chunks[0].replicas.size(), 2u);
  DescribeChunksRequest describe;
  describe.chunks = {open.chunk, ChunkId{999}};
  const auto described = client->ask(describe);
  ASSERT_TRUE(described);
  ASSERT_EQ(described->chunks.size(), 1u);
  EXPECT_EQ(described->chunks[0].policy.replicas, 3u);
}

}  // namespace
}  // namespace dfs::master
