// The chunkservers as the master knows them: their rows, and what only their own words keep true
// (address in use, room, load, whether they live). Owned by ChunkManager; loop thread only. Bounded
// by kNodesMax.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/ids.h"
#include "master/core/store.h"
#include "proto/node_messages.h"

namespace dfs::master {

// kUnknown: not heard of since the master started, and not yet silent for long enough to be down.
enum class NodeLiveness : std::uint8_t { kUnknown, kUp, kDown };

struct KnownNode {
  NodeRow row;
  NodeLiveness liveness = NodeLiveness::kUnknown;
  bool is_registered = false;     // since the master started; `incarnation` is valid
  std::uint64_t incarnation = 0;  // of the daemon
  MonoTime heard;                 // last; the master's start for one not heard of yet
  std::vector<DirectoryInfo> directories;
  std::uint32_t requests_in_progress = 0;
  // A call of ours was not answered since it was last heard: it may be dead and not yet down.
  bool is_suspect = false;
  // Committed into open chunks since the directories were last reported: not in their figures yet.
  std::uint64_t written_bytes = 0;
  bool inventory_wanted = false;
  bool inventory_asked = false;  // and the series of reports has not ended yet
  // Replicas of chunks below this id were in place when the inventory was asked for. What was
  // opened later can be absent from a report that was under way meanwhile.
  ChunkId inventory_bound;

  bool is_reachable() const { return is_up() && !is_suspect; }
  bool is_up() const { return liveness == NodeLiveness::kUp; }
  bool takes_chunks() const;          // up, not draining, with a directory that works
  std::uint64_t total_bytes() const;  // of directories that work
  std::uint64_t available_bytes() const;
  std::uint64_t largest_directory_bytes() const;  // available in the one that has most
};

class NodeTable {
 public:
  // Replaces the rows; what is known beyond them is kept for the servers still there.
  void load(const std::vector<NodeRow>& rows, MonoTime now);

  KnownNode* find(NodeId node);  // null: no such server
  const KnownNode* find(NodeId node) const;
  KnownNode* find_by_uuid(const std::string& uuid);
  KnownNode& put(const NodeRow& row, MonoTime now);

  // Marks servers silent for `down_after`; returns those that just went down, by id.
  std::vector<NodeId> notice_silence(MonoTime now, Duration down_after);

  // Servers have not been heard of since the master started, and may live all the same.
  bool awaits_any() const;
  const std::map<NodeId, KnownNode>& all() const { return nodes_; }
  std::size_t size() const { return nodes_.size(); }

 private:
  std::map<NodeId, KnownNode> nodes_;
};

}  // namespace dfs::master
