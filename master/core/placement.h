// Where a new chunk goes: a pure function of what is known about the servers.
//
// - As many servers as the policy's replicas, fewer only when fewer live or have room, never below
//   min_replicas.
// - Servers to avoid are used only to reach min_replicas.
// - Distinct servers always; distinct zones first (no zone given is a zone like any other).
// - Then the one with most room and least load, by lot among those nearly as good.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/random.h"
#include "common/result.h"
#include "proto/attributes.h"
#include "proto/limits.h"

namespace dfs::master {

// A server that takes chunks: up, not draining, with a working directory.
struct PlacementNode {
  NodeId node;
  std::string zone;
  std::uint64_t room_bytes = 0;  // not used and not reserved
  std::uint32_t load = 0;        // requests in progress and open chunks
  bool avoid = false;
};

struct Placement {
  std::vector<NodeId> nodes;         // in pipeline order
  std::uint32_t capacity_bytes = 0;  // kChunkCapacityBytesMin … kChunkBytesMax
};

// 1 <= min_replicas <= replicas <= kReplicasMax.
bool is_valid(StoragePolicy policy);

// A chunk gets at most this share of the room of a server, so that near the end many writers get
// small chunks and not one writer everything.
inline constexpr std::uint64_t kRoomShare = 8;

// Fails with kNotEnoughServers (fewer than min_replicas take chunks), kNoSpace (enough do, but
// fewer have room). Precondition: is_valid(policy), nodes are distinct.
Result<Placement> place_chunk(const std::vector<PlacementNode>& nodes, StoragePolicy policy,
                              Random& random);

}  // namespace dfs::master
