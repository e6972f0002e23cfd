#include "master/core/node_clients.h"

#include <algorithm>

namespace dfs::master {

std::shared_ptr<RpcClient> NodeClients::client(NodeId node) {
  const KnownNode* state = nodes_.find(node);
  if (state == nullptr) {
    return nullptr;
  }
  drop_idle_retired();
  std::shared_ptr<RpcClient>& rpc = clients_[node];
  if (rpc != nullptr && rpc->address() != state->row.address) {
    retired_.push_back(std::move(rpc));
    rpc = nullptr;
  }
  if (rpc == nullptr) {
    RpcClient::Options options;
    options.when_down = RpcClient::WhenDown::kFailCalls;
    options.cluster = cluster_;
    // Calls give up after a few seconds: one lost message must not use up all of them.
    options.resend_after = std::chrono::milliseconds(500);
    rpc = std::make_shared<RpcClient>(world_, state->row.address,
                                      "chunkserver " + std::to_string(node.value), options);
  }
  return rpc;
}

void NodeClients::fail_later(Task task) {
  world_.scheduler.post([task = std::move(task), alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) {
      task();
    }
  });
}

void NodeClients::drop_idle_retired() {
  const auto is_idle = [this](std::shared_ptr<RpcClient>& rpc) {
    if (rpc->calls_pending() > 0) {
      return false;
    }
    // This may run inside the last callback of that very client: it must outlive the callback.
    world_.scheduler.post([rpc] {});
    return true;
  };
  retired_.erase(std::remove_if(retired_.begin(), retired_.end(), is_idle), retired_.end());
}

}  // namespace dfs::master
