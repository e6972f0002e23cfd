#include "fuse-client/core/replica_chooser.h"

#include <algorithm>
#include <vector>

namespace dfs::client {

std::optional<std::size_t> ReplicaChooser::choose(const ChunkLocation& where,
                                                  const std::set<NodeId>& tried, NodeId preferred) {
  std::vector<std::size_t> good;
  std::vector<std::size_t> suspect;
  for (std::size_t i = 0; i < where.nodes.size(); ++i) {
    if (tried.contains(where.nodes[i])) {
      continue;
    }
    if (is_suspect(where.nodes[i])) {
      suspect.push_back(i);
    } else if (where.nodes[i] == preferred) {
      return i;
    } else {
      good.push_back(i);
    }
  }
  const std::vector<std::size_t>& candidates = good.empty() ? suspect : good;
  if (candidates.empty()) {
    return std::nullopt;
  }
  return candidates[random_.below(candidates.size())];
}

void ReplicaChooser::failed(NodeId node) {
  Suspect& suspect = suspects_[node];
  if (scheduler_.now() < suspect.until) {
    return;  // one silence fails many calls at once
  }
  suspect.until =
      scheduler_.now() + kSuspectTime * (1u << std::min(suspect.failures, kSuspectDoublingsMax));
  ++suspect.failures;
}

bool ReplicaChooser::is_suspect(NodeId node) const {
  const auto place = suspects_.find(node);
  return place != suspects_.end() && scheduler_.now() < place->second.until;
}

}  // namespace dfs::client
