#include "admin/cluster_calls.h"

#include <utility>

namespace dfs::admin {

ClusterCalls::ClusterCalls(World world, Address master, RunUntil run_until)
    : world_(world),
      run_until_(std::move(run_until)),
      master_(
          std::make_unique<RpcClient>(world, std::move(master), "master", RpcClient::Options{})) {}

RpcClient& ClusterCalls::server_link(const Address& address) {
  std::unique_ptr<RpcClient>& link = servers_[address];
  if (link == nullptr) {
    link = std::make_unique<RpcClient>(world_, address, "chunkserver " + address,
                                       RpcClient::Options{});
  }
  return *link;
}

}  // namespace dfs::admin
