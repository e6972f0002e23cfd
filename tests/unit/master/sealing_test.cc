// How chunks end when servers are fine, dead, silent, or have less than they should.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/master/chunk_rig.h"

namespace dfs::master {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Sealing : public ChunkRig {
 protected:
  void SetUp() override {
    ChunkRig::SetUp();
    add_servers(3);
    file = client->make_file("file");
  }
  bool wait_until_replica_sealed(FakeChunkserver& at, ChunkId chunk, Duration limit) {
    return events.run_until([&] { return at.replicas[chunk].sealed; }, limit);
  }

  InodeId file;
};

TEST_F(Sealing, a_full_chunk_is_sealed_at_the_length_of_its_replicas) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  write(chunk, file, 4096, 4096);
  seal(chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  EXPECT_EQ(row(chunk.chunk)->length_bytes, ends[chunk.chunk]);
  EXPECT_EQ(row(chunk.chunk)->epoch, Epoch{2});
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(wait_until_replica_sealed(server_of(chunk, i), chunk.chunk, seconds(1)));
  }
  EXPECT_EQ(seal(chunk.chunk).length_bytes, ends[chunk.chunk]);
  EXPECT_TRUE(problems().empty());
}

TEST_F(Sealing, the_smallest_length_wins_and_longer_replicas_are_cut) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  const std::uint32_t committed = ends[chunk.chunk];
  // An append that reached the first replica only.
  server_of(chunk, 0).append_to(chunk.chunk, chunk.epoch, committed + 5000);
  seal(chunk.chunk, chunk.nodes[1]);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  ASSERT_TRUE(wait_until_replica_sealed(server_of(chunk, 0), chunk.chunk, seconds(1)));
  // The server that failed the writer need not have been waited for: then its replica is cut.
  const std::uint32_t sealed = row(chunk.chunk)->length_bytes;
  EXPECT_GE(sealed, committed);
  EXPECT_EQ(server_of(chunk, 0).replicas[chunk.chunk].length_bytes, sealed);
}

TEST_F(Sealing, a_replica_that_missed_the_last_append_is_not_left_short) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  const std::uint32_t committed = ends[chunk.chunk];
  server_of(chunk, 0).append_to(chunk.chunk, chunk.epoch, committed + 5000);
  FakeChunkserver& late = server_of(chunk, 1);
  late.kill();
  seal(chunk.chunk, chunk.nodes[1]);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  late.start();
  ASSERT_TRUE(wait_until_replica_sealed(late, chunk.chunk, seconds(5)));
  EXPECT_EQ(row(chunk.chunk)->length_bytes, committed);
  EXPECT_EQ(server_of(chunk, 0).replicas[chunk.chunk].length_bytes, committed);
  EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[1]), ReplicaRowState::kGood);
}

TEST_F(Sealing, a_dead_server_named_by_the_client_is_not_waited_for) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  server_of(chunk, 1).kill();
  const auto before = events.now();
  seal(chunk.chunk, chunk.nodes[1]);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  EXPECT_LT(events.now() - before, milliseconds(100));
  EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[1]), ReplicaRowState::kGood);
}

TEST_F(Sealing, a_silent_server_is_waited_for_as_long_as_one_that_is_down_takes_to_notice) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  server_of(chunk, 1).pause();
  const auto before = events.now();
  seal(chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  EXPECT_LT(events.now() - before, seconds(5));
  EXPECT_GT(events.now() - before, seconds(1));
}

TEST_F(Sealing, a_server_that_did_not_answer_gets_no_new_chunks_until_it_is_heard_again) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  FakeChunkserver& dead = server_of(chunk, 1);
  dead.kill();
  seal(chunk.chunk, chunk.nodes[1]);
  run_for(milliseconds(2500));  // not yet down, but it was called in vain
  for (int i = 0; i < 20; ++i) {
    const auto other = open_chunk();
    EXPECT_EQ(std::count(other.nodes.begin(), other.nodes.end(), dead.id), 0);
  }
  EXPECT_EQ(process->log.count("A chunkserver is down"), 0u);
  dead.start();
  wait_for_servers();
  run_for(seconds(1));
  std::set<NodeId> used;
  for (int i = 0; i < 30; ++i) {
    const auto other = open_chunk();
    used.insert(other.nodes.begin(), other.nodes.end());
  }
  EXPECT_EQ(used.size(), 3u);
}

TEST_F(Sealing, a_server_that_slept_through_it_is_fenced_and_cut_when_it_wakes) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  FakeChunkserver& sleeper = server_of(chunk, 1);
  sleeper.append_to(chunk.chunk, chunk.epoch, ends[chunk.chunk] + 777);
  sleeper.pause();
  seal(chunk.chunk, chunk.nodes[1]);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  run_for(seconds(30));
  EXPECT_FALSE(sleeper.replicas[chunk.chunk].sealed);
  sleeper.resume();
  ASSERT_TRUE(wait_until_replica_sealed(sleeper, chunk.chunk, seconds(20)));
  EXPECT_EQ(sleeper.replicas[chunk.chunk].length_bytes, row(chunk.chunk)->length_bytes);
  EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[1]), ReplicaRowState::kGood);
}

TEST_F(Sealing, a_replica_shorter_than_what_was_committed_has_no_say_and_is_damaged) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  const std::uint32_t committed = ends[chunk.chunk];
  server_of(chunk, 0).replicas[chunk.chunk].length_bytes = 64;  // its disk lied about syncing
  seal(chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  EXPECT_EQ(row(chunk.chunk)->length_bytes, committed);
  EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[0]), ReplicaRowState::kDamaged);
  EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[1]), ReplicaRowState::kGood);
  const auto status = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(status);
  EXPECT_EQ(status->chunks_damaged, 1u);
  EXPECT_EQ(status->chunks_degraded, 1u);
}

TEST_F(Sealing, a_short_replica_alone_does_not_decide_while_another_may_come_back) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  server_of(chunk, 0).replicas[chunk.chunk].length_bytes = 64;
  FakeChunkserver& good = server_of(chunk, 1);
  good.kill();
  seal(chunk.chunk, chunk.nodes[1]);
  EXPECT_FALSE(wait_until_sealed(chunk.chunk, seconds(60)));
  good.start();
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  EXPECT_EQ(row(chunk.chunk)->length_bytes, ends[chunk.chunk]);
  EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[0]), ReplicaRowState::kDamaged);
}

TEST_F(Sealing, goes_on_when_a_server_is_back_after_all_were_dead) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  server_of(chunk, 0).kill();
  server_of(chunk, 1).kill();
  seal(chunk.chunk);
  EXPECT_FALSE(wait_until_sealed(chunk.chunk, seconds(200)));
  server_of(chunk, 1).start();
  EXPECT_TRUE(wait_until_sealed(chunk.chunk, seconds(5)));
}

TEST_F(Sealing, survives_a_kill_or_power_loss_of_the_master_at_any_moment) {
  for (int step = 0; step < 24; ++step) {
    const auto chunk = open_chunk();
    const Extent extent = append(chunk, 0, 4096);
    const InodeId inode = client->make_file("file" + std::to_string(step));
    ASSERT_EQ(commit(inode, {extent}, true).code, 0);
    server_of(chunk, 0).append_to(chunk.chunk, chunk.epoch, ends[chunk.chunk] + 100);
    seal(chunk.chunk);
    for (int event = 0; event < 3 * step; ++event) {
      events.run_one();
    }
    if (step % 2 == 0) {
      restart_after_kill();
    } else {
      restart_after_power_loss();
      seal(chunk.chunk);  // the client would: it was told "still running"
    }
    ASSERT_TRUE(wait_until_sealed(chunk.chunk)) << step;
    for (std::size_t i = 0; i < 2; ++i) {
      ASSERT_TRUE(wait_until_replica_sealed(server_of(chunk, i), chunk.chunk, seconds(30)));
      EXPECT_EQ(server_of(chunk, i).replicas[chunk.chunk].length_bytes,
                row(chunk.chunk)->length_bytes);
      EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[i]), ReplicaRowState::kGood);
    }
    EXPECT_GE(row(chunk.chunk)->length_bytes, ends[chunk.chunk]);
    wait_for_servers();
  }
}

TEST_F(Sealing, chunks_of_a_session_that_ended_are_sealed) {
  const auto kept = open_chunk();
  write(kept, file, 0, 4096);
  const auto empty = open_chunk();
  ASSERT_TRUE(client->ask(CloseSessionRequest{}));
  EXPECT_TRUE(wait_until_sealed(kept.chunk));
  EXPECT_TRUE(wait_until_gone(empty.chunk));
}

TEST_F(Sealing, chunks_of_a_session_that_expired_are_sealed) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  EXPECT_TRUE(wait_until_sealed(chunk.chunk, 3 * kSessionTimeout));
}

TEST_F(Sealing, chunks_without_a_session_row_are_sealed_at_the_start) {
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  ASSERT_TRUE(in_transaction(
      [&](OpContext& context) { return context.store.erase_session(client->session); }));
  process.reset();
  start();
  EXPECT_TRUE(wait_until_sealed(chunk.chunk));
}

TEST_F(Sealing, many_chunks_at_once_with_one_dead_server_all_end) {
  std::vector<OpenChunkReply> chunks;
  servers[0]->kill();
  for (int i = 0; i < 60; ++i) {
    chunks.push_back(open_chunk({2, 1}));
    for (const NodeId node : chunks.back().nodes) {
      server(node).append_to(chunks.back().chunk, chunks.back().epoch, 5000);
    }
  }
  for (const auto& chunk : chunks) {
    seal(chunk.chunk);
  }
  for (const auto& chunk : chunks) {
    EXPECT_TRUE(wait_until_gone(chunk.chunk, seconds(60)));  // nothing was committed
  }
}

TEST_F(Sealing, works_over_a_network_that_loses_doubles_and_delays) {
  network.set_faults({.loss_per_million = 50'000,
                      .duplicate_per_million = 100'000,
                      .reorder_per_million = 100'000});
  for (int i = 0; i < 20; ++i) {
    const auto chunk = open_chunk();
    write(chunk, file, std::uint64_t(i) * 4096, 4096);
    seal(chunk.chunk);
    EXPECT_TRUE(wait_until_sealed(chunk.chunk, seconds(120)));
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_TRUE(wait_until_replica_sealed(server_of(chunk, k), chunk.chunk, seconds(120)));
      EXPECT_EQ(state_of(chunk.chunk, chunk.nodes[k]), ReplicaRowState::kGood);
    }
  }
}

}  // namespace
}  // namespace dfs::master
