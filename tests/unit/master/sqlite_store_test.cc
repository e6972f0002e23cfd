#include "master/store_sqlite/sqlite_store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/limits.h"
#include "tests/sim/sim_disk_state.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_vfs.h"

namespace dfs::master {
namespace {

constexpr const char* kPath = "/data/master.db";

class SqliteStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(disk_.make_directory("/data"));
    reopen();
  }
  void TearDown() override { store_.reset(); }

  SqliteStore::Options options() {
    return {.vfs = vfs_->name(),
            .cache_bytes = 4u << 20,
            .cluster_id = std::string(32, 'c'),
            .root_policy = {.replicas = 2, .min_replicas = 1},
            .now = {.seconds = 5, .nanoseconds = 6}};
  }
  Result<std::unique_ptr<SqliteStore>> open() {
    store_.reset();
    vfs_.reset();
    vfs_ = std::make_unique<sim::SimVfs>(disk_, events_, ++seed_);
    return SqliteStore::open(kPath, options());
  }
  void reopen() {
    auto opened = open();
    ASSERT_TRUE(opened) << opened.error().detail;
    store_ = std::move(*opened);
  }
  // Runs SQL from outside, as somebody with the sqlite3 tool.
  void run_sql(const std::string& sql) {
    store_.reset();
    sqlite3* connection = nullptr;
    ASSERT_EQ(sqlite3_open_v2(kPath, &connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              vfs_->name().c_str()),
              SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(connection);
  }
  template <class Function>
  void commit(Function function, bool durable = false) {
    ASSERT_TRUE(store_->begin());
    const Status status = function();
    ASSERT_TRUE(status) << status.error().detail;
    ASSERT_TRUE(store_->commit(durable));
  }
  static Extent extent(std::uint64_t offset, std::uint32_t length) {
    return {.file_offset = offset,
            .length_bytes = length,
            .chunk = ChunkId{9},
            .block_offset = 64,
            .block_bytes = 1 << 20,
            .payload_offset = 0};
  }

  sim::SimEvents events_;
  sim::SimDiskState disk_{1};
  std::unique_ptr<sim::SimVfs> vfs_;
  std::unique_ptr<SqliteStore> store_;
  std::uint64_t seed_ = 0;
};

TEST_F(SqliteStoreTest, a_new_database_has_a_root_directory_and_an_identity) {
  const auto root = store_->inode(kRootInode);
  ASSERT_TRUE(root && *root);
  EXPECT_EQ((*root)->attributes.mode, kModeDirectory | 0755);
  EXPECT_EQ((*root)->attributes.link_count, 2u);
  EXPECT_EQ((*root)->attributes.policy, (StoragePolicy{.replicas = 2, .min_replicas = 1}));
  EXPECT_EQ((*root)->attributes.ctime, (Timestamp{.seconds = 5, .nanoseconds = 6}));
  EXPECT_EQ((*root)->parent, kRootInode);
  EXPECT_EQ(*store_->counter(Counter::kInodes), 1u);
  EXPECT_EQ(*store_->cluster_id(), std::string(32, 'c'));
  EXPECT_GT(*store_->database_bytes(), 0u);
}

TEST_F(SqliteStoreTest, a_new_database_survives_a_power_loss_and_is_not_made_again) {
  vfs_->kill();
  store_.reset();
  disk_.crash();
  reopen();
  EXPECT_EQ(*store_->cluster_id(), std::string(32, 'c'));
  EXPECT_TRUE((*store_->inode(kRootInode)).has_value());
}

TEST_F(SqliteStoreTest, a_crash_while_the_database_is_made_leaves_none_or_all_of_it) {
  for (std::uint64_t writes = 0; writes < 60; ++writes) {
    sim::SimDiskState disk(writes + 10);
    ASSERT_TRUE(disk.make_directory("/data"));
    {
      sim::SimVfs dying(disk, events_, 1);
      SqliteStore::Options first = options();
      first.vfs = dying.name();
      dying.die_after(writes, [] {});
      const auto ignored = SqliteStore::open(kPath, first);
      dying.kill();
    }
    disk.crash();
    sim::SimVfs second(disk, events_, 2);
    SqliteStore::Options again = options();
    again.vfs = second.name();
    auto opened = SqliteStore::open(kPath, again);
    ASSERT_TRUE(opened) << writes << " " << opened.error().detail;
    EXPECT_TRUE((*(*opened)->inode(kRootInode)).has_value()) << writes;
    EXPECT_EQ((*(*opened)->cluster_id()).size(), 32u) << writes;
  }
}

TEST_F(SqliteStoreTest, a_newer_schema_is_refused_by_its_number) {
  run_sql("PRAGMA user_version = 3");
  const auto opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.code(), ErrorCode::kWrongFormat);
  EXPECT_NE(opened.error().detail.find("version 3"), std::string::npos) << opened.error().detail;
  EXPECT_NE(opened.error().detail.find(kPath), std::string::npos);
}

TEST_F(SqliteStoreTest, a_database_of_the_first_version_is_brought_to_this_one) {
  InodeRow plain;
  plain.attributes.inode = InodeId{10};
  plain.attributes.mode = kModeRegular | 0640;
  plain.symlink_target = "last before the new column";
  InodeRow with_both = plain;
  with_both.attributes.inode = InodeId{11};
  InodeRow with_one = plain;
  with_one.attributes.inode = InodeId{12};
  commit([&]() -> Status {
    for (const InodeRow& row : {plain, with_both, with_one}) {
      DFS_CHECK_OK(store_->put_inode(row));
    }
    DFS_CHECK_OK(store_->put_xattr(InodeId{11}, "security.capability", "c"));
    DFS_CHECK_OK(store_->put_xattr(InodeId{11}, "user.a", "a"));
    return store_->put_xattr(InodeId{12}, "security.capability", "c");
  });
  run_sql("ALTER TABLE inodes DROP COLUMN xattr_kinds; PRAGMA user_version = 1");
  for (int again = 0; again < 2; ++again) {
    reopen();
    plain.attributes.xattr_kinds = 0;
    EXPECT_EQ((*(*store_->inode(InodeId{10}))).attributes, plain.attributes);
    EXPECT_EQ((*(*store_->inode(InodeId{10}))).symlink_target, plain.symlink_target);
    EXPECT_EQ((*(*store_->inode(InodeId{11}))).attributes.xattr_kinds,
              kXattrCapability | kXattrOther);
    EXPECT_EQ((*(*store_->inode(InodeId{12}))).attributes.xattr_kinds, kXattrCapability);
  }
}

TEST_F(SqliteStoreTest, another_programs_database_is_refused) {
  run_sql("PRAGMA application_id = 1");
  EXPECT_EQ(open().code(), ErrorCode::kWrongFormat);
}

TEST_F(SqliteStoreTest, a_file_that_is_no_database_is_refused) {
  store_.reset();
  ASSERT_TRUE(disk_.write_file(kPath, std::string(8192, 'x')));
  EXPECT_EQ(open().code(), ErrorCode::kWrongFormat);
}

TEST_F(SqliteStoreTest, a_directory_that_is_not_there_is_an_error_with_its_name) {
  const auto opened = SqliteStore::open("/nowhere/master.db", options());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().detail.find("/nowhere/master.db"), std::string::npos);
}

TEST_F(SqliteStoreTest, every_member_of_an_inode_comes_back) {
  InodeRow row;
  row.attributes = {.inode = InodeId{7},
                    .mode = kModeRegular | 0640,
                    .link_count = 3,
                    .uid = UINT32_MAX,
                    .gid = 5,
                    .device = UINT64_MAX,
                    .size_bytes = kFileBytesMax,
                    .used_bytes = 4,
                    .atime = {.seconds = INT64_MIN, .nanoseconds = 1},
                    .mtime = {.seconds = -1, .nanoseconds = 999'999'999},
                    .ctime = {.seconds = INT64_MAX, .nanoseconds = 2},
                    .data_version = 11,
                    .policy = {.replicas = 4, .min_replicas = 3}};
  row.parent = InodeId{1};
  row.symlink_target = std::string("a\0b\xff", 4);
  commit([&] { return store_->put_inode(row); });
  const auto back = store_->inode(InodeId{7});
  ASSERT_TRUE(back && *back);
  EXPECT_EQ((*back)->attributes, row.attributes);
  EXPECT_EQ((*back)->parent, row.parent);
  EXPECT_EQ((*back)->symlink_target, row.symlink_target);
  commit([&] { return store_->erase_inode(InodeId{7}); });
  EXPECT_FALSE((*store_->inode(InodeId{7})).has_value());
}

TEST_F(SqliteStoreTest, a_rollback_undoes_rows_and_counters) {
  ASSERT_TRUE(store_->begin());
  ASSERT_TRUE(
      store_->put_entry({.parent = kRootInode, .cookie = 16, .name = "a", .inode = kRootInode}));
  ASSERT_TRUE(store_->set_counter(Counter::kInodes, 99));
  EXPECT_EQ(*store_->counter(Counter::kInodes), 99u);
  store_->rollback();
  EXPECT_TRUE(store_->entries(kRootInode, 0, UINT64_MAX, 10)->empty());
  EXPECT_EQ(*store_->counter(Counter::kInodes), 1u);
}

TEST_F(SqliteStoreTest, entries_are_ranges_of_cookies_in_order) {
  commit([&]() -> Status {
    for (const std::uint64_t cookie : {48u, 16u, 32u}) {
      DFS_CHECK_OK(store_->put_entry({.parent = kRootInode,
                                      .cookie = cookie,
                                      .name = "n" + std::to_string(cookie),
                                      .inode = kRootInode}));
    }
    return store_->put_entry(
        {.parent = InodeId{2}, .cookie = 1, .name = "dangling", .inode = InodeId{999}});
  });
  const auto some = store_->entries(kRootInode, 16, 32, 10);
  ASSERT_TRUE(some);
  ASSERT_EQ(some->size(), 2u);
  EXPECT_EQ((*some)[0].name, "n16");
  EXPECT_EQ((*some)[1].cookie, 32u);
  EXPECT_EQ(store_->entries(kRootInode, 0, UINT64_MAX, 2)->size(), 2u);
  EXPECT_EQ(store_->entries_with_inodes(kRootInode, 17, 10)->size(), 2u);
  EXPECT_TRUE(store_->entries_with_inodes(InodeId{2}, 0, 10)->empty());
  const auto after = store_->scan_entries(kRootInode, 32, 10);
  ASSERT_TRUE(after);
  ASSERT_EQ(after->size(), 2u);
  EXPECT_EQ((*after)[0].cookie, 48u);
  EXPECT_EQ((*after)[1].parent, InodeId{2});
}

TEST_F(SqliteStoreTest, windows_come_back_and_move_with_their_bytes) {
  const InodeId file{5};
  const InodeId other{6};
  commit([&]() -> Status {
    for (std::uint64_t window = 0; window < 5; ++window) {
      DFS_CHECK_OK(store_->put_window(
          file, {.window = window, .extents = {extent(window * kExtentWindowBytes, 1000 + 1)}}));
    }
    return ok();
  });
  EXPECT_EQ(store_->windows(file, 1, 3, 10)->size(), 3u);
  EXPECT_EQ(store_->windows(file, 1, UINT64_MAX, 10)->front().extents.front().length_bytes, 1001u);
  commit([&]() -> Status {
    DFS_TRY(const std::uint64_t moved, store_->move_windows(file, other, 2));
    EXPECT_EQ(moved, 3 * 1001u);
    return store_->put_window(file, {.window = 0, .extents = {}});
  });
  EXPECT_EQ(store_->windows(file, 0, UINT64_MAX, 10)->size(), 1u);
  EXPECT_EQ(store_->windows(other, 0, UINT64_MAX, 10)->front().window, 2u);
}

TEST_F(SqliteStoreTest, a_damaged_window_is_reported_and_breaks_the_transaction) {
  commit([&] { return store_->put_window(InodeId{5}, {.window = 0, .extents = {extent(0, 10)}}); });
  run_sql("UPDATE windows SET extents = x'63'");
  reopen();
  ASSERT_TRUE(store_->begin());
  EXPECT_EQ(store_->windows(InodeId{5}, 0, 0, 1).code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(store_->is_broken());
  store_->rollback();
  EXPECT_FALSE(store_->is_broken());
}

TEST_F(SqliteStoreTest, chunks_are_found_by_their_state) {
  const auto put = [&](std::uint64_t id, ChunkState state, std::uint64_t live) {
    return store_->put_chunk({.chunk = ChunkId{id},
                              .epoch = Epoch{3},
                              .state = state,
                              .capacity_bytes = 1,
                              .length_bytes = 2,
                              .live_bytes = live,
                              .policy = {.replicas = 2, .min_replicas = 1},
                              .owner = SessionId{4}});
  };
  commit([&]() -> Status {
    DFS_CHECK_OK(put(1, ChunkState::kOpen, 0));
    DFS_CHECK_OK(put(2, ChunkState::kSealing, 5));
    DFS_CHECK_OK(put(3, ChunkState::kSealed, 5));
    DFS_CHECK_OK(put(4, ChunkState::kSealed, 0));
    DFS_CHECK_OK(store_->put_replica(
        {.chunk = ChunkId{3}, .node = NodeId{1}, .state = ReplicaRowState::kDamaged}));
    return store_->put_replica(
        {.chunk = ChunkId{4}, .node = NodeId{1}, .state = ReplicaRowState::kDeleting});
  });
  EXPECT_EQ(store_->scan_chunks(ChunkId{1}, 10)->size(), 3u);
  EXPECT_EQ(store_->scan_unsealed_chunks({}, 10)->size(), 2u);
  ASSERT_EQ(store_->scan_dead_chunks(10)->size(), 1u);
  EXPECT_EQ(store_->scan_dead_chunks(10)->front().chunk, ChunkId{4});
  EXPECT_EQ((*store_->chunk(ChunkId{2}))->owner, SessionId{4});
  const auto counts = store_->chunk_counts();
  EXPECT_EQ(counts->chunks, 4u);
  EXPECT_EQ(counts->open, 2u);
  EXPECT_EQ(counts->damaged, 1u);
  EXPECT_EQ(store_->deleting_replicas(NodeId{1}, 10)->front().chunk, ChunkId{4});
  // A server reports ranges up to the end of all numbers.
  EXPECT_EQ(store_->node_replicas(NodeId{1}, {}, ChunkId{UINT64_MAX}, 10)->size(), 2u);
  EXPECT_EQ(*store_->node_replica_count(NodeId{1}), 2u);
  commit([&] { return store_->erase_chunk(ChunkId{4}); });
  EXPECT_TRUE(store_->scan_dead_chunks(10)->empty());
}

TEST_F(SqliteStoreTest, kept_replies_go_with_acknowledgement_and_session) {
  const SessionId session{3};
  commit([&]() -> Status {
    DFS_CHECK_OK(store_->put_session({.session = session,
                                      .client_name = "c",
                                      .nonce = UINT64_MAX,
                                      .opened = {.seconds = 1, .nanoseconds = 2},
                                      .acknowledged = 0}));
    for (std::uint64_t sequence = 1; sequence <= 4; ++sequence) {
      DFS_CHECK_OK(store_->keep_reply(session, sequence, std::to_string(sequence)));
    }
    return store_->drop_replies(session, 2);
  });
  EXPECT_FALSE((*store_->kept_reply(session, 2)).has_value());
  EXPECT_EQ(**store_->kept_reply(session, 3), "3");
  ASSERT_EQ(store_->sessions()->size(), 1u);
  EXPECT_EQ(store_->sessions()->front().acknowledged, 2u);
  EXPECT_EQ(store_->sessions()->front().nonce, UINT64_MAX);
  commit([&] { return store_->erase_session(session); });
  EXPECT_FALSE((*store_->kept_reply(session, 3)).has_value());
  EXPECT_TRUE(store_->sessions()->empty());
}

TEST_F(SqliteStoreTest, servers_and_orphans_come_back) {
  const NodeRow node{
      .node = NodeId{2}, .uuid = "u", .address = "a:1", .zone = "z", .draining = true};
  commit([&]() -> Status {
    DFS_CHECK_OK(store_->put_node(node));
    return store_->put_orphan({.inode = InodeId{9},
                               .since = {.seconds = -3, .nanoseconds = 4},
                               .unlinked_by = SessionId{5}});
  });
  ASSERT_EQ(store_->nodes()->size(), 1u);
  EXPECT_EQ(store_->nodes()->front().zone, "z");
  EXPECT_TRUE(store_->nodes()->front().draining);
  ASSERT_EQ(store_->scan_orphans({}, 10)->size(), 1u);
  EXPECT_EQ(store_->scan_orphans({}, 10)->front().since.seconds, -3);
  EXPECT_EQ(*store_->orphan_count(), 1u);
  EXPECT_TRUE(store_->scan_orphans(InodeId{9}, 10)->empty());
}

TEST_F(SqliteStoreTest, a_durable_commit_and_all_before_it_survive_a_power_loss) {
  const auto put = [&](std::uint64_t cookie) {
    return store_->put_entry(
        {.parent = kRootInode, .cookie = cookie, .name = "n", .inode = kRootInode});
  };
  for (std::uint64_t round = 0; round < 20; ++round) {
    const std::uint64_t first = 1 + round * 100;
    for (std::uint64_t index = 0; index < 10; ++index) {
      commit([&] { return put(first + index); }, index == 6);
    }
    vfs_->kill();  // first: closing would sync everything
    store_.reset();
    disk_.crash();
    reopen();
    const auto left = store_->entries(kRootInode, first, first + 99, 100);
    ASSERT_TRUE(left);
    ASSERT_GE(left->size(), 7u);
    // What is left is a prefix of the commits.
    EXPECT_EQ(left->back().cookie, first + left->size() - 1);
  }
}

TEST_F(SqliteStoreTest, a_durable_commit_costs_one_sync_and_none_when_all_is_synced) {
  const auto put = [&] {
    return store_->put_entry({.parent = kRootInode, .cookie = 5, .name = "n", .inode = kRootInode});
  };
  commit(put);
  const std::uint64_t before = vfs_->change_count();
  commit(put);
  const std::uint64_t plain = vfs_->change_count() - before;
  commit(put, true);
  EXPECT_EQ(vfs_->change_count() - before, 2 * plain + 1);
  commit([] { return ok(); }, true);
  EXPECT_EQ(vfs_->change_count() - before, 2 * plain + 1);
}

// The log is synced before it is moved into the database, whoever asked for what.
TEST_F(SqliteStoreTest, a_sync_that_fails_while_the_log_is_moved_is_not_kept_quiet) {
  disk_.set_faults("/data/master.db-wal", {.fail_syncs = true});
  Status status = ok();
  for (std::uint64_t i = 0; status && i < 1000; ++i) {
    ASSERT_TRUE(store_->begin());
    ASSERT_TRUE(store_->put_xattr(kRootInode, "x" + std::to_string(i), std::string(60'000, 'v')));
    status = store_->commit(false);
  }
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_TRUE(store_->has_failed_sync());
  store_->rollback();
  disk_.clear_faults();
  const auto database = disk_.bytes("/data/master.db");
  ASSERT_TRUE(store_->note_failed_sync());
  store_.reset();
  EXPECT_TRUE(disk_.bytes("/data/master.db") == database) << "closing believed the log";
  disk_.forget_cached();
  reopen();
  EXPECT_NE(*store_->boot_id(), "");
  commit([&] { return store_->set_boot_id("boot"); }, true);
  EXPECT_EQ(*store_->boot_id(), "boot");
  reopen();
  EXPECT_EQ(*store_->boot_id(), "boot");
}

TEST_F(SqliteStoreTest, a_long_log_is_moved_into_the_database) {
  for (std::uint64_t i = 0; i < 1000; ++i) {
    commit([&] {
      return store_->put_xattr(kRootInode, "x" + std::to_string(i), std::string(60'000, 'v'));
    });
  }
  EXPECT_LT(disk_.bytes("/data/master.db-wal").size(), 18u << 20);
  EXPECT_GT(disk_.bytes("/data/master.db").size(), 30u << 20);
}

TEST_F(SqliteStoreTest, a_full_disk_is_no_space_and_leaves_the_rows_of_before) {
  disk_.set_capacity(disk_.used_bytes());
  ASSERT_TRUE(store_->begin());
  Status status = store_->put_xattr(kRootInode, "x", std::string(60'000, 'v'));
  if (status) {
    status = store_->commit(false);
  }
  EXPECT_EQ(status.code(), ErrorCode::kNoSpace);
  store_->rollback();
  disk_.set_capacity(std::uint64_t{1} << 40);
  commit([&] { return store_->put_xattr(kRootInode, "y", "v"); });
  EXPECT_EQ(store_->xattr_names(kRootInode)->size(), 1u);
}

}  // namespace
}  // namespace dfs::master
