// One run of the whole cluster from one seed: master, chunkservers, clients, applications, trouble.
//
// At the end everything is healed and started again, and a new client must find exactly what the
// models say; the master's check of its metadata must find nothing. The same seed and options give
// the same trace hash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/cluster/actor.h"
#include "tests/sim/cluster/admin_probe.h"
#include "tests/sim/cluster/cut_check.h"
#include "tests/sim/cluster/nuisances.h"
#include "tests/sim/cluster/processes.h"
#include "tests/sim/cluster/shared_story.h"
#include "tests/sim/cluster/sharer.h"

namespace dfs::sim {

struct SimulationOptions {
  std::uint64_t seed = 1;
  std::uint64_t operations = 150;  // of each application
  std::size_t servers = 3;
  std::size_t clients = 2;
  std::size_t applications_per_client = 2;  // each in a directory of its own
  std::size_t sharers_per_client = 0;       // all in one directory
  bool with_nuisances = true;
  bool verbose = false;
};

struct SimulationOutcome {
  std::string failure;                 // empty: all is well
  bool is_model_contradicted = false;  // by that failure: an answer or a state it does not allow
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t nuisances = 0;
  Duration virtual_time{};
  std::size_t undecided = 0;  // parts of shared histories that could not be judged
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options);
  ~Simulation();
  SimulationOutcome run();

 private:
  class Seat;  // an actor's view of the simulation

  void start_cluster();
  void make_actors();
  void make_sharers();
  void listen_to_clients();
  void make_nuisances();
  void run_actors();
  bool are_done() const;
  void client_died(const ClientProcess& died);
  void client_mounted(const ClientProcess& mounted);
  void session_lost(std::size_t client);
  void finish();
  void check_leaks();
  void check_all();
  void check_actor(client::Client& client, Actor& actor);
  void check_shared(client::Client& client);
  // Nothing: there is no such directory, or the run has failed.
  std::optional<ObservedTree> observe(client::Client& client, InodeId root);
  std::optional<InodeId> find_in_root(client::Client& client, const std::string& name);
  void check_full(client::Client& client);
  void check_leftovers(AdminProbe& probe);

  // One event, and what has to happen between events.
  bool step();
  // False: it did not come true within `limit`, or the run has failed.
  bool run_until(const std::function<bool()>& condition, Duration limit);
  void check_stalls();
  void restart(Process& process);
  void fail(const std::string& why);
  // The same when the cluster works, but not as the model says.
  void contradict(const std::string& why);
  void say(const std::string& what);

  SimulationOptions options_;
  SimEvents events_;
  SimRandom random_;
  SimNetwork network_;
  SimEnvironment environment_;
  std::string failure_;
  bool is_model_contradicted_ = false;
  std::unique_ptr<MasterProcess> master_;
  std::vector<std::unique_ptr<ChunkserverProcess>> servers_;
  std::vector<std::unique_ptr<ClientProcess>> clients_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::vector<std::unique_ptr<Actor>> actors_;
  std::unique_ptr<SharedStory> story_;
  std::vector<std::unique_ptr<Seat>> sharer_seats_;
  std::vector<std::unique_ptr<Sharer>> sharers_;
  std::unique_ptr<Nuisances> nuisances_;
  CutCheck cuts_;
};

}  // namespace dfs::sim
