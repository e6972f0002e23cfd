#include "master/core/node_table.h"

#include <algorithm>

#include "common/assert.h"

namespace dfs::master {

bool KnownNode::takes_chunks() const {
  const bool has_directory = std::any_of(directories.begin(), directories.end(),
                                         [](const DirectoryInfo& d) { return !d.failed; });
  return is_up() && !row.draining && has_directory;
}

std::uint64_t KnownNode::total_bytes() const {
  std::uint64_t sum = 0;
  for (const DirectoryInfo& directory : directories) {
    sum += directory.failed ? 0 : directory.total_bytes;
  }
  return sum;
}

std::uint64_t KnownNode::available_bytes() const {
  std::uint64_t sum = 0;
  for (const DirectoryInfo& directory : directories) {
    sum += directory.failed ? 0 : directory.available_bytes;
  }
  return sum;
}

std::uint64_t KnownNode::largest_directory_bytes() const {
  std::uint64_t largest = 0;
  for (const DirectoryInfo& directory : directories) {
    largest = directory.failed ? largest : std::max(largest, directory.available_bytes);
  }
  return largest;
}

void NodeTable::load(const std::vector<NodeRow>& rows, MonoTime now) {
  std::map<NodeId, KnownNode> before = std::move(nodes_);
  nodes_.clear();
  for (const NodeRow& row : rows) {
    KnownNode state;
    state.heard = now;
    if (const auto known = before.find(row.node); known != before.end()) {
      state = std::move(known->second);
    }
    state.row = row;
    nodes_.emplace(row.node, std::move(state));
  }
}

KnownNode* NodeTable::find(NodeId node) {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : &found->second;
}

const KnownNode* NodeTable::find(NodeId node) const {
  const auto found = nodes_.find(node);
  return found == nodes_.end() ? nullptr : &found->second;
}

KnownNode* NodeTable::find_by_uuid(const std::string& uuid) {
  const auto found = std::find_if(nodes_.begin(), nodes_.end(),
                                  [&](const auto& pair) { return pair.second.row.uuid == uuid; });
  return found == nodes_.end() ? nullptr : &found->second;
}

KnownNode& NodeTable::put(const NodeRow& row, MonoTime now) {
  DFS_ASSERT(row.node.is_set());
  auto [place, is_new] = nodes_.try_emplace(row.node);
  if (is_new) {
    place->second.heard = now;
  }
  place->second.row = row;
  return place->second;
}

bool NodeTable::awaits_any() const {
  return std::ranges::any_of(
      nodes_, [](const auto& node) { return node.second.liveness == NodeLiveness::kUnknown; });
}

std::vector<NodeId> NodeTable::notice_silence(MonoTime now, Duration down_after) {
  std::vector<NodeId> down;
  for (auto& [id, state] : nodes_) {
    if (state.liveness != NodeLiveness::kDown && now - state.heard >= down_after) {
      state.liveness = NodeLiveness::kDown;
      down.push_back(id);
    }
  }
  return down;
}

}  // namespace dfs::master
