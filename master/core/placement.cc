#include "master/core/placement.h"

#include <algorithm>
#include <map>

#include "common/assert.h"

namespace dfs::master {
namespace {

using Candidates = std::vector<const PlacementNode*>;

// Higher is better. The constant keeps a server with nothing to do from being infinitely good.
std::uint64_t score(const PlacementNode& node) { return node.room_bytes / (8 + node.load); }

// Moves one of the best candidates to `chosen`: of a zone used least, then by score, by lot among
// those with at least three quarters of the best score.
void choose_one(Candidates& candidates, Candidates& chosen, Random& random) {
  DFS_ASSERT(!candidates.empty());
  std::map<std::string, std::size_t> zone_uses;
  for (const PlacementNode* node : chosen) {
    ++zone_uses[node->zone];
  }
  std::size_t fewest = chosen.size();
  for (const PlacementNode* node : candidates) {
    fewest = std::min(fewest, zone_uses[node->zone]);
  }
  std::uint64_t best_score = 0;
  for (const PlacementNode* node : candidates) {
    if (zone_uses[node->zone] == fewest) {
      best_score = std::max(best_score, score(*node));
    }
  }
  std::vector<std::size_t> best;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const bool is_near = score(*candidates[i]) >= best_score - best_score / 4;
    if (zone_uses[candidates[i]->zone] == fewest && is_near) {
      best.push_back(i);
    }
  }
  const std::size_t index = best[random.below(best.size())];
  chosen.push_back(candidates[index]);
  candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(index));
}

std::uint32_t capacity_for(const Candidates& chosen) {
  std::uint64_t room = kChunkBytesMax * kRoomShare;
  for (const PlacementNode* node : chosen) {
    room = std::min(room, node->room_bytes);
  }
  const std::uint64_t share = room / kRoomShare / kChecksumCellBytes * kChecksumCellBytes;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(share, kChunkCapacityBytesMin, kChunkBytesMax));
}

}  // namespace

bool is_valid(StoragePolicy policy) {
  return policy.min_replicas >= 1 && policy.min_replicas <= policy.replicas &&
         policy.replicas <= kReplicasMax;
}

Result<Placement> place_chunk(const std::vector<PlacementNode>& nodes, StoragePolicy policy,
                              Random& random) {
  DFS_ASSERT(is_valid(policy));
  if (nodes.size() < policy.min_replicas) {
    return make_error(ErrorCode::kNotEnoughServers, std::to_string(nodes.size()) +
                                                        " servers take chunks, the policy needs " +
                                                        std::to_string(policy.min_replicas));
  }
  Candidates preferred;
  Candidates avoided;
  for (const PlacementNode& node : nodes) {
    if (node.room_bytes >= kChunkCapacityBytesMin) {
      (node.avoid ? avoided : preferred).push_back(&node);
    }
  }
  const std::size_t roomy = preferred.size() + avoided.size();
  if (roomy < policy.min_replicas) {
    return make_error(ErrorCode::kNoSpace, std::to_string(roomy) + " of " +
                                               std::to_string(nodes.size()) +
                                               " servers have room for a chunk, the policy needs " +
                                               std::to_string(policy.min_replicas));
  }
  Candidates chosen;
  while (chosen.size() < policy.replicas && !preferred.empty()) {
    choose_one(preferred, chosen, random);
  }
  while (chosen.size() < policy.min_replicas) {
    choose_one(avoided, chosen, random);
  }
  Placement placement;
  placement.capacity_bytes = capacity_for(chosen);
  for (const PlacementNode* node : chosen) {
    placement.nodes.push_back(node->node);
  }
  return placement;
}

}  // namespace dfs::master
