// Start, identity, the relation to the master, and directories that fail.
#include "tests/unit/chunkserver/chunkserver_rig.h"

#include <limits>

#include "chunkserver/core/format_file.h"

namespace dfs::chunkserver {
namespace {

constexpr std::uint32_t kStart = kChunkHeaderBytes;
constexpr const char* kOther = "ffffffffffffffffffffffffffffffff";

class StartTest : public ChunkserverRig {
 protected:
  void write_format(const std::string& path, const std::string& contents) {
    ASSERT_TRUE(node(0).state.make_directory(path));
    ASSERT_TRUE(node(0).state.write_file(path + "/format", contents));
  }
  ErrorCode start_code() {
    start(0);
    return node(0).started->code();
  }
  AppendRequest request_for(ChunkId chunk) {
    AppendRequest request = append_request(kStart, true);
    request.chunk = chunk;
    return request;
  }
  void make_chunks(std::uint64_t count) {
    for (std::uint64_t id = 1; id <= count; ++id) {
      ASSERT_EQ(append_code(0, request_for(ChunkId{id}), blocks(kStart, {100}, 'a', ChunkId{id})),
                ErrorCode::kOk);
    }
  }
};

TEST_F(StartTest, new_server_takes_the_masters_cluster_and_keeps_its_identity) {
  node(0).options.data_directories = {"/data", "/data2"};
  start(0);
  const DirectoryIdentity identity = node(0).server().identity();
  EXPECT_EQ(identity.cluster_id, kClusterId);
  EXPECT_EQ(node(0).server().node(), NodeId{1});
  ASSERT_EQ(master().registrations.size(), 1u);
  EXPECT_EQ(master().registrations[0].cluster_id, "");
  EXPECT_EQ(master().registrations[0].address, "node0:9421");
  crash(0);
  start(0);
  EXPECT_EQ(node(0).server().identity(), identity);
  EXPECT_EQ(master().registrations.back().cluster_id, kClusterId);
  EXPECT_EQ(master().registrations.back().uuid, identity.node_uuid);
  EXPECT_NE(master().registrations[0].incarnation, master().registrations.back().incarnation);
}

TEST_F(StartTest, another_clusters_master_is_refused) {
  start(0);
  kill(0);
  master().cluster_id = kOther;
  start(0);
  ASSERT_TRUE(node(0).fatal.has_value());
  EXPECT_EQ(node(0).fatal->code, ErrorCode::kWrongCluster);
  EXPECT_NE(node(0).fatal->detail.find(kClusterId), std::string::npos);
}

TEST_F(StartTest, nothing_is_appended_in_a_chain_of_another_cluster) {
  start(0);
  master().cluster_id = kOther;
  start(1);
  ASSERT_EQ(node(1).server().identity().cluster_id, kOther);
  const AppendReply reply =
      append(0, append_request(kStart, true, {1}), blocks(kStart, {100}, 'a'));
  EXPECT_EQ(error_code_from_wire(reply.outcome), ErrorCode::kUnavailable);
  EXPECT_TRUE(list(1).empty());
}

TEST_F(StartTest, newer_or_strange_formats_are_refused) {
  const std::string mine = encode_format_file({kClusterId, kOther});
  write_format("/data", "dfs chunkserver data\nformat 2\nsomething new\n");
  EXPECT_EQ(start_code(), ErrorCode::kWrongFormat);
  EXPECT_NE(node(0).started->error().detail.find("format 2"), std::string::npos);
  for (const std::string& contents :
       {std::string(), std::string("hello"), std::string(5000, 'x'), mine.substr(0, 60),
        std::string("dfs chunkserver data\nformat x\n"),
        std::string("dfs chunkserver data\nformat 1\ncluster zz\nnode yy\n")}) {
    kill(0);
    write_format("/data", contents);
    EXPECT_EQ(start_code(), ErrorCode::kWrongFormat) << contents;
  }
  kill(0);
  write_format("/data", mine);
  EXPECT_EQ(start_code(), ErrorCode::kOk);
}

TEST_F(StartTest, directories_of_different_owners_are_refused) {
  node(0).options.data_directories = {"/data", "/data2"};
  write_format("/data", encode_format_file({kClusterId, kOther}));
  write_format("/data2", encode_format_file({kOther, kOther}));
  EXPECT_EQ(start_code(), ErrorCode::kWrongCluster);
  kill(0);
  write_format("/data2", encode_format_file({kClusterId, kClusterId}));
  EXPECT_EQ(start_code(), ErrorCode::kWrongFormat);
}

TEST_F(StartTest, chunks_without_a_format_file_are_refused) {
  start(0);
  kill(0);
  ASSERT_TRUE(node(0).state.remove("/data/format"));
  EXPECT_EQ(start_code(), ErrorCode::kWrongFormat);
}

TEST_F(StartTest, files_that_are_no_chunks_are_left_alone) {
  start(0);
  make_chunks(1);
  kill(0);
  const std::string folder = "/data/chunks/01/";
  const std::string two_blocks = std::string(64, 'x') + blocks(kStart, {50}, 'a', ChunkId{0x201});
  for (const auto& [name, contents] : std::vector<std::pair<std::string, std::string>>{
           {"notes.txt", "mine"},
           {"0000000000000002.open", "in the wrong folder"},
           {"0000000000000101.sealed", "short"},
           {"0000000000000201.open", two_blocks}}) {
    ASSERT_TRUE(node(0).state.write_file(folder + name, contents));
  }
  ASSERT_TRUE(node(0).state.write_file(folder + "0000000000000301.open", "x"));
  start(0);
  ASSERT_EQ(list(0).size(), 1u);
  EXPECT_EQ(node(0).log.count("Left alone"), 4u);
  EXPECT_TRUE(node(0).state.exists(folder + "notes.txt"));
  EXPECT_TRUE(node(0).state.exists(folder + "0000000000000201.open"));
  // Nothing was ever appended to this one.
  EXPECT_FALSE(node(0).state.exists(folder + "0000000000000301.open"));
  EXPECT_TRUE(call(0, DeleteReplicasRequest{{ChunkId{0x201}}}));
  EXPECT_FALSE(node(0).state.exists(folder + "0000000000000201.open"));
}

TEST_F(StartTest, inventory_is_reported_in_pages_and_unknown_replicas_are_deleted) {
  start(0);
  make_chunks(4100);
  kill(0);
  master().inventories.clear();
  master().unknown = {ChunkId{4097}, ChunkId{3}, ChunkId{9999}};
  start(0);
  ASSERT_TRUE(events_.run_until([&] { return master().inventories.size() == 2; }, seconds(5)));
  events_.run_for(milliseconds(100));
  const auto& pages = master().inventories;
  EXPECT_EQ(pages[0].first, ChunkId{0});
  EXPECT_EQ(pages[0].last, ChunkId{4096});
  EXPECT_EQ(pages[0].replicas.size(), 4096u);
  EXPECT_EQ(pages[1].first, ChunkId{4096});
  EXPECT_EQ(pages[1].last, ChunkId{std::numeric_limits<std::uint64_t>::max()});
  EXPECT_EQ(pages[1].replicas.size(), 4u);
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{3}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{4097}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{4}), ErrorCode::kOk);
}

TEST_F(StartTest, server_serves_without_a_master_and_registers_when_it_comes) {
  start(0);
  make_chunks(1);
  kill(0);
  network_.partition("node0", "master");
  start(0, false);
  ASSERT_TRUE(*node(0).started);
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{1}), ErrorCode::kOk);
  EXPECT_FALSE(node(0).server().node().is_set());
  network_.heal_all();
  EXPECT_TRUE(events_.run_until([&] { return node(0).server().node().is_set(); }, seconds(10)));
}

TEST_F(StartTest, heartbeats_come_at_the_interval_and_a_stale_one_registers_again) {
  start(0);
  events_.run_for(seconds(5));
  EXPECT_NEAR(static_cast<double>(master().heartbeats.size()), 5.0, 1.0);
  master().forgets_nodes = true;
  ASSERT_TRUE(events_.run_until([&] { return master().registrations.size() == 2; }, seconds(3)));
  ASSERT_TRUE(events_.run_until([&] { return master().inventories.size() == 2; }, seconds(3)));
}

TEST_F(StartTest, master_that_was_started_anew_is_registered_with_at_once) {
  master().heartbeat_ms = 60'000;
  start(0);
  events_.run_for(seconds(10));
  EXPECT_EQ(master().registrations.size(), 1u);
  master().start_anew();
  ASSERT_TRUE(events_.run_until([&] { return master().registrations.size() == 2; }, seconds(1)));
  events_.run_for(seconds(10));
  EXPECT_EQ(master().registrations.size(), 2u);
  EXPECT_EQ(master().inventories.size(), 2u);
}

TEST_F(StartTest, heartbeat_follows_at_once_when_the_master_is_reachable_again) {
  master().heartbeat_ms = 60'000;
  start(0);
  network_.partition("node0", "master");
  events_.run_for(seconds(10));
  network_.heal_all();
  ASSERT_TRUE(events_.run_until([&] { return master().heartbeats.size() == 1; }, seconds(3)));
  EXPECT_EQ(master().registrations.size(), 1u);
}

TEST_F(StartTest, room_of_deleted_chunks_is_reported_soon_and_not_for_each_of_them) {
  master().heartbeat_ms = 60'000;
  start(0);
  make_chunks(100);
  ASSERT_TRUE(master().heartbeats.empty());
  ASSERT_TRUE(call(0, DeleteReplicasRequest{{ChunkId{1}}}));
  ASSERT_TRUE(events_.run_until([&] { return master().heartbeats.size() == 1; }, seconds(1)));
  for (std::uint64_t id = 2; id <= 100; ++id) {
    ASSERT_TRUE(call(0, DeleteReplicasRequest{{ChunkId{id}}}));
    events_.run_for(milliseconds(20));
  }
  events_.run_for(seconds(1));
  EXPECT_GE(master().heartbeats.size(), 3u);
  EXPECT_LE(master().heartbeats.size(), 7u);
  EXPECT_GT(master().heartbeats.back().directories.at(0).available_bytes,
            master().heartbeats.front().directories.at(0).available_bytes);
}

TEST_F(StartTest, failed_directory_is_taken_out_alone_and_its_replicas_reported_lost) {
  node(0).options.data_directories = {"/data", "/data2"};
  start(0);
  make_chunks(10);
  ASSERT_EQ(list(0).size(), 10u);
  node(0).state.set_faults("/data2", {.fail_writes = true, .fail_syncs = true});
  events_.run_for(seconds(12));  // until it is probed
  const auto left = list(0);
  EXPECT_EQ(left.size(), 5u);
  EXPECT_EQ(node(0).log.count("Data directory failed"), 1u);
  ASSERT_EQ(master().reports.size(), 1u);
  EXPECT_EQ(master().reports[0].lost.size(), 5u);
  EXPECT_TRUE(master().heartbeats.back().directories.at(1).failed);
  EXPECT_FALSE(master().heartbeats.back().directories.at(0).failed);
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, left[0].chunk), ErrorCode::kOk);
  const ChunkId chunk{100};
  EXPECT_EQ(append_code(0, request_for(chunk), blocks(kStart, {100}, 'a', chunk)), ErrorCode::kOk);
}

TEST_F(StartTest, directory_that_fails_during_an_append_fails_only_that) {
  node(0).options.data_directories = {"/data", "/data2"};
  start(0);
  node(0).state.set_faults("/data/", {.read_only = true});
  const ChunkId chunk{100};
  const std::string frame = blocks(kStart, {100}, 'a', chunk);
  EXPECT_EQ(append_code(0, request_for(chunk), frame), ErrorCode::kReadOnly);
  EXPECT_EQ(append_code(0, request_for(chunk), frame), ErrorCode::kOk);
}

TEST_F(StartTest, lack_of_descriptors_condemns_neither_directory_nor_replica) {
  start(0);
  make_chunks(2);
  kill(0);
  start(0);
  node(0).state.set_faults("/data", {.fail_opens = true});
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{1}), ErrorCode::kBusy);
  const ChunkId chunk{100};
  EXPECT_EQ(append_code(0, request_for(chunk), blocks(kStart, {100}, 'a', chunk)),
            ErrorCode::kBusy);
  events_.run_for(seconds(12));  // until it is probed
  EXPECT_FALSE(node(0).server().directories().at(0).failed);
  EXPECT_TRUE(master().reports.empty());
  EXPECT_TRUE(node(0).log.contains("EMFILE"));
  node(0).state.clear_faults();
  EXPECT_EQ(read_code(0, {kStart, 100, 0, 1}, ChunkId{1}), ErrorCode::kOk);
  EXPECT_EQ(append_code(0, request_for(chunk), blocks(kStart, {100}, 'a', chunk)), ErrorCode::kOk);
  kill(0);
  node(0).state.set_faults("/data/chunks", {.fail_opens = true});
  EXPECT_EQ(start_code(), ErrorCode::kBusy);
}

TEST_F(StartTest, directory_unreadable_at_start_is_left_out) {
  node(0).options.data_directories = {"/data", "/data2"};
  start(0);
  make_chunks(4);
  kill(0);
  node(0).state.set_faults("/data2", {.fail_reads = true, .fail_writes = true});
  start(0);
  ASSERT_TRUE(*node(0).started);
  EXPECT_EQ(list(0).size(), 2u);
  EXPECT_TRUE(master().registrations.back().directories.at(1).failed);
  kill(0);
  node(0).state.set_faults("/data", {.fail_reads = true, .fail_writes = true});
  EXPECT_EQ(start_code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace dfs::chunkserver
