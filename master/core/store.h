// Port: what the master remembers. Typed rows, one atomic transaction; no semantics.
//
// The implementation is SQLite (master/store_sqlite/); SQL stays inside it. Calls block and are
// made from the loop thread only. Every mutation happens between begin() and commit(). Reads see
// the transaction's own writes. Errors are kIo, kNoSpace or kCorrupt and mean that the batch must
// be rolled back; "not there" is an empty optional or list, never an error. Scans are bounded by
// their `limit` and ordered as stated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "proto/attributes.h"
#include "proto/extent.h"

namespace dfs::master {

struct InodeRow {
  Attributes attributes;
  // Of a directory: where ".." leads. Of what else has names: where it got the newest of them,
  // which may be gone; 0 in rows of older versions. Of a file that never had a name (O_TMPFILE):
  // the directory it was made for. Of others without a name: 0.
  InodeId parent;
  std::string symlink_target;
};

// A name. The cookie is the entry's place in its directory, see name_hash.h.
struct EntryRow {
  InodeId parent;
  std::uint64_t cookie = 0;
  std::string name;
  InodeId inode;
};

struct WindowRow {
  std::uint64_t window = 0;  // file offset / kExtentWindowBytes
  std::vector<Extent> extents;
};

// kOpen: one session appends. kSealing: being fenced and cut; no extent can be committed into it
// except below what was acknowledged. kSealed: final.
enum class ChunkState : std::uint8_t { kOpen = 0, kSealing = 1, kSealed = 2 };

struct ChunkRow {
  ChunkId chunk;
  Epoch epoch;
  ChunkState state = ChunkState::kOpen;
  std::uint32_t capacity_bytes = 0;  // reserved on each replica while not sealed
  std::uint32_t length_bytes = 0;    // sealed length; before: end of the furthest committed block
  std::uint64_t live_bytes = 0;      // payload bytes that extents refer to
  StoragePolicy policy;
  SessionId owner;  // of an open chunk
};

enum class ReplicaRowState : std::uint8_t {
  kGood = 0,
  kDamaged = 1,   // a checksum failed or it is shorter than the chunk
  kMissing = 2,   // not in its server's inventory, or its directory was lost
  kDeleting = 3,  // the chunk is gone; the server has not confirmed yet
};

struct ReplicaRow {
  ChunkId chunk;
  NodeId node;
  ReplicaRowState state = ReplicaRowState::kGood;
};

struct NodeRow {
  NodeId node;
  std::string uuid;
  std::string address;
  std::string zone;
  bool draining = false;
};

struct SessionRow {
  SessionId session;
  std::string client_name;
  std::uint64_t nonce = 0;
  Timestamp opened;
  std::uint64_t acknowledged = 0;  // every change up to here was answered; set by drop_replies
};

// An inode without a name, kept while it is pinned; or, with no inode row of that id, the windows
// that a truncation cut off, which nobody can have open and which may be freed at once.
struct OrphanRow {
  InodeId inode;
  Timestamp since;
  SessionId unlinked_by;
};

// Numbers that are kept over restarts. Values are part of the database format.
enum class Counter : std::uint8_t {
  kNextInode = 1,
  kNextChunk = 2,
  kNextNode = 3,
  // 4 and 12 were for sessions, whose numbers are random now.
  kInodes = 5,       // that exist, orphans included
  kLiveBytes = 6,    // over all chunks, one copy
  kLosses = 7,       // starts that may have lost transactions, see grace.h
  kDataVersion = 8,  // source of Attributes::data_version: rising over the whole filesystem
  // Bounds below which numbers may have been handed out, see number_reserve.h.
  kReservedInode = 9,
  kReservedChunk = 10,
  kReservedNode = 11,
  kReservedDataVersion = 13,
  kReservedChange = 14,  // above every index of a change
};

// Aggregates for status; may take time proportional to the number of chunks.
struct ChunkCounts {
  std::uint64_t chunks = 0;
  std::uint64_t open = 0;     // open or sealing
  std::uint64_t damaged = 0;  // with a damaged replica
};

class Store {
 public:
  virtual ~Store() = default;

  virtual Status begin() = 0;
  // With `durable` the transaction and all before it are on stable storage on return.
  virtual Status commit(bool durable) = 0;
  virtual void rollback() = 0;
  // A call failed since begin(): the transaction can only be rolled back.
  virtual bool is_broken() const = 0;
  // A sync has failed at any time: what was committed may not be there after all, and no later sync
  // would tell. Nothing must be acknowledged any more.
  virtual bool has_failed_sync() const = 0;
  // Has the next process on this store know that, by its boot_id(), until a boot id is set durably.
  // No effect if no sync has failed.
  virtual Status note_failed_sync() = 0;

  virtual Result<std::string> cluster_id() = 0;  // made when the database is
  // The run of the machine that commits not synced yet may be lost with; empty: all are synced; no
  // machine's: a sync failed and some may be lost already.
  virtual Result<std::string> boot_id() = 0;
  virtual Status set_boot_id(const std::string& boot_id) = 0;
  virtual Result<std::uint64_t> counter(Counter counter) = 0;  // 0 if never set
  virtual Status set_counter(Counter counter, std::uint64_t value) = 0;

  virtual Result<std::optional<InodeRow>> inode(InodeId inode) = 0;
  virtual Status put_inode(const InodeRow& row) = 0;
  virtual Status erase_inode(InodeId inode) = 0;
  virtual Result<std::vector<InodeRow>> scan_inodes(InodeId after, std::size_t limit) = 0;

  // Entries of `parent` with first <= cookie <= last, by cookie.
  virtual Result<std::vector<EntryRow>> entries(InodeId parent, std::uint64_t first,
                                                std::uint64_t last, std::size_t limit) = 0;
  // The same joined with their inodes: one page of a listing.
  virtual Result<std::vector<std::pair<EntryRow, InodeRow>>> entries_with_inodes(
      InodeId parent, std::uint64_t first, std::size_t limit) = 0;
  virtual Status put_entry(const EntryRow& row) = 0;  // replaces (parent, cookie)
  virtual Status erase_entry(InodeId parent, std::uint64_t cookie) = 0;
  // Over all directories, by (parent, cookie), for checking.
  virtual Result<std::vector<EntryRow>> scan_entries(InodeId after_parent,
                                                     std::uint64_t after_cookie,
                                                     std::size_t limit) = 0;

  // Windows of `inode` with first <= window <= last, by window.
  virtual Result<std::vector<WindowRow>> windows(InodeId inode, std::uint64_t first,
                                                 std::uint64_t last, std::size_t limit) = 0;
  virtual Status put_window(InodeId inode, const WindowRow& row) = 0;  // no extents: erases
  virtual Status erase_window(InodeId inode, std::uint64_t window) = 0;
  // Gives the windows from `first` on to `to`, which has none. Returns the bytes their extents
  // cover. A few microseconds for each window: about 2 ms for each GiB of file.
  virtual Result<std::uint64_t> move_windows(InodeId from, InodeId to, std::uint64_t first) = 0;

  virtual Result<std::optional<std::string>> xattr(InodeId inode, const std::string& name) = 0;
  virtual Result<std::vector<std::string>> xattr_names(InodeId inode) = 0;  // sorted
  virtual Status put_xattr(InodeId inode, const std::string& name, const std::string& value) = 0;
  virtual Status erase_xattr(InodeId inode, const std::string& name) = 0;
  virtual Status erase_xattrs(InodeId inode) = 0;

  virtual Result<std::optional<ChunkRow>> chunk(ChunkId chunk) = 0;
  virtual Status put_chunk(const ChunkRow& row) = 0;
  virtual Status erase_chunk(ChunkId chunk) = 0;
  virtual Result<std::vector<ChunkRow>> scan_chunks(ChunkId after, std::size_t limit) = 0;
  virtual Result<std::vector<ChunkRow>> scan_unsealed_chunks(ChunkId after, std::size_t limit) = 0;
  virtual Result<std::vector<ChunkRow>> scan_dead_chunks(std::size_t limit) = 0;  // sealed, no live
  virtual Result<ChunkCounts> chunk_counts() = 0;

  virtual Result<std::vector<ReplicaRow>> replicas(ChunkId chunk) = 0;  // by node
  virtual Status put_replica(const ReplicaRow& row) = 0;
  virtual Status erase_replica(ChunkId chunk, NodeId node) = 0;
  // Of one server, after < chunk <= last, by chunk.
  virtual Result<std::vector<ReplicaRow>> node_replicas(NodeId node, ChunkId after, ChunkId last,
                                                        std::size_t limit) = 0;
  virtual Result<std::vector<ReplicaRow>> deleting_replicas(NodeId node, std::size_t limit) = 0;
  virtual Result<std::uint64_t> node_replica_count(NodeId node) = 0;

  virtual Result<std::vector<NodeRow>> nodes() = 0;  // at most kNodesMax
  virtual Status put_node(const NodeRow& row) = 0;

  virtual Result<std::vector<SessionRow>> sessions() = 0;  // at most kSessionsMax
  virtual Status put_session(const SessionRow& row) = 0;
  virtual Status erase_session(SessionId session) = 0;  // and its kept replies

  // Encoded reply heads of changes the session has not acknowledged yet.
  virtual Result<std::optional<std::string>> kept_reply(SessionId session,
                                                        std::uint64_t sequence) = 0;
  virtual Status keep_reply(SessionId session, std::uint64_t sequence,
                            const std::string& reply) = 0;
  // Drops those up to there and notes the number in the session's row, so that a late duplicate is
  // recognised after a restart too.
  virtual Status drop_replies(SessionId session, std::uint64_t up_to_sequence) = 0;

  virtual Status put_orphan(const OrphanRow& row) = 0;
  virtual Status erase_orphan(InodeId inode) = 0;
  virtual Result<std::vector<OrphanRow>> scan_orphans(InodeId after, std::size_t limit) = 0;
  virtual Result<std::uint64_t> orphan_count() = 0;

  virtual Result<std::uint64_t> database_bytes() = 0;
};

}  // namespace dfs::master
