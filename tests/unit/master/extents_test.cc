// Opening chunks, committing and reading extents, and what is counted about them.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "master/core/chunk_manager.h"
#include "master/core/open_chunks.h"
#include "proto/block.h"
#include "tests/unit/master/chunk_rig.h"

namespace dfs::master {
namespace {

using std::chrono::seconds;

constexpr std::uint64_t kMiB = 1u << 20;

class Extents : public ChunkRig {
 protected:
  ErrorCode open_code(StoragePolicy policy) {
    OpenChunkRequest request;
    request.policy = policy;
    return client->change(request).code();
  }
  ErrorCode commit_code(InodeId inode, std::vector<Extent> extents) {
    return error_code_from_wire(commit(inode, std::move(extents)).code);
  }
};

TEST_F(Extents, open_chunk_tells_too_few_servers_from_a_full_cluster) {
  EXPECT_EQ(open_code({2, 2}), ErrorCode::kNotEnoughServers);
  add_servers(1, 100 * kMiB);
  EXPECT_EQ(open_code({2, 2}), ErrorCode::kNotEnoughServers);
  EXPECT_EQ(open_code({2, 1}), ErrorCode::kOk);
  add_servers(1, kMiB / 2);
  EXPECT_EQ(open_code({2, 2}), ErrorCode::kNoSpace);
  EXPECT_EQ(open_code({0, 0}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(open_code({2, 3}), ErrorCode::kInvalidArgument);
}

// Its write lease was given up with it, and nobody reclaims that.
TEST_F(Extents, what_was_committed_last_is_made_again_after_a_loss_of_power) {
  add_servers(2);
  const InodeId file = client->make_file("a");
  const OpenChunkReply chunk = open_chunk();
  ASSERT_TRUE(client->ask(SyncMetadataRequest{}));
  const auto lease = client->ask(TakeWriteLeaseRequest{.inode = file});
  ASSERT_TRUE(lease);
  CommitExtentsRequest request;
  request.files.emplace_back();
  request.files[0].inode = file;
  request.files[0].write_epoch = lease->epoch;
  request.files[0].extents = {append(chunk, 0, 4096)};
  request.files[0].is_last = true;
  const auto reply = client->change(request);
  ASSERT_TRUE(reply);
  ASSERT_EQ(reply->results.at(0).code, 0);
  const std::string change = client->told_again(request);
  client->written = {{file, lease->epoch}};  // it was opened again
  lose_power();
  start();
  ASSERT_TRUE(client->replay({change}));
  EXPECT_EQ(client->attributes(file).size_bytes, 4096u);
  request.files[0].extents = {append(chunk, 4096, 4096)};
  const auto next = client->change(request);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->results.at(0).code, 0);
}

TEST_F(Extents, a_full_server_is_passed_over_and_status_says_so) {
  add_servers(2, 100 * kMiB);
  add_servers(1, kMiB / 2);
  const std::string full = "server2:9421";
  const InodeId file = client->make_file("a");
  const auto chunk = open_chunk({3, 2});
  EXPECT_EQ(std::set<NodeId>(chunk.nodes.begin(), chunk.nodes.end()),
            (std::set<NodeId>{servers[0]->id, servers[1]->id}));
  write(chunk, file, 0, 4096);
  auto status = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(status);
  EXPECT_EQ(status->nodes_full, std::vector<std::string>{full});
  EXPECT_EQ(status->chunks_degraded, 1u);
  EXPECT_EQ(open_code({3, 3}), ErrorCode::kNoSpace);
  ASSERT_TRUE(client->ask(SetPolicyRequest{kRootInode, {3, 2}}));
  EXPECT_LT(client->ask(StatFilesystemRequest{kRootInode})->available_bytes, kMiB);
  servers[2]->room_bytes = 100 * kMiB;
  run_for(seconds(10));
  EXPECT_EQ(open_chunk({3, 2}).nodes.size(), 3u);
  status = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->nodes_full.empty());
}

TEST_F(Extents, servers_that_are_down_or_without_a_working_directory_get_no_chunks) {
  add_servers(3);
  servers[0]->kill();
  servers[1]->directory_failed = true;
  run_for(seconds(20));
  EXPECT_EQ(open_code({2, 2}), ErrorCode::kNotEnoughServers);
  EXPECT_EQ(open_chunk({2, 1}).nodes, std::vector<NodeId>{servers[2]->id});
  EXPECT_EQ(process->log.count("A chunkserver is down"), 1u);
}

TEST_F(Extents, space_is_preliminary_until_every_server_was_heard_of_or_is_down) {
  add_servers(3, 100 * kMiB);
  const auto ask = [&] { return client->ask(StatFilesystemRequest{kRootInode}).value(); };
  EXPECT_FALSE(ask().is_preliminary);
  servers[2]->kill();
  restart_after_kill();
  EXPECT_TRUE(ask().is_preliminary);
  wait_for_servers();
  EXPECT_TRUE(ask().is_preliminary);  // the third may come
  EXPECT_GT(ask().available_bytes, 0u);
  run_for(seconds(20));
  EXPECT_FALSE(ask().is_preliminary);
}

TEST_F(Extents, reservations_shrink_and_run_out_and_come_back) {
  add_servers(2, 20 * kMiB);
  std::uint64_t reserved = 0;
  std::vector<ChunkId> chunks;
  while (true) {
    OpenChunkRequest request;
    request.policy = {2, 2};
    const auto reply = client->change(request);
    if (!reply) {
      EXPECT_EQ(reply.code(), ErrorCode::kNoSpace);
      break;
    }
    reserved += reply->capacity_bytes;
    chunks.push_back(reply->chunk);
  }
  EXPECT_GT(reserved, 18 * kMiB);
  EXPECT_LE(reserved, 20 * kMiB);
  const auto statfs = client->ask(StatFilesystemRequest{kRootInode});
  ASSERT_TRUE(statfs);
  EXPECT_LT(statfs->available_bytes, 2 * kMiB);
  for (const ChunkId chunk : chunks) {
    seal(chunk);
    EXPECT_TRUE(wait_until_gone(chunk));
  }
  EXPECT_EQ(open_code({2, 2}), ErrorCode::kOk);
}

TEST_F(Extents, a_chunk_that_the_full_database_could_not_note_reserves_nothing) {
  add_servers(2);
  open_chunk();
  run_for(seconds(1));
  ChunkManager& chunks = process->master->chunks();
  const std::uint64_t room = chunks.room_on(servers[0]->id);
  disk.set_capacity(disk.used_bytes());
  int refused = 0;
  for (int i = 0; i < 20; ++i) {
    refused += open_code({2, 2}) == ErrorCode::kNoSpace ? 1 : 0;
  }
  EXPECT_GT(refused, 10);
  disk.set_capacity(std::uint64_t{1} << 40);
  run_for(seconds(1));
  const std::uint64_t opened = static_cast<std::uint64_t>(20 - refused);
  EXPECT_EQ(chunks.room_on(servers[0]->id), room - opened * kChunkBytesMax);
  EXPECT_EQ(chunks.open_chunks().size(), 1 + opened);
}

TEST_F(Extents, a_session_has_a_bounded_number_of_open_chunks) {
  add_servers(2);
  for (int i = 0; i < 64; ++i) {
    open_chunk();
  }
  EXPECT_EQ(open_code({2, 2}), ErrorCode::kBusy);
}

TEST_F(Extents, commits_that_cannot_be_are_refused_file_by_file) {
  add_servers(2, 80 * kMiB);
  const InodeId file = client->make_file("a");
  const InodeId directory = client->make_directory("d");
  const auto chunk = open_chunk();
  const Extent good = append(chunk, 0, 4096);
  Extent bad = good;
  bad.chunk = ChunkId{999};
  EXPECT_EQ(commit_code(file, {good, bad}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(client->attributes(file).size_bytes, 0u);  // all or nothing
  bad = good;
  bad.block_offset = chunk.capacity_bytes - 100;
  EXPECT_EQ(commit_code(file, {bad}), ErrorCode::kNoSuchChunk);
  bad = good;
  bad.length_bytes = 0;
  EXPECT_EQ(commit_code(file, {bad}), ErrorCode::kInvalidArgument);
  bad = good;
  bad.file_offset = kFileBytesMax;
  EXPECT_EQ(commit_code(file, {bad}), ErrorCode::kFileTooBig);
  EXPECT_EQ(commit_code(directory, {good}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(commit_code(InodeId{12345}, {good}), ErrorCode::kStale);

  TestClient other(events, network, "other");
  other.open(2);
  CommitExtentsRequest foreign;
  foreign.files.resize(1);
  foreign.files[0].inode = file;
  foreign.files[0].extents = {good};
  auto refused = other.change(foreign);
  ASSERT_TRUE(refused);
  EXPECT_EQ(error_code_from_wire(refused->results[0].code), ErrorCode::kLeaseLost);
  const auto lease = other.ask(TakeWriteLeaseRequest{.inode = file});
  ASSERT_TRUE(lease);
  foreign.files[0].write_epoch = lease->epoch;
  refused = other.change(foreign);
  ASSERT_TRUE(refused);
  EXPECT_EQ(error_code_from_wire(refused->results[0].code), ErrorCode::kNoSuchChunk);

  EXPECT_EQ(client->ask(DescribeChunksRequest{.chunks = {}, .written = file})->writer, "test");
  EXPECT_EQ(client->ask(DescribeChunksRequest{.chunks = {}, .written = kRootInode})->writer, "");

  EXPECT_EQ(commit_code(file, {good}), ErrorCode::kOk);
  seal(chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  bad = good;
  bad.block_offset = ends[chunk.chunk];
  EXPECT_EQ(commit_code(file, {bad}), ErrorCode::kNoSuchChunk);
  EXPECT_EQ(commit_code(file, {good}), ErrorCode::kOk);  // again, into the sealed chunk
  EXPECT_TRUE(problems().empty());
}

TEST_F(Extents, an_unlinked_file_takes_commits_while_it_is_open) {
  add_servers(2);
  const InodeId file = client->make_file("a", kRootInode, true);
  ASSERT_TRUE(client->keep_alive({file}, {}, true));
  ASSERT_EQ(client->unlink("a"), ErrorCode::kOk);
  const auto chunk = open_chunk();
  run_for(seconds(10));
  EXPECT_EQ(commit_code(file, {append(chunk, 0, 100)}), ErrorCode::kOk);
  ASSERT_TRUE(client->keep_alive({}, {file}));
  run_for(seconds(10));
  EXPECT_EQ(commit_code(file, {append(chunk, 0, 100)}), ErrorCode::kStale);
}

TEST_F(Extents, a_window_holds_so_many_pieces_and_not_one_more) {
  add_servers(1);
  const InodeId file = client->make_file("a");
  const auto chunk = open_chunk({1, 1});
  // Every second byte of a window, from one block.
  const Extent block = append(chunk, 0, 2 * kWindowPiecesMax + 2);
  std::vector<Extent> pieces;
  for (std::uint32_t i = 0; i < kWindowPiecesMax; ++i) {
    pieces.push_back(clip(block, 2 * i, 2 * i + 1));
  }
  ASSERT_EQ(pieces.size(), kCommitExtentsMax);
  const auto most = commit(file, pieces);
  EXPECT_EQ(error_code_from_wire(most.code), ErrorCode::kOk);
  EXPECT_EQ(most.window_pieces_most, kWindowPiecesMax);
  const Extent more = clip(block, 2 * kWindowPiecesMax, 2 * kWindowPiecesMax + 1);
  EXPECT_EQ(commit_code(file, {more}), ErrorCode::kTooManyExtents);
  EXPECT_EQ(commit_code(file, {block}), ErrorCode::kOk);
  EXPECT_EQ(commit_code(file, {more}), ErrorCode::kOk);
  EXPECT_TRUE(problems().empty());
}

TEST_F(Extents, get_extents_stops_early_and_says_where) {
  add_servers(2);
  const InodeId file = client->make_file("big");
  for (std::uint64_t begin = 0; begin < 3000; begin += 500) {
    const auto chunk = open_chunk();
    std::vector<Extent> extents;
    const Extent block = append(chunk, 0, 4096);
    for (std::uint64_t i = begin; i < begin + 500; ++i) {
      Extent extent = block;
      extent.file_offset = i * kExtentWindowBytes;
      extents.push_back(extent);
    }
    ASSERT_EQ(commit_code(file, extents), ErrorCode::kOk);
  }
  const std::uint64_t size = client->attributes(file).size_bytes;
  std::uint64_t offset = 0;
  std::size_t found = 0;
  int answers = 0;
  while (offset < size) {
    const auto reply = client->ask(GetExtentsRequest{file, offset, size - offset});
    ASSERT_TRUE(reply);
    ASSERT_GT(reply->covered_end, offset);
    found += reply->extents.size();
    std::set<ChunkId> named;
    for (const Extent& extent : reply->extents) {
      named.insert(extent.chunk);
    }
    EXPECT_EQ(reply->locations.size(), named.size());
    offset = reply->covered_end;
    ++answers;
  }
  EXPECT_EQ(found, 3000u);
  EXPECT_GT(answers, 1);
  const auto hole = client->ask(GetExtentsRequest{file, size + 8 * kMiB, 5 * kMiB});
  ASSERT_TRUE(hole);
  EXPECT_TRUE(hole->extents.empty());
  EXPECT_GE(hole->covered_end, size + 13 * kMiB);
  EXPECT_TRUE(problems().empty());
}

TEST_F(Extents, an_answer_about_very_many_chunks_fits_a_message) {
  add_servers(16);
  const InodeId file = client->make_file("a");
  ASSERT_TRUE(in_transaction([&](OpContext& context) -> Status {
    WindowRow window;
    for (std::uint32_t i = 0; i < kWindowPiecesMax; ++i) {
      const ChunkId chunk{1000 + i};
      ChunkRow row;
      row.chunk = chunk;
      DFS_CHECK_OK(context.store.put_chunk(row));
      for (const auto& server : servers) {
        DFS_CHECK_OK(context.store.put_replica({chunk, server->id, ReplicaRowState::kGood}));
      }
      window.extents.push_back({std::uint64_t{i} * 100, 100, chunk, 64u << 10, 100, 0});
    }
    return context.store.put_window(file, window);
  }));
  const auto reply = client->ask(GetExtentsRequest{file, 0, 1});
  ASSERT_TRUE(reply) << error_code_name(reply.code());
  EXPECT_EQ(reply->extents.size(), kWindowPiecesMax);
  ASSERT_EQ(reply->locations.size(), kWindowPiecesMax);
  for (const ChunkLocation& location : reply->locations) {
    EXPECT_GE(location.nodes.size(), 2u);
    EXPECT_EQ(location.nodes.size(), location.addresses.size());
  }
}

TEST_F(Extents, good_replicas_on_live_servers_come_first_and_damaged_ones_last) {
  add_servers(3);
  const InodeId file = client->make_file("a");
  const auto chunk = open_chunk({3, 3});
  write(chunk, file, 0, 4096);
  const auto nodes = [&] {
    const auto reply = client->ask(GetExtentsRequest{file, 0, 4096});
    EXPECT_TRUE(reply);
    return reply->locations.at(0).nodes;
  };
  std::set<NodeId> firsts;
  for (int i = 0; i < 30; ++i) {
    firsts.insert(nodes().front());
  }
  EXPECT_EQ(firsts.size(), 3u);  // reads spread

  ReportBadReplicaRequest report;
  report.chunk = chunk.chunk;
  report.node = chunk.nodes[0];
  report.failure = static_cast<std::uint16_t>(ErrorCode::kCorrupt);
  ASSERT_TRUE(client->ask(report));
  EXPECT_EQ(nodes().back(), chunk.nodes[0]);
  EXPECT_EQ(process->log.count("A replica is now damaged", LogLevel::kWarning), 1u);
  ASSERT_TRUE(client->ask(report));
  EXPECT_EQ(process->log.count("A replica is now damaged", LogLevel::kWarning), 1u);

  server_of(chunk, 1).kill();
  run_for(seconds(20));
  EXPECT_EQ(nodes(), (std::vector<NodeId>{chunk.nodes[2], chunk.nodes[1], chunk.nodes[0]}));
}

// Random commits, truncations and unlinks against a model that keeps, for each byte of each file,
// which chunk it is in.
class Model : public Extents {
 protected:
  static constexpr std::uint64_t kUnit = 1024;
  using File = std::map<std::uint64_t, ChunkId>;  // by unit of the file

  void commit_randomly() {
    const OpenChunkReply& chunk = chunks[random.below(chunks.size())];
    const std::uint64_t at = random.below(6 * 1024) * kUnit;
    const auto bytes = static_cast<std::uint32_t>((1 + random.below(700)) * kUnit);
    const auto end = ends.try_emplace(chunk.chunk, kChunkHeaderBytes).first->second;
    if (end + block_total_bytes(bytes) > chunk.capacity_bytes) {
      return;
    }
    const std::size_t index = random.below(files.size());
    ASSERT_EQ(commit_code(files[index], {append(chunk, at, bytes)}), ErrorCode::kOk);
    for (std::uint64_t offset = at; offset < at + bytes; offset += kUnit) {
      model[index][offset] = chunk.chunk;
    }
    sizes[index] = std::max(sizes[index], at + bytes);
  }
  void truncate_randomly() {
    const std::size_t index = random.below(files.size());
    SetAttributesRequest request;
    request.inode = files[index];
    request.size_bytes = random.below(6 * 1024) * kUnit;
    ASSERT_TRUE(client->change(request));
    sizes[index] = *request.size_bytes;
    model[index].erase(model[index].lower_bound(sizes[index]), model[index].end());
  }
  void seal_and_reopen() {
    OpenChunkReply& chunk = chunks[random.below(chunks.size())];
    seal(chunk.chunk);
    chunk = open_chunk();
  }
  void compare() {
    run_for(seconds(8));  // what truncations cut off is freed
    std::map<ChunkId, std::uint64_t> live;
    for (std::size_t index = 0; index < files.size(); ++index) {
      const Attributes attributes = client->attributes(files[index]);
      EXPECT_EQ(attributes.size_bytes, sizes[index]);
      EXPECT_EQ(attributes.used_bytes, model[index].size() * kUnit);
      const auto reply = client->ask(GetExtentsRequest{files[index], 0, sizes[index] + 1});
      ASSERT_TRUE(reply);
      File found;
      for (const Extent& extent : reply->extents) {
        for (std::uint64_t at = extent.file_offset; at < extent.end(); at += kUnit) {
          found[at] = extent.chunk;
        }
      }
      EXPECT_EQ(found, model[index]);
      for (const auto& [at, chunk] : model[index]) {
        live[chunk] += kUnit;
      }
    }
    const auto rows = store().scan_chunks(ChunkId{}, 10000);
    ASSERT_TRUE(rows);
    std::uint64_t total = 0;
    for (const ChunkRow& chunk : *rows) {
      EXPECT_EQ(chunk.live_bytes, live[chunk.chunk]) << chunk.chunk.value;
      EXPECT_FALSE(chunk.state == ChunkState::kSealed && chunk.live_bytes == 0);
      total += live[chunk.chunk];
      live.erase(chunk.chunk);
    }
    EXPECT_TRUE(std::all_of(live.begin(), live.end(), [](auto& l) { return l.second == 0; }));
    EXPECT_EQ(*store().counter(Counter::kLiveBytes), total);
    EXPECT_TRUE(problems().empty());
  }

  sim::SimRandom random{11};
  std::vector<OpenChunkReply> chunks;
  std::vector<InodeId> files;
  std::vector<File> model{4};
  std::vector<std::uint64_t> sizes = std::vector<std::uint64_t>(4);
};

TEST_F(Model, live_bytes_and_extents_are_what_the_operations_made_them) {
  add_servers(3);
  for (int i = 0; i < 4; ++i) {
    files.push_back(client->make_file("file" + std::to_string(i)));
    chunks.push_back(open_chunk());
  }
  for (int round = 0; round < 400; ++round) {
    const auto choice = random.below(20);
    if (choice < 16) {
      commit_randomly();
    } else if (choice < 18) {
      truncate_randomly();
    } else {
      seal_and_reopen();
    }
    if (round % 100 == 99) {
      compare();
    }
    if (round == 250) {
      restart_after_kill();
      wait_for_servers();
    }
  }
  compare();
}

}  // namespace
}  // namespace dfs::master
