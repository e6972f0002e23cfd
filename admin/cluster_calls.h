// One request, one answer: what an operator's command needs of RPC.
//
// Each call runs the event loop until its answer is there or its time is up. Chunkservers are asked
// directly, at the address the master knows.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/world.h"
#include "proto/rpc_client.h"

namespace dfs::admin {

// Runs events until the condition holds or the time has passed; returns whether it holds.
using RunUntil = std::function<bool(const std::function<bool()>& done, Duration limit)>;

class ClusterCalls {
 public:
  ClusterCalls(World world, Address master, RunUntil run_until);
  ClusterCalls(const ClusterCalls&) = delete;
  ClusterCalls& operator=(const ClusterCalls&) = delete;

  // Fails with what the server answered, or kUnavailable, kTimedOut, kVersionMismatch; the detail
  // names the server.
  template <class Request>
  Result<typename Request::Reply> master(const Request& request) {
    return call(*master_, request);
  }
  template <class Request>
  Result<typename Request::Reply> server(const Address& address, const Request& request) {
    return call(server_link(address), request);
  }

 private:
  template <class Request>
  Result<typename Request::Reply> call(RpcClient& rpc, const Request& request) {
    using Reply = typename Request::Reply;
    auto answer = std::make_shared<std::optional<Result<Reply>>>();
    CallOptions options;
    options.timeout = kCallTimeout;
    const CallId id = rpc.call(request, options, [answer](Result<RpcReply<Reply>> reply) {
      if (reply) {
        answer->emplace(std::move(reply->body));
      } else {
        answer->emplace(std::move(reply).error());
      }
    });
    if (!run_until_([&] { return answer->has_value(); }, 2 * kCallTimeout)) {
      rpc.cancel(id);
      return make_error(ErrorCode::kTimedOut, rpc.address() + " did not answer");
    }
    if (!**answer && (*answer)->code() == ErrorCode::kUnavailable) {
      return make_error(ErrorCode::kUnavailable,
                        rpc.address() + " cannot be reached: " + (**answer).error().detail +
                            "; is it a dfs server that listens there?");
    }
    return std::move(**answer);
  }

  RpcClient& server_link(const Address& address);

  // Verifying a chunk reads 64 MiB from a disk that may be slow; liveness is watched separately.
  static constexpr Duration kCallTimeout = std::chrono::seconds(60);

  World world_;
  RunUntil run_until_;
  std::unique_ptr<RpcClient> master_;
  std::map<Address, std::unique_ptr<RpcClient>> servers_;  // at most kNodesMax
};

}  // namespace dfs::admin
