#include "proto/chunk_links.h"

namespace dfs {

RpcClient& ChunkLinks::to(const Address& address) {
  const auto place = links_.find(address);
  if (place != links_.end()) {
    place->second.last_used = ++use_count_;
    return *place->second.rpc;
  }
  if (links_.size() >= links_max_) {
    drop_oldest_idle();
  }
  Link& link = links_[address];
  RpcClient::Options options;
  options.cluster = cluster_;
  link.rpc = std::make_unique<RpcClient>(world_, address, "chunkserver " + address, options);
  link.last_used = ++use_count_;
  return *link.rpc;
}

void ChunkLinks::drop_oldest_idle() {
  auto oldest = links_.end();
  for (auto link = links_.begin(); link != links_.end(); ++link) {
    const bool is_idle = link->second.rpc->calls_pending() == 0;
    if (is_idle && (oldest == links_.end() || link->second.last_used < oldest->second.last_used)) {
      oldest = link;
    }
  }
  if (oldest == links_.end()) {
    return;
  }
  // This may run inside a callback of that very connection.
  world_.scheduler.post([dropped = std::shared_ptr<RpcClient>(std::move(oldest->second.rpc))] {});
  links_.erase(oldest);
}

}  // namespace dfs
