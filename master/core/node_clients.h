// One RpcClient for each chunkserver the master calls, made when first needed. A server that moved
// to another address gets a new one; the old one lives until its calls have ended. Bounded by
// kNodesMax. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/world.h"
#include "master/core/node_table.h"
#include "proto/rpc_client.h"

namespace dfs::master {

class NodeClients {
 public:
  // `nodes` outlives this.
  NodeClients(World world, const NodeTable& nodes) : world_(world), nodes_(nodes) {}
  NodeClients(const NodeClients&) = delete;
  NodeClients& operator=(const NodeClients&) = delete;

  // Before the first call: no other cluster's server is ever told to cut or delete anything.
  void set_cluster(ClusterTag cluster) { cluster_ = cluster; }

  // Calls `node`. `done` runs exactly once and later, unless this is destroyed before: also with
  // kUnavailable when the server is not known, and with kTimedOut after `timeout`.
  template <class Request>
  void call(NodeId node, const Request& request, Duration timeout,
            std::function<void(Result<typename Request::Reply>)> done) {
    const std::shared_ptr<RpcClient> rpc = client(node);
    if (rpc == nullptr) {
      fail_later([done = std::move(done)] {
        done(make_error(ErrorCode::kUnavailable, "the server is not known"));
      });
      return;
    }
    CallOptions options;
    options.timeout = timeout;
    rpc->call(request, options,
              [done = std::move(done)](Result<RpcReply<typename Request::Reply>> reply) {
                if (reply) {
                  done(std::move(reply->body));
                } else {
                  done(std::move(reply).error());
                }
              });
  }

 private:
  std::shared_ptr<RpcClient> client(NodeId node);  // null: no such server
  void fail_later(Task task);
  void drop_idle_retired();

  World world_;
  const NodeTable& nodes_;
  ClusterTag cluster_;
  std::map<NodeId, std::shared_ptr<RpcClient>> clients_;
  std::vector<std::shared_ptr<RpcClient>> retired_;  // of former addresses, with calls under way
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // watched by posted tasks
};

}  // namespace dfs::master
