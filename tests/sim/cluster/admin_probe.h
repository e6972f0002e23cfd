// Asks the master, or a chunkserver, what dfs-admin would ask it, and waits for the answer.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proto/admin_messages.h"
#include "proto/rpc_client.h"
#include "tests/sim/cluster/processes.h"

namespace dfs::sim {

class AdminProbe {
 public:
  explicit AdminProbe(SimEnvironment& environment, const Address& server = kMasterAddress);
  ~AdminProbe();

  // Nothing when the server fails it or does not answer within `limit` of virtual time.
  template <class Request>
  std::optional<typename Request::Reply> ask(const Request& request,
                                             Duration limit = std::chrono::seconds(30)) {
    using Reply = typename Request::Reply;
    auto answer = std::make_shared<std::optional<Result<RpcReply<Reply>>>>();
    rpc_->call<Request>(request, {},
                        [answer](Result<RpcReply<Reply>> reply) { *answer = std::move(reply); });
    environment_.events.run_until([&] { return answer->has_value(); }, limit);
    if (!answer->has_value() || !(*answer)->has_value()) {
      return std::nullopt;
    }
    return (**answer)->body;
  }

  // What the check of the whole database finds; a sentence for each problem.
  std::string check_metadata();

 private:
  SimEnvironment& environment_;
  SimLog log_;
  SimScheduler scheduler_;
  SimRandom random_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<RpcClient> rpc_;
};

}  // namespace dfs::sim
