// Chunkservers on simulated disks and a simulated network, a master that writes down what it is
// told, and a client to call them with.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chunkserver/core/server.h"
#include "proto/all_messages.h"
#include "proto/block.h"
#include "proto/rpc_client.h"
#include "proto/rpc_server.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_disk_state.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::chunkserver {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr const char* kClusterId = "0123456789abcdef0123456789abcdef";
inline constexpr ChunkId kChunk{0x1234};
inline constexpr Epoch kEpoch{1};

// A process of one host, without what makes it a master, a chunkserver or a client.
struct RigProcess {
  RigProcess(sim::SimEvents& events, sim::SimNetwork& network, const std::string& name,
             std::uint64_t seed)
      : scheduler(events), random(seed), transport(network.transport(scheduler, name)) {}
  sim::SimScheduler scheduler;
  sim::SimRandom random;
  std::unique_ptr<Transport> transport;
};

// Registers every server, and keeps what it was told.
class FakeMaster {
 public:
  FakeMaster(World world, Address address);
  void start_anew();  // as another process, which knows no server

  std::string cluster_id = kClusterId;
  std::vector<ChunkId> unknown;  // what inventory reports are answered with
  std::uint32_t heartbeat_ms = 1000;
  bool forgets_nodes = false;  // answers one heartbeat with kStale

  std::vector<RegisterNodeRequest> registrations;
  std::vector<HeartbeatRequest> heartbeats;
  std::vector<ReportInventoryRequest> inventories;
  std::vector<ReportReplicasRequest> reports;

 private:
  void handle(const RpcRequest& request);
  World world_;
  const Address address_;
  std::uint64_t incarnation_ = 0;
  std::unique_ptr<RpcServer> rpc_;
};

// One chunkserver: what survives it, and its process while it runs.
struct RigNode {
  RigNode(sim::SimEvents& events, const std::string& node_name, std::uint64_t seed)
      : name(node_name), state(seed), log(node_name, &events) {
    options.listen = name + ":9421";
    options.master = "master:9420";
    options.data_directories = {"/data"};
    options.reserve_bytes = 0;
  }
  Address address() const { return name + ":9421"; }
  Server& server() { return *core; }

  const std::string name;
  sim::SimDiskState state;
  sim::SimLog log;
  ServerOptions options;
  std::optional<Status> started;
  std::optional<Error> fatal;
  std::unique_ptr<RigProcess> process;
  std::unique_ptr<sim::SimDisk> disk;
  std::unique_ptr<Server> core;
};

class ChunkserverRig : public testing::Test {
 protected:
  static constexpr std::size_t kNodes = 3;

  ChunkserverRig();
  ~ChunkserverRig() override;

  RigNode& node(std::size_t index) { return *nodes_.at(index); }
  FakeMaster& master() { return *master_; }

  // Starts the server and waits until it is registered; a failed start is in node.started.
  void start(std::size_t index, bool waits_for_master = true);
  void start_all();
  void kill(std::size_t index);
  // Kills it and takes the power away.
  void crash(std::size_t index);

  // Blocks back to back from `offset`, one for each payload size, filled from `seed`.
  static std::string blocks(std::uint32_t offset, const std::vector<std::uint32_t>& payload_sizes,
                            char seed = 'a', ChunkId chunk = kChunk, Epoch epoch = kEpoch);

  // An append to node `index`, forwarded to `chain`.
  AppendRequest append_request(std::uint32_t offset, bool sync = false,
                               const std::vector<std::size_t>& chain = {});
  AppendReply append(std::size_t index, const AppendRequest& request, const std::string& frame);
  ErrorCode append_code(std::size_t index, const AppendRequest& request, const std::string& frame) {
    return error_code_from_wire(append(index, request, frame).outcome);
  }
  Result<RpcReply<ReadReply>> read(std::size_t index, std::vector<ReadRange> ranges,
                                   ChunkId chunk = kChunk);
  ErrorCode read_code(std::size_t index, const ReadRange& range, ChunkId chunk = kChunk);
  Result<RpcReply<FenceReplicaReply>> fence(std::size_t index, Epoch epoch, ChunkId chunk = kChunk);
  ErrorCode seal(std::size_t index, std::uint32_t length_bytes, Epoch epoch,
                 ChunkId chunk = kChunk);
  std::vector<ReplicaInfo> list(std::size_t index);

  // Calls and waits for the answer.
  template <class Request>
  Result<RpcReply<typename Request::Reply>> call(std::size_t index, const Request& request,
                                                 const std::string& bulk = {}) {
    auto outcome = send(index, request, bulk);
    EXPECT_TRUE(events_.run_until([&] { return outcome->has_value(); }, seconds(60)));
    return outcome->value_or(make_error(ErrorCode::kInternal, "no answer"));
  }
  template <class Request>
  using Pending = std::shared_ptr<std::optional<Result<RpcReply<typename Request::Reply>>>>;
  // Calls without waiting.
  template <class Request>
  Pending<Request> send(std::size_t index, const Request& request, const std::string& bulk = {}) {
    auto outcome = std::make_shared<std::optional<Result<RpcReply<typename Request::Reply>>>>();
    clients_.at(index)->call(request, {},
                             std::function<void(Result<RpcReply<typename Request::Reply>>)>(
                                 [outcome](Result<RpcReply<typename Request::Reply>> reply) {
                                   *outcome = std::move(reply);
                                 }),
                             bulk.empty() ? Buffer() : Buffer::copy_of(bulk));
    return outcome;
  }
  static ErrorCode outcome_of(const Pending<AppendRequest>& pending);

  static std::string chunk_path(const std::string& suffix, ChunkId chunk = kChunk);

  sim::SimEvents events_;
  sim::SimNetwork network_{events_, 7};

 private:
  World world(RigProcess& process, Log& log);

  sim::SimLog log_{"client", &events_};
  RigProcess master_process_{events_, network_, "master", 1};
  RigProcess client_process_{events_, network_, "client", 2};
  std::unique_ptr<FakeMaster> master_;
  std::vector<std::unique_ptr<RigNode>> nodes_;
  std::vector<std::unique_ptr<RpcClient>> clients_;
  std::uint64_t next_seed_ = 100;
};

}  // namespace dfs::chunkserver
