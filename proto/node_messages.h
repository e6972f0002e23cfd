// Chunkserver to master.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/chunk_messages.h"
#include "proto/fields.h"
#include "proto/message_type.h"

namespace dfs {

struct DirectoryInfo {
  std::string path;
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;  // above the watermark it keeps free
  bool failed = false;
  std::string failure;  // why, for people
  DFS_FIELDS(path, total_bytes, available_bytes, failed, failure)
  friend bool operator==(const DirectoryInfo&, const DirectoryInfo&) = default;
};

struct RegisterNodeReply {
  NodeId node;
  std::string cluster_id;
  std::uint32_t heartbeat_ms = 0;
  DFS_FIELDS(node, cluster_id, heartbeat_ms)
};
// At start and whenever the master does not know the sender. A server is recognised by its uuid,
// wherever it lives now. Fails with kWrongCluster, kBusy (too many servers).
struct RegisterNodeRequest {
  static constexpr MessageType kType = MessageType::kRegisterNode;
  using Reply = RegisterNodeReply;
  std::string uuid;               // 32 hex digits, made once and kept in the data directories
  std::string cluster_id;         // empty: a new server, takes the answer's
  std::string address;            // where others reach it
  std::string zone;               // failure domain; may be empty
  std::uint64_t incarnation = 0;  // differs after each start of the daemon
  std::vector<DirectoryInfo> directories;
  DFS_FIELDS(uuid, cluster_id, address, zone, incarnation, directories)
};

struct HeartbeatReply {
  bool inventory_wanted = false;  // the master restarted or doubts: report everything
  DFS_FIELDS(inventory_wanted)
};
// Fails with kStale: register again.
struct HeartbeatRequest {
  static constexpr MessageType kType = MessageType::kHeartbeat;
  using Reply = HeartbeatReply;
  NodeId node;
  std::uint64_t incarnation = 0;
  std::vector<DirectoryInfo> directories;
  std::uint32_t requests_in_progress = 0;  // load
  DFS_FIELDS(node, incarnation, directories, requests_in_progress)
};

struct ReportInventoryReply {
  std::vector<ChunkId> unknown;  // not the master's: delete them
  DFS_FIELDS(unknown)
};
// All replicas with `first` < id <= `last` that this server has; what is not named in the range is
// not there. Sent as a series that covers 0 … 2^64-1.
struct ReportInventoryRequest {
  static constexpr MessageType kType = MessageType::kReportInventory;
  using Reply = ReportInventoryReply;
  NodeId node;
  std::uint64_t incarnation = 0;
  ChunkId first;
  ChunkId last;
  std::vector<ReplicaInfo> replicas;  // by chunk id
  DFS_FIELDS(node, incarnation, first, last, replicas)
};

// Changes since: replicas that were found damaged, or lost with their directory.
struct ReportReplicasRequest {
  static constexpr MessageType kType = MessageType::kReportReplicas;
  using Reply = EmptyReply;
  NodeId node;
  std::vector<ReplicaInfo> damaged;
  std::vector<ChunkId> lost;
  DFS_FIELDS(node, damaged, lost)
};

}  // namespace dfs
