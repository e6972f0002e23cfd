// Tells servers to delete the replicas whose rows say kDeleting, until they confirm. The rows are
// the queue: here is only which servers are being asked right now. Asked again with every
// heartbeat. Loop thread only.
#pragma once

#include <set>

#include "common/world.h"
#include "master/core/internal_operations.h"
#include "master/core/node_clients.h"

namespace dfs::master {

inline constexpr std::size_t kDeletionsPerCall = 512;

class ReplicaDeleter {
 public:
  // All outlive this.
  ReplicaDeleter(InternalOperations& operations, NodeClients& clients, Duration call_timeout)
      : operations_(operations), clients_(clients), call_timeout_(call_timeout) {}

  // The server may have replicas to delete, and seems to live.
  void look(NodeId node);

 private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void read_rows(const JobPtr& job);
  void ask(const JobPtr& job);
  void confirm(const JobPtr& job);

  InternalOperations& operations_;
  NodeClients& clients_;
  Duration call_timeout_;
  std::set<NodeId> running_;
};

}  // namespace dfs::master
