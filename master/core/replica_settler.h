// Brings single replicas of sealed chunks to the sealed length and seals them: after the chunk was
// sealed, and whenever an inventory shows one that missed it. One call each: SealReplica is
// repeatable and a sealed chunk takes no appends. What cannot be reached is left to the next
// inventory of its server.
//
// Bounded by kSettlingQueuedMax ids (above it, the server is asked for another inventory) and
// kSettlingRunningMax calls. Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "common/world.h"
#include "master/core/internal_operations.h"
#include "master/core/node_clients.h"
#include "master/core/node_table.h"

namespace dfs::master {

inline constexpr std::size_t kSettlingQueuedMax = 65536;
inline constexpr std::size_t kSettlingRunningMax = 256;

// As the row of the sealed chunk says.
struct SealedReplica {
  ChunkId chunk;
  NodeId node;
  Epoch epoch;
  std::uint32_t length_bytes = 0;
};

class ReplicaSettler {
 public:
  // All outlive this.
  ReplicaSettler(World world, InternalOperations& operations, NodeTable& nodes,
                 NodeClients& clients, Duration call_timeout);

  // Precondition: the row that says so is on stable storage.
  void settle(const SealedReplica& replica);

  std::size_t waiting_count() const { return queue_.size() + running_.size(); }

 private:
  using Key = std::pair<ChunkId, NodeId>;

  void pump();
  void finished(const SealedReplica& replica, const Status& status);
  void mark(const SealedReplica& replica, ReplicaRowState state, const Error& why);
  void ask_for_inventory(NodeId node);

  World world_;
  InternalOperations& operations_;
  NodeTable& nodes_;
  NodeClients& clients_;
  Duration call_timeout_;
  std::map<Key, SealedReplica> queue_;
  std::set<Key> running_;
};

}  // namespace dfs::master
