#include "chunkserver/core/chain_clients.h"

namespace dfs::chunkserver {

ChainClients::ChainClients(World world, std::size_t clients_max)
    : world_(world), clients_max_(clients_max) {}

RpcClient& ChainClients::client(const std::string& address) {
  Entry& entry = clients_[address];
  entry.last_used = ++uses_;
  if (!entry.client) {
    entry.client = std::make_unique<RpcClient>(world_, address, "chunkserver " + address,
                                               RpcClient::Options{});
    drop_idle();
  }
  return *entry.client;
}

// Clients with calls in progress stay: their number is bounded by that of the calls.
void ChainClients::drop_idle() {
  while (clients_.size() > clients_max_) {
    auto oldest = clients_.end();
    for (auto at = clients_.begin(); at != clients_.end(); ++at) {
      const bool is_idle = at->second.client->calls_pending() == 0 && at->second.last_used != uses_;
      if (is_idle &&
          (oldest == clients_.end() || at->second.last_used < oldest->second.last_used)) {
        oldest = at;
      }
    }
    if (oldest == clients_.end()) {
      return;
    }
    clients_.erase(oldest);
  }
}

}  // namespace dfs::chunkserver
