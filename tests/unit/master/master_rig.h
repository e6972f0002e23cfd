// A real Master over a real SqliteStore on simulated time, network and disk, and clients that call
// it over RPC.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "master/core/master.h"
#include "master/store_sqlite/sqlite_store.h"
#include "tests/sim/sim_disk_state.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"
#include "tests/sim/sim_vfs.h"
#include "tests/unit/master/test_client.h"

namespace dfs::master {

inline constexpr const char* kTestDirectory = "/data";
inline constexpr const char* kTestDatabase = "/data/master.db";
inline constexpr const char* kTestCluster = "0123456789abcdef0123456789abcdef";

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

class MasterRig : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(disk.make_directory(kTestDirectory));
    start();
    client = std::make_unique<TestClient>(events, network, "client");
    client->open(1);
  }

 public:
  void start() {
    process = std::make_unique<MasterProcess>(events, network, disk, next_seed_++);
    const Status started = process->start(options);
    ASSERT_TRUE(started) << started.error().detail;
  }
  void restart_after_kill(const std::vector<TestClient*>& others = {}) {
    process.reset();
    start();
    rejoin(others);
  }
  void rejoin(const std::vector<TestClient*>& others = {}) {
    client->rejoin();
    for (TestClient* other : others) {
      other->rejoin();
    }
  }
  // The clients have nothing to tell again.
  void restart_after_power_loss(const std::vector<TestClient*>& others = {}) {
    lose_power();
    start();
    rejoin(others);
    for (TestClient* other : others) {
      other->begin_replay({});
    }
    EXPECT_TRUE(client->replay({}));
  }
  // As if the machine stopped: with it goes what was not synced, or a part of that.
  void lose_power() {
    process->kill();
    process.reset();
    disk.crash();
    options.boot_id += '+';
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
                      .leases = process->master->leases(),
                      .locks = process->master->locks(),
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
  Master::Options options{
      .listen_address = "master:9420", .sessions = {}, .chunks = {}, .boot_id = "boot"};
  std::unique_ptr<MasterProcess> process;
  std::unique_ptr<TestClient> client;

 private:
  std::uint64_t next_seed_ = 100;
};

}  // namespace dfs::master
