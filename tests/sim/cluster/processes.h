// The simulated machines and the processes that run on them: one master, chunkservers, clients.
//
// A machine keeps its disk; a process can be killed and started again, paused, or lose its
// machine's power. Death takes effect at once for the rest of the simulation, also in the middle
// of one of the process' own callbacks; the objects are destroyed by reap(), between events.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "chunkserver/core/server.h"
#include "fuse-client/core/client.h"
#include "master/core/master.h"
#include "master/store_sqlite/sqlite_store.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_vfs.h"

namespace dfs::sim {

inline constexpr const char* kMasterAddress = "master:9420";
// Longer than most troubles last; not by much, since grace periods wait so long for clients that
// died.
inline constexpr std::chrono::seconds kSessionTimeout{20};

// What all machines share.
struct SimEnvironment {
  SimEvents& events;
  SimNetwork& network;
  SimRandom& random;
  std::function<void(const std::string&)> fail;  // the run has failed
  bool verbose = false;
};

class Process {
 public:
  Process(SimEnvironment& environment, std::string host);
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& host() const { return host_; }
  bool is_alive() const { return scheduler_ != nullptr && scheduler_->is_alive(); }
  bool is_paused() const { return is_alive() && scheduler_->is_paused(); }
  void pause() { scheduler_->pause(); }
  void resume() { scheduler_->resume(); }
  // Precondition of pause(), resume(), deliver(): is_alive().
  void deliver(Task task) { scheduler_->deliver(std::move(task)); }
  SimLog& log() { return log_; }

  // Precondition: not alive, reaped.
  void start();
  void kill();
  virtual void lose_power() { kill(); }
  // Destroys what a killed process left. Not from within its callbacks.
  void reap();

 protected:
  virtual void make_core() = 0;
  virtual void destroy_core() = 0;
  World world() { return World{*scheduler_, *random_, log_, *transport_}; }
  SimScheduler& scheduler() { return *scheduler_; }
  SimEnvironment& environment() { return environment_; }

 private:
  SimEnvironment& environment_;
  std::string host_;
  SimLog log_;
  std::unique_ptr<SimScheduler> scheduler_;
  std::unique_ptr<SimRandom> random_;
  std::unique_ptr<Transport> transport_;
};

class MasterProcess final : public Process {
 public:
  explicit MasterProcess(SimEnvironment& environment);
  ~MasterProcess() override;
  void lose_power() override;
  SimDiskState& disk() { return disk_; }
  // Of the cluster it makes at its first start. Before that.
  void set_cluster_id(std::string cluster_id) { cluster_id_ = std::move(cluster_id); }
  // Dies, or loses power, before its (changes + 1)th change of the disk from now on.
  void die_after(std::uint64_t changes, bool with_power, std::function<void()> died);
  void live_on();  // takes die_after() back
  // Changes its database behind its back. Precondition: not alive, reaped.
  void edit(const std::function<void(master::Store&)>& change);

 private:
  void make_core() override;
  void destroy_core() override;

  Result<std::unique_ptr<master::SqliteStore>> open_store(const SimVfs& vfs, Timestamp now) const;

  SimDiskState disk_;
  std::string cluster_id_ = "0123456789abcdef0123456789abcdef";
  bool power_is_lost_ = false;  // once it is reaped
  std::uint64_t boots_ = 1;     // of its machine
  std::unique_ptr<SimVfs> vfs_;
  std::unique_ptr<master::SqliteStore> store_;
  std::unique_ptr<master::Master> master_;
};

// With two data directories if its index is odd. One that finds no directory it can use at its
// start ends, if its disk has errors.
class ChunkserverProcess final : public Process {
 public:
  ChunkserverProcess(SimEnvironment& environment, std::size_t index);
  ~ChunkserverProcess() override;
  void lose_power() override;
  SimDiskState& disk() { return disk_; }
  // Somebody else fills the disk but for `bytes`, and frees it again.
  void fill_disk_but_for(std::uint64_t bytes) { disk_.set_capacity(disk_.used_bytes() + bytes); }
  void free_disk() { disk_.set_capacity(kDiskBytes); }
  const std::vector<std::string>& data_directories() const { return data_directories_; }
  // The whole file of its replica, as processes see it; empty when there is none.
  std::string chunk_bytes(ChunkId chunk) const;

 private:
  void make_core() override;
  void destroy_core() override;

  static constexpr std::uint64_t kDiskBytes = std::uint64_t{8} << 30;

  std::vector<std::string> data_directories_;
  SimDiskState disk_;
  std::unique_ptr<SimDisk> port_;
  std::unique_ptr<chunkserver::Server> server_;
};

class ClientProcess final : public Process {
 public:
  ClientProcess(SimEnvironment& environment, const std::string& host);
  ~ClientProcess() override;
  // Called each time the mount has succeeded.
  void on_mounted(std::function<void()> handler) { mounted_ = std::move(handler); }
  // What is dropped of the caches above it takes up to so long. Before start().
  void delay_dropping(Duration most) { drop_delay_max_ = most; }
  // How long writes wait for servers: an hour, unless said otherwise. Before start().
  void set_write_wait(Duration wait) { write_wait_ = wait; }
  // Called when a session that is over is about to be replaced.
  void on_session_lost(std::function<void()> handler) { session_lost_ = std::move(handler); }
  // Null unless mounted.
  client::Client* client() { return is_alive() && is_mounted_ ? client_.get() : nullptr; }

 private:
  void make_core() override;
  void destroy_core() override;

  std::function<void()> mounted_;
  std::function<void()> session_lost_;
  bool is_mounted_ = false;
  Duration drop_delay_max_{};
  // The simulation waits for its servers.
  Duration write_wait_ = std::chrono::hours(1);
  std::uint64_t nonce_ = 0;  // of the newest session; outlives the process
  std::unique_ptr<client::Client> client_;
};

}  // namespace dfs::sim
