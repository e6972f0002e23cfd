// A real Master over a real SqliteStore on simulated time, network and disk, and clients that call
// it over RPC.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "master/core/master.h"
#include "master/store_sqlite/sqlite_store.h"
#include "proto/rpc_client.h"
#include "tests/sim/sim_disk_state.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"
#include "tests/sim/sim_vfs.h"

namespace dfs::master {

inline constexpr const char* kTestDirectory = "/data";
inline constexpr const char* kTestDatabase = "/data/master.db";
inline constexpr const char* kTestCluster = "0123456789abcdef0123456789abcdef";

CreateRequest create_request(InodeId parent, const std::string& name, std::uint32_t mode);
SetAttributesRequest set_request(InodeId inode);

// One life of the master's process.
class MasterProcess {
 public:
  MasterProcess(sim::SimEvents& events, sim::SimNetwork& network, sim::SimDiskState& disk,
                std::uint64_t seed)
      : network_(network),
        scheduler(events),
        random(seed),
        transport_(network.transport(scheduler, "master")),
        vfs(disk, events, seed) {}
  ~MasterProcess() { kill(); }

  Status start(const Master::Options& options) {
    DFS_TRY(store,
            SqliteStore::open(kTestDatabase, {.vfs = vfs.name(),
                                              .cache_bytes = 8u << 20,
                                              .cluster_id = kTestCluster,
                                              .root_policy = {.replicas = 2, .min_replicas = 1},
                                              .now = scheduler.wall_now()}));
    master = std::make_unique<Master>(World{scheduler, random, log, *transport_}, *store, options);
    master->on_failure([this](const Error& error) { failure = error; });
    return master->start();
  }
  // As kill -9.
  void kill() {
    if (scheduler.is_alive()) {
      network_.drop_host("master");
      scheduler.kill();
      vfs.kill();
    }
  }
  // As SIGTERM.
  void stop() {
    master->stop();
    master.reset();
    store.reset();
    kill();
  }

 private:
  sim::SimNetwork& network_;

 public:
  sim::SimScheduler scheduler;
  sim::SimLog log;
  sim::SimRandom random;

 private:
  std::unique_ptr<Transport> transport_;

 public:
  sim::SimVfs vfs;
  std::unique_ptr<SqliteStore> store;
  std::unique_ptr<Master> master;
  std::optional<Error> failure;
};

class MasterRig;

// One client: its calls run the simulation until they are answered.
class TestClient {
 public:
  TestClient(MasterRig& rig, const std::string& host);

  // A request as it is, without a sequence.
  template <class Request>
  Result<typename Request::Reply> ask(const Request& request) {
    return call(request, CallOptions{.session = session});
  }
  // A change: takes the next sequence and acknowledges those before it.
  template <class Request>
  Result<typename Request::Reply> change(const Request& request) {
    ++sequence;
    return repeat(request);
  }
  // The same sequence as the last change.
  template <class Request>
  Result<typename Request::Reply> repeat(const Request& request) {
    return call(request, CallOptions{.session = session,
                                     .sequence = sequence,
                                     .acknowledged = acknowledges ? sequence - 1 : 0});
  }
  template <class Request>
  Result<typename Request::Reply> call(const Request& request, const CallOptions& options);

  // Opens a session as the client named by `nonce`.
  void open(std::uint64_t nonce);
  Status keep_alive(std::vector<InodeId> pinned, std::vector<InodeId> unpinned, bool full = false);

  // Names below the root or `parent`; the test fails when the master refuses.
  InodeId make_file(const std::string& name, InodeId parent = kRootInode, bool pin = false);
  InodeId make_directory(const std::string& name, InodeId parent = kRootInode);
  ErrorCode unlink(const std::string& name, InodeId parent = kRootInode);
  ErrorCode lookup(const std::string& name, InodeId parent = kRootInode);
  Attributes attributes(InodeId inode);

  SessionId session;
  std::uint64_t sequence = 0;
  std::uint64_t keep_alive_sequence = 0;
  bool acknowledges = true;

 private:
  MasterRig& rig_;
  sim::SimScheduler scheduler_;
  sim::SimLog log_;
  sim::SimRandom random_{7};
  std::unique_ptr<Transport> transport_;
  RpcClient rpc_;
};

class MasterRig : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(disk.make_directory(kTestDirectory));
    start();
    client = std::make_unique<TestClient>(*this, "client");
    client->open(1);
  }

 public:
  void start() {
    process = std::make_unique<MasterProcess>(events, network, disk, next_seed_++);
    const Status started = process->start(options);
    ASSERT_TRUE(started) << started.error().detail;
  }
  void restart_after_kill() {
    process.reset();
    start();
  }
  void restart_after_power_loss() {
    process->kill();
    process.reset();
    disk.crash();
    start();
  }
  void run_for(Duration duration) { events.run_for(duration); }
  SqliteStore& store() { return *process->store; }

  // What an operation is given, outside of requests.
  template <class Function>
  auto in_transaction(Function function) {
    EXPECT_TRUE(store().begin());
    OpContext context{.store = store(),
                      .chunks = process->master->chunks(),
                      .sessions = process->master->sessions(),
                      .now = process->scheduler.wall_now(),
                      .session = {},
                      .durable = false,
                      .batch_end = nullptr,
                      .uptime = {}};
    auto result = function(context);
    EXPECT_TRUE(store().commit(false));
    return result;
  }

  sim::SimEvents events;
  sim::SimNetwork network{events, 1};
  sim::SimDiskState disk{1};
  Master::Options options{.listen_address = "master:9420", .sessions = {}, .chunks = {}};
  std::unique_ptr<MasterProcess> process;
  std::unique_ptr<TestClient> client;

 private:
  std::uint64_t next_seed_ = 100;
};

template <class Request>
Result<typename Request::Reply> TestClient::call(const Request& request,
                                                 const CallOptions& options) {
  std::optional<Result<typename Request::Reply>> answer;
  rpc_.call(request, options, [&answer](Result<RpcReply<typename Request::Reply>> reply) {
    if (reply) {
      answer = std::move(reply->body);
    } else {
      answer = std::move(reply).error();
    }
  });
  const bool is_answered =
      rig_.events.run_until([&] { return answer.has_value(); }, std::chrono::seconds(30));
  if (!is_answered) {
    return make_error(ErrorCode::kTimedOut, "the test waited long enough");
  }
  return std::move(*answer);
}

}  // namespace dfs::master
