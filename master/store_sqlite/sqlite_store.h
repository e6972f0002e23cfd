// The master's Store in one SQLite database.
//
// WAL with synchronous=NORMAL: a commit is written, so a killed process loses nothing, and synced
// only when asked for: then the log is synced once behind the commit, which covers everything
// before it (a power loss leaves a prefix of the commits). Memory is bounded by the page cache.
// A sync that fails is the end (log_distrust.h): everything is to be rolled back and closed.
// Counters are held in memory within a transaction and written with its commit.
// Whoever opens it holds the lock of the data directory; other programs may read it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "master/core/store.h"
#include "proto/attributes.h"

namespace dfs::master {

class SqliteDatabase;

class SqliteStore final : public Store {
 public:
  struct Options {
    std::string vfs;  // empty: SQLite's own
    std::uint64_t cache_bytes = 256u << 20;
    // For a database that is not there yet: identity, and the root directory.
    std::string cluster_id;  // 32 hex digits
    StoragePolicy root_policy;
    Timestamp now;
  };

  // Opens the database, or makes it (durably) with its root directory. `path` may be ":memory:".
  // Fails with kWrongFormat (another program's, or another version), kNotFound (no such
  // directory), kIo, kNoSpace, kCorrupt; the detail is a sentence that names the file.
  static Result<std::unique_ptr<SqliteStore>> open(const std::string& path, const Options& options);
  ~SqliteStore() override;

  Status begin() override;
  Status commit(bool durable) override;
  void rollback() override;
  bool is_broken() const override;
  bool has_failed_sync() const override;
  Status note_failed_sync() override;

  Result<std::string> cluster_id() override;
  Result<std::string> boot_id() override;
  Status set_boot_id(const std::string& boot_id) override;
  Result<std::uint64_t> counter(Counter counter) override;
  Status set_counter(Counter counter, std::uint64_t value) override;

  Result<std::optional<InodeRow>> inode(InodeId inode) override;
  Status put_inode(const InodeRow& row) override;
  Status erase_inode(InodeId inode) override;
  Result<std::vector<InodeRow>> scan_inodes(InodeId after, std::size_t limit) override;

  Result<std::vector<EntryRow>> entries(InodeId parent, std::uint64_t first, std::uint64_t last,
                                        std::size_t limit) override;
  Result<std::vector<std::pair<EntryRow, InodeRow>>> entries_with_inodes(
      InodeId parent, std::uint64_t first, std::size_t limit) override;
  Status put_entry(const EntryRow& row) override;
  Status erase_entry(InodeId parent, std::uint64_t cookie) override;
  Result<std::vector<EntryRow>> scan_entries(InodeId after_parent, std::uint64_t after_cookie,
                                             std::size_t limit) override;

  Result<std::vector<WindowRow>> windows(InodeId inode, std::uint64_t first, std::uint64_t last,
                                         std::size_t limit) override;
  Status put_window(InodeId inode, const WindowRow& row) override;
  Status erase_window(InodeId inode, std::uint64_t window) override;
  Result<std::uint64_t> move_windows(InodeId from, InodeId to, std::uint64_t first) override;

  Result<std::optional<std::string>> xattr(InodeId inode, const std::string& name) override;
  Result<std::vector<std::string>> xattr_names(InodeId inode) override;
  Status put_xattr(InodeId inode, const std::string& name, const std::string& value) override;
  Status erase_xattr(InodeId inode, const std::string& name) override;
  Status erase_xattrs(InodeId inode) override;

  Result<std::optional<ChunkRow>> chunk(ChunkId chunk) override;
  Status put_chunk(const ChunkRow& row) override;
  Status erase_chunk(ChunkId chunk) override;
  Result<std::vector<ChunkRow>> scan_chunks(ChunkId after, std::size_t limit) override;
  Result<std::vector<ChunkRow>> scan_unsealed_chunks(ChunkId after, std::size_t limit) override;
  Result<std::vector<ChunkRow>> scan_dead_chunks(std::size_t limit) override;
  Result<ChunkCounts> chunk_counts() override;

  Result<std::vector<ReplicaRow>> replicas(ChunkId chunk) override;
  Status put_replica(const ReplicaRow& row) override;
  Status erase_replica(ChunkId chunk, NodeId node) override;
  Result<std::vector<ReplicaRow>> node_replicas(NodeId node, ChunkId after, ChunkId last,
                                                std::size_t limit) override;
  Result<std::vector<ReplicaRow>> deleting_replicas(NodeId node, std::size_t limit) override;
  Result<std::uint64_t> node_replica_count(NodeId node) override;

  Result<std::vector<NodeRow>> nodes() override;
  Status put_node(const NodeRow& row) override;

  Result<std::vector<SessionRow>> sessions() override;
  Status put_session(const SessionRow& row) override;
  Status erase_session(SessionId session) override;

  Result<std::optional<std::string>> kept_reply(SessionId session, std::uint64_t sequence) override;
  Status keep_reply(SessionId session, std::uint64_t sequence, const std::string& reply) override;
  Status drop_replies(SessionId session, std::uint64_t up_to_sequence) override;

  Status put_orphan(const OrphanRow& row) override;
  Status erase_orphan(InodeId inode) override;
  Result<std::vector<OrphanRow>> scan_orphans(InodeId after, std::size_t limit) override;
  Result<std::uint64_t> orphan_count() override;

  Result<std::uint64_t> database_bytes() override;

 private:
  struct CachedCounter {
    std::uint64_t value = 0;
    bool changed = false;
  };

  SqliteStore(std::unique_ptr<SqliteDatabase> database, bool is_distrusted);

  static Result<std::unique_ptr<SqliteStore>> open_checked(const std::string& path,
                                                           const Options& options);
  Status create(const Options& options);
  Status upgrade();
  Status write_counters();

  std::unique_ptr<SqliteDatabase> database_;
  std::map<Counter, CachedCounter> counters_;
  std::int64_t changes_at_begin_ = 0;
  // Commits may not be on stable storage yet; so at first, too: the last process' may not be.
  bool unsynced_ = true;
  bool is_distrusted_;            // a sync of an earlier process failed, see log_distrust.h
  bool has_set_boot_id_ = false;  // in this transaction
};

}  // namespace dfs::master
