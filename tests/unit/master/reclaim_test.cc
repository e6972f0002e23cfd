// Freeing what was unlinked or overwritten, down to the replicas; and what a power loss of the
// master must not bring back or hand out twice.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "master/core/chunk_manager.h"
#include "master/core/number_reserve.h"
#include "proto/block.h"
#include "proto/xattr_kinds.h"
#include "tests/unit/master/acl_text.h"
#include "tests/unit/master/chunk_rig.h"

namespace dfs::master {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Reclaim : public ChunkRig {
 protected:
  void SetUp() override {
    ChunkRig::SetUp();
    add_servers(2);
  }
  bool wait_until_no_replicas(Duration limit) {
    return events.run_until(
        [&] {
          return std::all_of(servers.begin(), servers.end(),
                             [](const auto& server) { return server->replicas.empty(); });
        },
        limit);
  }
  std::uint64_t replica_rows() {
    std::uint64_t rows = 0;
    for (const auto& server : servers) {
      rows += *store().node_replica_count(server->id);
    }
    return rows;
  }
};

TEST_F(Reclaim, an_unlinked_file_is_gone_from_the_servers_within_seconds) {
  const InodeId file = client->make_file("a");
  const auto chunk = open_chunk();
  write(chunk, file, 0, 1u << 20);
  seal(chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  ASSERT_EQ(client->unlink("a"), ErrorCode::kOk);
  EXPECT_TRUE(wait_until_no_replicas(seconds(5)));
  run_for(seconds(1));
  EXPECT_EQ(replica_rows(), 0u);
  EXPECT_EQ(*store().counter(Counter::kInodes), 1u);  // the root
  EXPECT_EQ(*store().counter(Counter::kLiveBytes), 0u);
  EXPECT_EQ(*store().orphan_count(), 0u);
  EXPECT_FALSE(*store().inode(file));
}

TEST_F(Reclaim, an_overwritten_sealed_chunk_is_deleted_within_a_second) {
  const InodeId file = client->make_file("a");
  const auto old_chunk = open_chunk();
  write(old_chunk, file, 0, 4096);
  seal(old_chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(old_chunk.chunk));
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  EXPECT_TRUE(wait_until_gone(old_chunk.chunk, seconds(1)));
  EXPECT_TRUE(row(chunk.chunk));
}

TEST_F(Reclaim, a_pinned_orphan_is_kept_until_it_is_closed) {
  const InodeId file = client->make_file("a", kRootInode, true);
  ASSERT_TRUE(client->keep_alive({file}, {}, true));
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  seal(chunk.chunk);
  ASSERT_EQ(client->unlink("a"), ErrorCode::kOk);
  for (int i = 0; i < 3; ++i) {
    run_for(seconds(10));
    ASSERT_TRUE(client->keep_alive({}, {}));
  }
  EXPECT_EQ(client->attributes(file).size_bytes, 4096u);
  EXPECT_TRUE(row(chunk.chunk));
  ASSERT_TRUE(client->keep_alive({}, {file}));
  EXPECT_TRUE(wait_until_no_replicas(seconds(5)));
}

// Also the one who removes it tells of its open directories with the next keep-alive only.
TEST_F(Reclaim, a_removed_directory_is_kept_until_all_have_told_and_closed_it) {
  const InodeId directory = client->make_directory("d");
  const auto wait = [&] { run_for(seconds(3)); };
  ASSERT_TRUE(client->keep_alive({}, {}));
  wait();
  ASSERT_TRUE(client->change(RemoveDirectoryRequest{.parent = kRootInode, .name = "d"}));
  ASSERT_TRUE(client->keep_alive({}, {}));  // was sent before it was opened
  wait();
  ASSERT_TRUE(client->keep_alive({directory}, {}));
  for (int i = 0; i < 3; ++i) {
    wait();
    ASSERT_TRUE(client->keep_alive({}, {}));
  }
  const Attributes removed = client->attributes(directory);
  EXPECT_TRUE(removed.is_directory());
  EXPECT_EQ(removed.link_count, 0u);
  EXPECT_EQ(client->ask(ReadDirectoryRequest{directory}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(client->change(create_request(directory, "f", kModeRegular | 0644)).code(),
            ErrorCode::kNotFound);
  SetAttributesRequest change;
  change.inode = directory;
  change.mode = 0700;
  const auto changed = client->change(change);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->attributes.mode, kModeDirectory | 0700);
  ASSERT_TRUE(client->keep_alive({}, {directory}));
  EXPECT_TRUE(events.run_until([&] { return *store().orphan_count() == 0; }, seconds(5)));
  EXPECT_FALSE(*store().inode(directory));
}

TEST_F(Reclaim, a_huge_file_is_freed_in_slices_that_let_requests_through) {
  const InodeId file = client->make_file("huge");
  const auto chunk = open_chunk();
  const Extent block = append(chunk, 0, 4096);
  std::vector<Extent> extents(5000, block);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    extents[i].file_offset = i * kExtentWindowBytes;
  }
  ASSERT_EQ(commit(file, extents).code, 0);
  seal(chunk.chunk);
  ASSERT_EQ(client->unlink("huge"), ErrorCode::kOk);
  bool seen_partly = false;
  ASSERT_TRUE(events.run_until(
      [&] {
        const auto windows =
            *store().windows(file, 0, std::numeric_limits<std::int64_t>::max(), 5000);
        if (!windows.empty() && windows.size() < extents.size()) {
          seen_partly = true;
          // Never zeros where the contents were: nothing at all.
          EXPECT_EQ((*store().inode(file))->attributes.size_bytes, 0u);
        }
        return windows.empty();
      },
      seconds(10)));
  EXPECT_TRUE(seen_partly);
  EXPECT_TRUE(wait_until_no_replicas(seconds(5)));
}

TEST_F(Reclaim, ten_thousand_files_are_freed_soon) {
  const auto chunk = open_chunk();
  const Extent block = append(chunk, 0, 4096);
  for (int i = 0; i < 500; ++i) {
    const std::string name = std::to_string(i);
    ASSERT_EQ(commit(client->make_file(name), {block}).code, 0);
    ASSERT_EQ(client->unlink(name), ErrorCode::kOk);
  }
  seal(chunk.chunk);
  EXPECT_TRUE(wait_until_no_replicas(seconds(10)));
  EXPECT_TRUE(problems().empty());
}

TEST_F(Reclaim, a_server_that_is_away_is_told_when_it_is_back) {
  const InodeId file = client->make_file("a");
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  seal(chunk.chunk);
  ASSERT_TRUE(wait_until_sealed(chunk.chunk));
  servers[0]->kill();
  servers[1]->takes_deletions = false;
  ASSERT_EQ(client->unlink("a"), ErrorCode::kOk);
  ASSERT_TRUE(wait_until_gone(chunk.chunk));
  run_for(seconds(20));
  EXPECT_EQ(replica_rows(), 2u);  // not confirmed
  restart_after_kill();
  servers[1]->takes_deletions = true;
  servers[0]->start();
  EXPECT_TRUE(wait_until_no_replicas(seconds(20)));
  run_for(seconds(1));
  EXPECT_EQ(replica_rows(), 0u);
}

TEST_F(Reclaim, no_power_loss_of_the_master_leaves_a_file_without_its_bytes) {
  for (int step = 0; step < 30; ++step) {
    const std::string name = "file" + std::to_string(step);
    const InodeId file = client->make_file(name);
    const auto chunk = open_chunk();
    const Extent extent = append(chunk, 0, 4096);
    ASSERT_EQ(commit(file, {extent}, true).code, 0);
    seal(chunk.chunk);
    ASSERT_TRUE(wait_until_sealed(chunk.chunk));
    run_for(seconds(1));
    ASSERT_EQ(client->unlink(name), ErrorCode::kOk);
    // The unlink was not durable. Cut the power around the moment when the chunk goes.
    run_for(milliseconds(2900 + 20 * step));
    restart_after_power_loss();
    if (client->lookup(name) == ErrorCode::kOk) {
      ASSERT_TRUE(row(chunk.chunk)) << step;
      for (const NodeId node : chunk.nodes) {
        EXPECT_TRUE(server(node).replicas.contains(chunk.chunk)) << step;
      }
    }
    wait_for_servers();
    ASSERT_TRUE(client->ask(CloseSessionRequest{}));
    client = std::make_unique<TestClient>(events, network, "client" + std::to_string(step));
    client->open(1000 + static_cast<std::uint64_t>(step));
  }
}

TEST_F(Reclaim, ids_are_not_handed_out_again_after_a_power_loss) {
  std::set<ChunkId> chunks;
  std::set<InodeId> inodes;
  std::set<SessionId> sessions;
  std::set<std::uint64_t> versions;
  for (int round = 0; round < 6; ++round) {
    TestClient other(events, network, "other" + std::to_string(round));
    other.open(50 + static_cast<std::uint64_t>(round));
    EXPECT_TRUE(sessions.insert(other.session).second);
    for (int i = 0; i < 5; ++i) {
      const InodeId inode = other.make_file(std::to_string(round) + "-" + std::to_string(i));
      EXPECT_TRUE(inodes.insert(inode).second) << inode.value;
      EXPECT_TRUE(versions.insert(other.attributes(inode).data_version).second);
      OpenChunkRequest request;
      request.policy = {2, 2};
      const auto chunk = other.change(request);
      ASSERT_TRUE(chunk);
      EXPECT_TRUE(chunks.insert(chunk->chunk).second) << chunk->chunk.value;
    }
    restart_after_power_loss({&other});
    wait_for_servers();
    ASSERT_TRUE(other.ask(CloseSessionRequest{}));
  }
}

TEST_F(Reclaim, the_check_finds_nothing_wrong_while_everything_changes) {
  sim::SimRandom random(5);
  std::vector<InodeId> files;
  for (int i = 0; i < 300; ++i) {
    files.push_back(client->make_file("f" + std::to_string(i)));
    const InodeId directory = client->make_directory("d" + std::to_string(i));
    client->make_file("x", directory);
  }
  auto chunk = open_chunk();
  for (int round = 0; round < 2; ++round) {
    CheckMetadataRequest request;
    do {
      for (int i = 0; i < 10; ++i) {
        const std::uint64_t at = random.below(3) * kExtentWindowBytes;
        ASSERT_EQ(commit(files[random.below(files.size())], {append(chunk, at, 4096)}).code, 0);
        const std::string name = "d" + std::to_string(random.below(300));
        RenameRequest rename;
        rename.parent = rename.new_parent = kRootInode;
        rename.name = name;
        rename.new_name = name + "-" + std::to_string(round) + "-" + std::to_string(i);
        if (client->change(rename)) {
          rename.new_name.swap(rename.name);
          ASSERT_TRUE(client->change(rename));
        }
        SetAttributesRequest cut;
        cut.inode = files[random.below(files.size())];
        cut.size_bytes = random.below(5000);
        ASSERT_TRUE(client->change(cut));
      }
      if (random.below(3) == 0) {
        seal(chunk.chunk);
        chunk = open_chunk();
      }
      const auto reply = client->ask(request);
      ASSERT_TRUE(reply) << error_code_name(reply.code());
      for (const MetadataProblem& problem : reply->problems) {
        ADD_FAILURE() << problem.inode.value << " " << problem.chunk.value << " "
                      << problem.problem;
      }
      request.cursor = reply->cursor;
    } while (!request.cursor.empty());
  }
}

TEST_F(Reclaim, the_check_finds_what_is_wrong) {
  const InodeId file = client->make_file("a");
  const InodeId other = client->make_file("b");
  const InodeId unseen = client->make_file("c");
  const InodeId damaged = client->make_file("d");
  const InodeId differs = client->make_file("e");
  const std::string acl(kAccessAclName);
  for (const InodeId inode : {damaged, differs}) {
    ASSERT_TRUE(client->change(SetXattrRequest{
        .inode = inode, .name = acl, .value = acl_bytes("u::rw-,g::r--,m::rwx,o::---")}));
  }
  const auto chunk = open_chunk();
  write(chunk, file, 0, 4096);
  write(chunk, other, 0, 4096);
  run_for(seconds(1));
  ASSERT_TRUE(problems().empty());
  ASSERT_TRUE(in_transaction([&](OpContext& context) -> Status {
    auto chunk_row = *context.store.chunk(chunk.chunk);
    chunk_row->live_bytes += 5;
    DFS_CHECK_OK(context.store.put_chunk(*chunk_row));
    auto inode = *context.store.inode(file);
    inode->attributes.link_count = 2;
    inode->attributes.used_bytes = 1;
    DFS_CHECK_OK(context.store.put_inode(*inode));
    DFS_CHECK_OK(context.store.put_xattr(unseen, "user.a", "a"));
    DFS_CHECK_OK(context.store.put_xattr(damaged, acl, "damaged"));
    DFS_CHECK_OK(context.store.put_xattr(differs, acl, acl_bytes("u::r--,g::r--,m::r--,o::---")));
    return context.store.erase_inode(other);
  }));
  std::vector<std::string> found;
  for (const MetadataProblem& problem : problems()) {
    found.push_back(problem.problem);
  }
  const auto has = [&](const std::string& text) {
    return std::any_of(found.begin(), found.end(),
                       [&](const auto& line) { return line.find(text) != std::string::npos; });
  };
  EXPECT_TRUE(has("names an inode that does not exist"));
  EXPECT_TRUE(has("other extended attributes than its row says"));
  EXPECT_EQ(std::count_if(found.begin(), found.end(),
                          [](const auto& line) {
                            return line.find("posix_acl_access is damaged or differs") !=
                                   std::string::npos;
                          }),
            2);
  EXPECT_TRUE(has("has 1 names, not 2"));
  EXPECT_TRUE(has("its attributes say 1"));
  EXPECT_TRUE(has("its row says 8197"));
  // Only one check at a time; the cursor of the last slice is answered again.
  const auto first = client->ask(CheckMetadataRequest{});
  ASSERT_TRUE(first);
  CheckMetadataRequest next{first->cursor};
  const auto second = client->ask(next);
  ASSERT_TRUE(second);
  const auto again = client->ask(next);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->cursor, second->cursor);
  ASSERT_TRUE(client->ask(CheckMetadataRequest{}));
  EXPECT_EQ(client->ask(next).code(), ErrorCode::kStale);
}

}  // namespace
}  // namespace dfs::master
