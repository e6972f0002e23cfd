// What dfs-admin asks the master. Paths are resolved with LookupRequest, bytes are compared with
// ListReplicas and VerifyReplica at the chunkservers themselves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/attributes.h"
#include "proto/chunk_messages.h"
#include "proto/fields.h"
#include "proto/message_type.h"
#include "proto/node_messages.h"

namespace dfs {

struct ClusterStatusReply {
  std::string cluster_id;
  std::string version;
  std::uint64_t uptime_s = 0;
  std::uint64_t inodes = 0;
  std::uint64_t orphans = 0;  // unlinked, still open somewhere or being freed
  std::uint64_t chunks = 0;
  std::uint64_t chunks_open = 0;
  std::uint64_t chunks_degraded = 0;     // fewer good live replicas than their policy
  std::uint64_t chunks_unavailable = 0;  // no good replica on a live server
  std::uint64_t chunks_damaged = 0;      // with a replica known to be bad
  std::uint64_t sessions = 0;
  std::uint64_t leases = 0;
  std::uint64_t write_leases = 0;  // of these
  std::uint64_t leases_max = 0;    // above it, the oldest are recalled
  std::uint64_t recalls = 0;       // notices that clients have yet to acknowledge
  std::uint32_t nodes_up = 0;
  std::uint32_t nodes_down = 0;
  std::uint64_t total_bytes = 0;      // raw, of live servers
  std::uint64_t available_bytes = 0;  // raw, of live servers
  std::uint64_t live_bytes = 0;       // referenced by files, one copy
  std::uint64_t database_bytes = 0;
  StoragePolicy root_policy;
  std::uint64_t oldest_recall_ms = 0;   // since the first of `recalls` was made
  std::uint64_t leases_over_limit = 0;  // taken back since the start to keep to leases_max
  // Addresses of servers that take chunks and have no room for one, by id of the server.
  std::vector<std::string> nodes_full;
  DFS_FIELDS(cluster_id, version, uptime_s, inodes, orphans, chunks, chunks_open, chunks_degraded,
             chunks_unavailable, chunks_damaged, sessions, leases, write_leases, leases_max,
             recalls, nodes_up, nodes_down, total_bytes, available_bytes, live_bytes,
             database_bytes, root_policy, oldest_recall_ms, leases_over_limit, nodes_full)
};
struct ClusterStatusRequest {
  static constexpr MessageType kType = MessageType::kClusterStatus;
  using Reply = ClusterStatusReply;
  DFS_NO_FIELDS
};

enum class NodeState : std::uint8_t { kUp = 0, kDown = 1, kDraining = 2 };

struct NodeInfo {
  NodeId node;
  std::string uuid;
  std::string address;
  std::string zone;
  std::uint8_t state = 0;  // NodeState
  std::uint64_t heard_ms_ago = 0;
  std::uint64_t replicas = 0;
  std::uint64_t reserved_bytes = 0;  // for open chunks
  std::vector<DirectoryInfo> directories;
  DFS_FIELDS(node, uuid, address, zone, state, heard_ms_ago, replicas, reserved_bytes, directories)
};
struct ListNodesReply {
  std::vector<NodeInfo> nodes;  // by id
  DFS_FIELDS(nodes)
};
struct ListNodesRequest {
  static constexpr MessageType kType = MessageType::kListNodes;
  using Reply = ListNodesReply;
  DFS_NO_FIELDS
};

enum class ReplicaState : std::uint8_t { kGood = 0, kDamaged = 1, kMissing = 2 };

struct ReplicaDescription {
  NodeId node;
  std::string address;
  std::uint8_t state = 0;  // ReplicaState
  bool node_up = false;
  DFS_FIELDS(node, address, state, node_up)
};
struct ChunkDescription {
  ChunkId chunk;
  Epoch epoch;
  bool sealed = false;
  std::uint32_t length_bytes = 0;  // sealed length, or the end of the furthest committed block
  std::uint64_t live_bytes = 0;
  StoragePolicy policy;
  std::vector<ReplicaDescription> replicas;
  DFS_FIELDS(chunk, epoch, sealed, length_bytes, live_bytes, policy, replicas)
};
struct DescribeChunksReply {
  std::vector<ChunkDescription> chunks;  // those that exist, in the order asked for
  std::string writer;                    // the client that may buffer what it wrote; empty: none
  DFS_FIELDS(chunks, writer)
};
struct DescribeChunksRequest {
  static constexpr MessageType kType = MessageType::kDescribeChunks;
  using Reply = DescribeChunksReply;
  std::vector<ChunkId> chunks;
  InodeId written;  // who has the write lease of this is told, too; 0: of none
  DFS_FIELDS(chunks, written)
};

struct ListChunksReply {
  std::vector<ChunkDescription> chunks;  // by id
  bool end = false;
  DFS_FIELDS(chunks, end)
};
struct ListChunksRequest {
  static constexpr MessageType kType = MessageType::kListChunks;
  using Reply = ListChunksReply;
  ChunkId after;
  std::uint32_t chunks_max = 0;
  DFS_FIELDS(after, chunks_max)
};

// Sets the policy of one file or directory: new chunks and new children follow it. Fails with
// kInvalidArgument (1 <= min_replicas <= replicas <= kReplicasMax does not hold), kStale. Setting
// it twice is setting it once, so it needs no sequence.
struct SetPolicyRequest {
  static constexpr MessageType kType = MessageType::kSetPolicy;
  using Reply = EmptyReply;
  InodeId inode;
  StoragePolicy policy;
  DFS_FIELDS(inode, policy)
};

struct MetadataProblem {
  InodeId inode;        // 0: none
  ChunkId chunk;        // 0: none
  std::string problem;  // a sentence
  DFS_FIELDS(inode, chunk, problem)
};
struct CheckMetadataReply {
  std::vector<MetadataProblem> problems;
  std::uint64_t rows_checked = 0;
  std::string cursor;  // empty: done
  DFS_FIELDS(problems, rows_checked, cursor)
};
// One bounded slice of a check of the whole database: entries name inodes, link counts and sizes
// are right, extents lie inside chunks that exist, live bytes add up. Start with an empty cursor.
struct CheckMetadataRequest {
  static constexpr MessageType kType = MessageType::kCheckMetadata;
  using Reply = CheckMetadataReply;
  std::string cursor;
  DFS_FIELDS(cursor)
};

}  // namespace dfs
