#include "tests/sim/cluster/admin_probe.h"

namespace dfs::sim {
namespace {

constexpr int kSlicesMax = 1000;

}  // namespace

AdminProbe::AdminProbe(SimEnvironment& environment, const Address& server)
    : environment_(environment),
      log_("admin", &environment.events),
      scheduler_(environment.events),
      random_(environment.random.fork()),
      transport_(environment.network.transport(scheduler_, "admin")) {
  RpcClient::Options options;
  options.when_down = RpcClient::WhenDown::kKeepCalls;
  rpc_ = std::make_unique<RpcClient>(World{scheduler_, random_, log_, *transport_}, server, server,
                                     options);
}

AdminProbe::~AdminProbe() = default;

std::string AdminProbe::check_metadata() {
  std::string found;
  CheckMetadataRequest request;
  for (int slice = 0; slice < kSlicesMax; ++slice) {
    const auto reply = ask(request);
    if (!reply) {
      return found + "the check did not answer; ";
    }
    for (const MetadataProblem& problem : reply->problems) {
      found += "inode " + std::to_string(problem.inode.value) + " chunk " +
               std::to_string(problem.chunk.value) + " " + problem.problem + "; ";
    }
    if (reply->cursor.empty()) {
      return found;
    }
    request.cursor = reply->cursor;
  }
  return found + "the check does not end; ";
}

}  // namespace dfs::sim
