// What goes wrong in a run: kills, power losses, stopped processes, partitions, a bad network.
//
// Chosen from a seed, between any two events. Each trouble ends by itself after a while, so that
// the cluster always can go on; several may overlap. What cannot be undone or takes out replicas,
// damage to stored bytes and disk errors, is done to one chunkserver only, the victim: every chunk
// has a replica elsewhere.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/cluster/processes.h"
#include "tests/sim/sim_random.h"

namespace dfs::sim {

class Nuisances {
 public:
  struct Hosts {
    MasterProcess& master;
    std::vector<ChunkserverProcess*> servers;
    std::vector<ClientProcess*> clients;
  };
  struct Events {
    std::function<void(ClientProcess&)> client_died;
    std::function<void()> master_lost_power;
    std::function<void(const std::string&)> say;
  };

  Nuisances(SimEnvironment& environment, SimRandom random, Hosts hosts, Events events);
  Nuisances(const Nuisances&) = delete;
  Nuisances& operator=(const Nuisances&) = delete;

  // Called between events. Does the next thing if its turn has come.
  void poll();
  // From now on clients are also cut off from the master for longer than their sessions last.
  void cut_off_clients() { cuts_off_clients_ = true; }
  // No new trouble; everything is healed and started again, now.
  void end();

  // Whether a disk was full, or the master may have thought so, in [since, now].
  bool may_be_full(MonoTime since) const;
  std::uint64_t count() const { return count_; }
  const ChunkserverProcess& victim() const { return victim_; }

 private:
  void begin_one();
  void kill_master();
  void kill_server();
  void kill_client();
  void pause_one();
  void partition_two();
  void cut_off_client();
  void spoil_network();
  void power_cut();
  void flip_bits();
  void fail_disk();
  void fill_disks();
  void room_news_may_be_late();
  void start_later(Process& process, Duration delay_min, Duration delay_max);
  // Runs `task` later, even at end() at the latest.
  void undo_later(Duration delay, Task task);
  Duration between(Duration least, Duration most);
  std::vector<Process*> all() const;
  void schedule();
  void say(const std::string& what);

  SimEnvironment& environment_;
  SimRandom random_;
  Hosts hosts_;
  Events events_;
  ChunkserverProcess& victim_;
  std::map<std::uint64_t, Task> undo_;  // by number
  std::uint64_t next_undo_ = 1;
  bool cuts_off_clients_ = false;
  std::uint64_t next_at_ = 0;  // in events run
  std::uint64_t count_ = 0;
  std::uint32_t full_disks_ = 0;
  MonoTime full_until_{};
};

}  // namespace dfs::sim
