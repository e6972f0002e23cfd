// Connections to the chunkservers of one cluster, one for each address, made when first used. Those
// idle longest are dropped when there are more than the bound (one with calls pending never is).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "common/cluster_tag.h"
#include "common/world.h"
#include "proto/rpc_client.h"

namespace dfs {

class ChunkLinks {
 public:
  ChunkLinks(World world, std::size_t links_max) : world_(world), links_max_(links_max) {}
  ChunkLinks(const ChunkLinks&) = delete;
  ChunkLinks& operator=(const ChunkLinks&) = delete;

  // For connections made from now on. A cluster never becomes another one.
  void set_cluster(ClusterTag cluster) { cluster_ = cluster; }

  // The connection to a server; silent for kLivenessTimeout, or another cluster's, it fails its
  // calls with kUnavailable. The reference is good until the next call of this function.
  RpcClient& to(const Address& address);

 private:
  struct Link {
    std::unique_ptr<RpcClient> rpc;
    std::uint64_t last_used = 0;
  };
  void drop_oldest_idle();

  World world_;
  std::size_t links_max_;
  ClusterTag cluster_;
  std::map<Address, Link> links_;
  std::uint64_t use_count_ = 0;
};

}  // namespace dfs
