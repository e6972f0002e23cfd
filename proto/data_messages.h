// Client to master: extents and chunks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/attributes.h"
#include "proto/extent.h"
#include "proto/fields.h"
#include "proto/message_type.h"
#include "proto/namespace_messages.h"

namespace dfs {

struct GetExtentsReply {
  Attributes attributes;  // of the same moment as the extents
  std::vector<Extent> extents;
  std::vector<ChunkLocation> locations;  // of every chunk named
  std::uint64_t covered_end = 0;         // extents are complete from the asked offset up to here
  std::uint64_t lease = 0;               // as in EntryReply
  DFS_FIELDS(attributes, extents, locations, covered_end, lease)
};
// The extents of windows that overlap [offset, offset + length). The answer may stop early, at a
// window's end. Fails with kStale, kInvalidArgument (not a regular file).
struct GetExtentsRequest {
  static constexpr MessageType kType = MessageType::kGetExtents;
  using Reply = GetExtentsReply;
  InodeId inode;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  DFS_FIELDS(inode, offset, length_bytes)
};

struct FileCommit {
  InodeId inode;
  std::vector<Extent> extents;       // later ones lie over earlier ones
  std::uint64_t size_bytes_min = 0;  // the file is at least this long afterwards
  Timestamp mtime;  // of the last write in it, or as utimens(2) set it after that write
  bool clear_set_id = false;
  Timestamp ctime;       // of the last write; the file's becomes this if that is later than it is
  bool is_last = false;  // gives the write lease up, if it is taken
  // Of the write lease the bytes were written under; 0: they were written through mmap under
  // another.
  std::uint64_t write_epoch = 0;
  DFS_FIELDS(inode, extents, size_bytes_min, mtime, clear_set_id, ctime, is_last, write_epoch)
};
struct FileCommitResult {
  // ErrorCode: kStale (gone), kTooManyExtents, kNoSuchChunk, kLeaseLost (not that write lease).
  std::uint16_t code = 0;
  Attributes attributes;                 // valid when code is kOk
  std::uint32_t window_pieces_most = 0;  // pieces in the fullest window it touched
  // The file's before this commit: the writer knows whether anybody else changed it in between.
  std::uint64_t data_version_before = 0;
  std::uint64_t lease = 0;  // as in EntryReply
  DFS_FIELDS(code, attributes, window_pieces_most, data_version_before, lease)
};
struct CommitExtentsReply {
  std::vector<FileCommitResult> results;  // one for each file
  DFS_FIELDS(results)
};
// Makes bytes that already are on stable storage of every replica part of their files. Each file
// stands for itself: one refused does not stop the others. An extent must lie in a chunk of this
// session.
struct CommitExtentsRequest {
  static constexpr MessageType kType = MessageType::kCommitExtents;
  using Reply = CommitExtentsReply;
  std::vector<FileCommit> files;
  bool durable = false;  // answer only once the master's commit is on stable storage
  DFS_FIELDS(files, durable)
};

struct OpenChunkReply {
  ChunkId chunk;
  Epoch epoch;
  std::uint32_t capacity_bytes = 0;  // of the chunk file; reserved on every replica
  std::vector<NodeId> nodes;         // in pipeline order
  std::vector<std::string> addresses;
  DFS_FIELDS(chunk, epoch, capacity_bytes, nodes, addresses)
};
// A new chunk for this session alone, with room reserved on each replica until it is sealed. Fails
// with kNoSpace (the cluster is full for this policy) or kNotEnoughServers (fewer than min_replicas
// live ones have room): wait and ask again.
struct OpenChunkRequest {
  static constexpr MessageType kType = MessageType::kOpenChunk;
  using Reply = OpenChunkReply;
  StoragePolicy policy;
  std::vector<NodeId> avoid;  // servers the client just failed to reach; used if there is no other
  DFS_FIELDS(policy, avoid)
};

struct SealChunkReply {
  std::uint32_t length_bytes = 0;  // of the sealed chunk; 0 while the sealing still runs
  DFS_FIELDS(length_bytes)
};
// The session will not append to the chunk any more. Answered at once: fencing and cutting the
// replicas runs at the master.
struct SealChunkRequest {
  static constexpr MessageType kType = MessageType::kSealChunk;
  using Reply = SealChunkReply;
  ChunkId chunk;
  NodeId failed_node;         // 0: none; else the replica that did not take an append
  std::uint16_t failure = 0;  // ErrorCode it failed with
  DFS_FIELDS(chunk, failed_node, failure)
};

// A replica that a reader could not use: bad checksum (kCorrupt), missing (kNoSuchChunk),
// unreadable (kIo). Being down is not reported: the master sees that for itself.
struct ReportBadReplicaRequest {
  static constexpr MessageType kType = MessageType::kReportBadReplica;
  using Reply = EmptyReply;
  ChunkId chunk;
  NodeId node;
  std::uint32_t block_offset = 0;
  std::uint16_t failure = 0;  // ErrorCode
  DFS_FIELDS(chunk, node, block_offset, failure)
};

enum class SeekKind : std::uint8_t { kData = 0, kHole = 1 };
inline constexpr std::uint8_t kSeekKindMax = 1;

struct SeekReply {
  std::uint64_t offset = 0;
  bool found = false;  // else nothing was found up to there: ask again from there
  DFS_FIELDS(offset, found)
};
// The first place at or behind `offset` where the file has data, or where it has none: a hole, or
// its end. Fails with kNoData (`offset` is not within the file, or no data is behind it), kStale,
// kInvalidArgument (not a regular file).
struct SeekRequest {
  static constexpr MessageType kType = MessageType::kSeek;
  using Reply = SeekReply;
  InodeId inode;
  std::uint64_t offset = 0;
  std::uint8_t kind = 0;  // SeekKind
  DFS_FIELDS(inode, offset, kind)
};

// fallocate(2). With `remove` the range becomes a hole; it may have kRangeBytesMax. Without,
// nothing but the size changes: no room is set aside. Fails with kFileTooBig, kTooLarge, kStale,
// kInvalidArgument (not a regular file, an empty range).
struct AllocateRequest {
  static constexpr MessageType kType = MessageType::kAllocate;
  using Reply = AttributesReply;
  InodeId inode;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  bool remove = false;
  bool keep_size = false;  // else the file is at least as long as the range's end afterwards
  DFS_FIELDS(inode, offset, length_bytes, remove, keep_size)
};

struct CloneRangeReply {
  Attributes attributes;  // of the destination
  std::uint64_t length_bytes = 0;
  std::uint64_t lease = 0;  // as in EntryReply
  DFS_FIELDS(attributes, length_bytes, lease)
};
// copy_file_range(2): the destination shares what the source has in the range, which may have
// kRangeBytesMax and ends with the source. Holes are copied too. Fails with kStale,
// kInvalidArgument (not regular files, ranges of one file that overlap), kFileTooBig, kTooLarge,
// kTooManyExtents (the destination would be in too many pieces: copy the bytes instead).
struct CloneRangeRequest {
  static constexpr MessageType kType = MessageType::kCloneRange;
  using Reply = CloneRangeReply;
  InodeId source;
  std::uint64_t source_offset = 0;
  InodeId destination;
  std::uint64_t destination_offset = 0;
  std::uint64_t length_bytes = 0;
  DFS_FIELDS(source, source_offset, destination, destination_offset, length_bytes)
};

// Answered once everything answered before is on the master's stable storage.
struct SyncMetadataRequest {
  static constexpr MessageType kType = MessageType::kSyncMetadata;
  using Reply = EmptyReply;
  DFS_NO_FIELDS
};

}  // namespace dfs
