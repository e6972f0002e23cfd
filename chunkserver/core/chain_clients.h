// ChainClients: the connections over which appends travel on to the next servers of their chains.
//
// One RpcClient for each address, kept while it is used; those idle longest are dropped when there
// are more than the bound. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/world.h"
#include "proto/rpc_client.h"

namespace dfs::chunkserver {

class ChainClients {
 public:
  ChainClients(World world, std::size_t clients_max);

  // The client for `address`, valid until the next call of this function. Must not be called from a
  // callback of one of the clients.
  RpcClient& client(const std::string& address);

 private:
  struct Entry {
    std::unique_ptr<RpcClient> client;
    std::uint64_t last_used = 0;
  };
  void drop_idle();

  World world_;
  std::size_t clients_max_;
  std::uint64_t uses_ = 0;
  std::map<std::string, Entry> clients_;
};

}  // namespace dfs::chunkserver
