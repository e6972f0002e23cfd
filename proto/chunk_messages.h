// Requests a chunkserver answers: from clients, from the chunkserver before it in a pipeline, and
// from the master.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/extent.h"
#include "proto/fields.h"
#include "proto/message_type.h"
#include "proto/namespace_messages.h"

namespace dfs {

struct AppendReply {
  std::uint16_t outcome = 0;  // ErrorCode: kOk, kSealed, kWrongOffset, kNoSpace, kIo, kCorrupt,
                              // kUnavailable, kTimedOut
  NodeId failed_node;         // where it failed, when outcome is not kOk
  std::uint32_t length_bytes = 0;  // of the chunk here after the append
  std::string detail;
  DFS_FIELDS(outcome, failed_node, length_bytes, detail)
};
// Appends whole blocks (the bulk frame) at `chunk_offset`, which must be the chunk's end; the first
// append, at kChunkHeaderBytes, makes the chunk. Forwarded to the next in `chain_*` while it is
// stored here; answered when all have it, with `sync` when all have it on stable storage, together
// with everything appended before. An empty bulk frame with `sync` only syncs. A repeated append
// of what is already there is answered again.
struct AppendRequest {
  static constexpr MessageType kType = MessageType::kAppend;
  using Reply = AppendReply;
  ChunkId chunk;
  Epoch epoch;
  std::uint32_t chunk_offset = 0;
  bool sync = false;
  std::vector<NodeId> chain_nodes;  // those behind this one
  std::vector<std::string> chain_addresses;
  DFS_FIELDS(chunk, epoch, chunk_offset, sync, chain_nodes, chain_addresses)
};

struct ReadRange {
  std::uint32_t block_offset = 0;  // as in Extent
  std::uint32_t block_bytes = 0;
  std::uint32_t payload_offset = 0;  // need not be at a cell's start
  std::uint32_t length_bytes = 0;
  DFS_FIELDS(block_offset, block_bytes, payload_offset, length_bytes)
};
struct ReadRangeResult {
  std::uint16_t code = 0;        // ErrorCode: kOk, kCorrupt, kIo, kNoSuchChunk, kInvalidArgument
  std::uint32_t first_cell = 0;  // of the block: the bytes sent begin at its start
  std::uint32_t size_bytes = 0;  // in the bulk frame, ranges back to back
  std::vector<std::uint32_t> checksums;  // one for each cell sent
  DFS_FIELDS(code, first_cell, size_bytes, checksums)
};
struct ReadReply {
  std::vector<ReadRangeResult> ranges;
  DFS_FIELDS(ranges)
};
// Whole cells that cover the ranges, with their stored checksums. The server checks them before
// sending; the reader checks again.
struct ReadRequest {
  static constexpr MessageType kType = MessageType::kRead;
  using Reply = ReadReply;
  ChunkId chunk;
  std::vector<ReadRange> ranges;
  // For a single range that ends with its block: the bytes of the chunk from there to here may
  // follow in the bulk frame, as they are stored and not checked by the server. 0: none.
  std::uint32_t neighbours_until = 0;
  DFS_FIELDS(chunk, ranges, neighbours_until)
};

struct ReplicaInfo {
  ChunkId chunk;
  Epoch epoch;
  std::uint32_t length_bytes = 0;  // of the chunk file that is valid
  bool sealed = false;
  bool damaged = false;  // a checksum or read failed since the daemon started
  DFS_FIELDS(chunk, epoch, length_bytes, sealed, damaged)
  friend bool operator==(const ReplicaInfo&, const ReplicaInfo&) = default;
};

struct FenceReplicaReply {
  ReplicaInfo replica;  // length: up to the first bad block; 0: the chunk was never made here
  DFS_FIELDS(replica)
};
// No append with an epoch older than this one is taken any more, durably, before the answer.
struct FenceReplicaRequest {
  static constexpr MessageType kType = MessageType::kFenceReplica;
  using Reply = FenceReplicaReply;
  ChunkId chunk;
  Epoch epoch;
  DFS_FIELDS(chunk, epoch)
};

// Cuts the replica to `length_bytes`, which ends at a block, syncs and seals it. Repeatable. Fails
// with kNoSuchChunk, kCorrupt (it is shorter), kSealed (a newer epoch), kIo.
struct SealReplicaRequest {
  static constexpr MessageType kType = MessageType::kSealReplica;
  using Reply = EmptyReply;
  ChunkId chunk;
  Epoch epoch;
  std::uint32_t length_bytes = 0;
  DFS_FIELDS(chunk, epoch, length_bytes)
};

// Chunks that are not there count as deleted.
struct DeleteReplicasRequest {
  static constexpr MessageType kType = MessageType::kDeleteReplicas;
  using Reply = EmptyReply;
  std::vector<ChunkId> chunks;
  DFS_FIELDS(chunks)
};

struct ListReplicasReply {
  std::vector<ReplicaInfo> replicas;  // by chunk id
  bool end = false;
  DFS_FIELDS(replicas, end)
};
struct ListReplicasRequest {
  static constexpr MessageType kType = MessageType::kListReplicas;
  using Reply = ListReplicasReply;
  ChunkId after;
  std::uint32_t replicas_max = 0;
  DFS_FIELDS(after, replicas_max)
};

struct VerifyReplicaReply {
  ReplicaInfo replica;
  std::uint32_t blocks_checked = 0;
  std::vector<std::uint32_t> bad_block_offsets;  // the first few; 0: the chunk's header
  DFS_FIELDS(replica, blocks_checked, bad_block_offsets)
};
// Reads the whole replica and checks header and every block. Fails with kNoSuchChunk.
struct VerifyReplicaRequest {
  static constexpr MessageType kType = MessageType::kVerifyReplica;
  using Reply = VerifyReplicaReply;
  ChunkId chunk;
  DFS_FIELDS(chunk)
};

}  // namespace dfs
