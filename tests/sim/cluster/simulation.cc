#include "tests/sim/cluster/simulation.h"

#include <algorithm>
#include <optional>

#include "common/assert.h"
#include "tests/sim/cluster/full_check.h"
#include "tests/sim/cluster/replica_check.h"

namespace dfs::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Longer than any trouble lasts, and than everything that waits for it to end: a grace period of
// the master begins again when it dies in it.
constexpr seconds kStallLimit{300};
constexpr seconds kFinishLimit{600};
constexpr std::uint64_t kLittleRoomBytes = 6u << 20;
constexpr std::uint64_t kSeedsPerFullCheck = 4;  // it writes more than all applications
// Sessions of killed clients have ended then, and what they held open is freed.
constexpr seconds kLeftoversWait{90};

}  // namespace

class Simulation::Seat final : public ActorHost {
 public:
  Seat(Simulation& simulation, ClientProcess& process)
      : simulation_(simulation), process_(process) {}

  ClientProcess& process() { return process_; }

  SimEvents& events() override { return simulation_.events_; }
  client::Client* client() override { return process_.client(); }

  void in_client(Task task) override {
    if (process_.is_alive()) {
      process_.deliver(std::move(task));
    }
  }

  bool is_client_paused() override { return process_.is_paused(); }
  bool has_nuisances() override { return simulation_.options_.with_nuisances; }

  Positions positions() override {
    Positions positions;
    for (const auto& actor : simulation_.actors_) {
      const Model& model = actor->model();
      // What an actor has lost without knowing yet is not counted on.
      positions.push_back(model.loss() == Loss::kMaster ? model.durable_position()
                                                        : model.position());
    }
    return positions;
  }

  void durable(const Positions& positions) override {
    for (std::size_t i = 0; i < positions.size(); ++i) {
      Model& model = simulation_.actors_[i]->model();
      if (model.loss() != Loss::kMaster) {
        model.durable_up_to(positions[i]);
      }
    }
  }

  bool may_be_full(MonoTime since) override {
    return simulation_.nuisances_ != nullptr && simulation_.nuisances_->may_be_full(since);
  }

  bool others_are_unsure() override {
    for (std::size_t i = 0; i < simulation_.actors_.size(); ++i) {
      if (&simulation_.seats_[i]->process() == &process_ &&
          simulation_.actors_[i]->model().loss() != Loss::kNothing) {
        return true;
      }
    }
    return false;
  }

  std::vector<const Actor*> strangers() override {
    std::vector<const Actor*> found;
    for (std::size_t i = 0; i < simulation_.actors_.size(); ++i) {
      if (&simulation_.seats_[i]->process() != &process_) {
        found.push_back(simulation_.actors_[i].get());
      }
    }
    return found;
  }

  void found_cut(std::size_t actor, const Cut& cut) override {
    if (const auto wrong = simulation_.cuts_.add(actor, cut)) {
      simulation_.contradict(*wrong);
    }
  }

  void fail(const std::string& why) override { simulation_.contradict(why); }
  void say(const std::string& what) override { simulation_.say(what); }

 private:
  Simulation& simulation_;
  ClientProcess& process_;
};

Simulation::Simulation(const SimulationOptions& options)
    : options_(options),
      random_(options.seed),
      network_(events_, random_.next_u64()),
      environment_{events_, network_, random_, [this](const std::string& why) { fail(why); },
                   options.verbose} {
  set_assert_context("simulation seed " + std::to_string(options.seed));
}

Simulation::~Simulation() = default;

void Simulation::fail(const std::string& why) {
  say("FAILED: " + why);
  if (failure_.empty()) {
    failure_ = why;
  }
}

void Simulation::contradict(const std::string& why) {
  is_model_contradicted_ = is_model_contradicted_ || failure_.empty();
  fail(why);
}

void Simulation::say(const std::string& what) {
  if (options_.verbose) {
    std::fprintf(stderr, "%12.6f   %s\n", std::chrono::duration<double>(events_.elapsed()).count(),
                 what.c_str());
  }
}

bool Simulation::step() {
  if (!failure_.empty() || !events_.run_one()) {
    return false;
  }
  master_->reap();
  for (const auto& client : clients_) {
    client->reap();
  }
  if (nuisances_ != nullptr) {
    nuisances_->poll();
  }
  return failure_.empty();
}

bool Simulation::run_until(const std::function<bool()>& condition, Duration limit) {
  const MonoTime deadline = events_.now() + limit;
  while (!condition()) {
    if (events_.now() > deadline || !step()) {
      return false;
    }
  }
  return true;
}

SimulationOutcome Simulation::run() {
  start_cluster();
  if (failure_.empty()) {
    make_actors();
    make_sharers();
    listen_to_clients();
  }
  if (failure_.empty()) {
    run_actors();
  }
  if (failure_.empty()) {
    finish();
  }
  if (failure_.empty()) {
    check_all();
  }
  return SimulationOutcome{failure_,
                           is_model_contradicted_,
                           events_.trace_hash(),
                           events_.events_run(),
                           nuisances_ != nullptr ? nuisances_->count() : 0,
                           events_.elapsed(),
                           story_ != nullptr ? story_->undecided() : 0};
}

void Simulation::start_cluster() {
  master_ = std::make_unique<MasterProcess>(environment_);
  master_->start();
  for (std::size_t i = 0; i < options_.servers; ++i) {
    servers_.push_back(std::make_unique<ChunkserverProcess>(environment_, i));
    servers_.back()->start();
  }
  AdminProbe probe(environment_);
  for (int tries = 0; tries < 100 && failure_.empty(); ++tries) {
    const auto status = probe.ask(ClusterStatusRequest{});
    if (status && status->nodes_up == options_.servers) {
      break;
    }
    events_.run_for(milliseconds(100));
  }
  for (std::size_t i = 0; i < options_.clients; ++i) {
    clients_.push_back(std::make_unique<ClientProcess>(environment_, "client" + std::to_string(i)));
    clients_.back()->start();
  }
  const auto all_mounted = [this] {
    return std::all_of(clients_.begin(), clients_.end(),
                       [](const auto& client) { return client->client() != nullptr; });
  };
  if (!run_until(all_mounted, seconds(30))) {
    fail("the clients do not mount");
  }
}

void Simulation::make_actors() {
  for (std::size_t i = 0; i < options_.clients * options_.applications_per_client; ++i) {
    ClientProcess& process = *clients_[i % options_.clients];
    std::optional<InodeId> root;
    client::CreateArguments arguments;
    arguments.parent = kRootInode;
    arguments.name = "app" + std::to_string(i);
    arguments.mode = kModeDirectory | 0755;
    bool is_durable = false;
    process.client()->make(arguments, [&](Result<Attributes> made) {
      if (!made) {
        fail("no directory for an application: " + made.error().detail);
        return;
      }
      root = made->inode;
      process.client()->sync_directory(
          *root, [&](Result<Unit> synced) { is_durable = synced.has_value(); });
    });
    if (!run_until([&] { return is_durable; }, seconds(30))) {
      fail("no directory for an application");
      return;
    }
    seats_.push_back(std::make_unique<Seat>(*this, process));
    actors_.push_back(std::make_unique<Actor>(
        *seats_.back(), random_.fork(),
        Actor::Options{.index = i, .root = *root, .operations = options_.operations}));
  }
}

void Simulation::make_sharers() {
  constexpr std::uint32_t kSlotBytes[] = {512, 4096, 3000, 24'576};
  if (options_.sharers_per_client == 0 || !failure_.empty()) {
    return;
  }
  story_ = std::make_unique<SharedStory>(events_, options_.clients, kSlotBytes[random_.below(4)],
                                         [this](const std::string& why) { contradict(why); });
  for (std::size_t i = 0; i < options_.clients * options_.sharers_per_client; ++i) {
    const std::size_t client = i % options_.clients;
    sharer_seats_.push_back(std::make_unique<Seat>(*this, *clients_[client]));
    sharers_.push_back(std::make_unique<Sharer>(
        *sharer_seats_.back(), *story_, random_.fork(),
        Sharer::Options{.index = i, .client = client, .operations = options_.operations}));
  }
}

void Simulation::listen_to_clients() {
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    clients_[i]->on_mounted([this, i] { client_mounted(*clients_[i]); });
    clients_[i]->on_session_lost([this, i] { session_lost(i); });
  }
  master_->log().on_line([this](const std::string& line) {
    if (story_ != nullptr && line.find("The master is serving") != std::string::npos) {
      story_->master_started();
    }
    for (std::size_t i = 0; story_ != nullptr && i < clients_.size(); ++i) {
      if (line.find("its session is over") != std::string::npos &&
          line.find("client=" + clients_[i]->host() + ":") != std::string::npos) {
        story_->session_is_over(i);
      }
    }
  });
}

void Simulation::client_mounted(const ClientProcess& mounted) {
  for (std::size_t i = 0; i < actors_.size(); ++i) {
    if (&seats_[i]->process() == &mounted) {
      actors_[i]->client_mounted();
    }
  }
  for (std::size_t i = 0; i < sharers_.size(); ++i) {
    if (&sharer_seats_[i]->process() == &mounted) {
      sharers_[i]->client_mounted();
    }
  }
}

void Simulation::client_died(const ClientProcess& died) {
  for (std::size_t i = 0; i < actors_.size(); ++i) {
    if (&seats_[i]->process() == &died) {
      actors_[i]->client_died();
    }
  }
  for (std::size_t i = 0; i < sharers_.size(); ++i) {
    if (&sharer_seats_[i]->process() == &died) {
      sharers_[i]->client_died();
    }
  }
  for (std::size_t i = 0; story_ != nullptr && i < clients_.size(); ++i) {
    if (clients_[i].get() == &died) {
      story_->died(i);
    }
  }
}

void Simulation::session_lost(std::size_t client) {
  if (story_ == nullptr) {
    return;
  }
  say(clients_[client]->host() + " lost its session");
  std::set<std::uint64_t> open;
  for (std::size_t i = client; i < sharers_.size(); i += options_.clients) {
    open.merge(sharers_[i]->open_inodes());
  }
  story_->lost_session(client, open);
  for (std::size_t i = client; i < sharers_.size(); i += options_.clients) {
    sharers_[i]->session_lost();
  }
}

void Simulation::make_nuisances() {
  Nuisances::Hosts hosts{*master_, {}, {}};
  for (const auto& server : servers_) {
    hosts.servers.push_back(server.get());
  }
  for (const auto& client : clients_) {
    hosts.clients.push_back(client.get());
  }
  Nuisances::Events events;
  events.client_died = [this](ClientProcess& died) { client_died(died); };
  events.master_lost_power = [this] {
    cuts_.begin();
    for (const auto& actor : actors_) {
      actor->master_lost_power();
    }
    if (story_ != nullptr) {
      story_->master_lost_power();
    }
  };
  events.say = [this](const std::string& what) { say(what); };
  nuisances_ = std::make_unique<Nuisances>(environment_, random_.fork(), std::move(hosts),
                                           std::move(events));
  if (story_ != nullptr) {
    nuisances_->cut_off_clients();
  }
}

bool Simulation::are_done() const {
  return std::all_of(actors_.begin(), actors_.end(),
                     [](const auto& actor) { return actor->is_done(); }) &&
         std::all_of(sharers_.begin(), sharers_.end(),
                     [](const auto& sharer) { return sharer->is_done(); });
}

void Simulation::run_actors() {
  if (options_.with_nuisances) {
    make_nuisances();
  }
  for (const auto& actor : actors_) {
    actor->start();
  }
  for (const auto& sharer : sharers_) {
    sharer->start();
  }
  while (!are_done() && step()) {
    check_stalls();
  }
}

void Simulation::check_stalls() {
  for (std::size_t i = 0; i < actors_.size(); ++i) {
    const auto since = actors_[i]->waiting_since();
    if (since && events_.now() - *since > kStallLimit) {
      fail("actor " + std::to_string(i) + " waits too long for: " + actors_[i]->current());
    }
  }
  for (std::size_t i = 0; i < sharers_.size(); ++i) {
    const auto since = sharers_[i]->waiting_since();
    if (since && events_.now() - *since > kStallLimit) {
      fail("sharer " + std::to_string(i) + " waits too long for: " + sharers_[i]->current());
    }
  }
}

void Simulation::finish() {
  say("--- all is healed");
  if (nuisances_ != nullptr) {
    nuisances_->end();
  }
  const auto all_done = [this] {
    return are_done() && std::all_of(actors_.begin(), actors_.end(), [](const auto& actor) {
             return actor->model().loss() == Loss::kNothing;
           });
  };
  if (!run_until(all_done, kFinishLimit)) {
    fail("the applications do not come to an end");
    return;
  }
  check_leaks();
  std::size_t stopped = 0;
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    clients_[i]->client()->stop([&, i](Result<Unit> result) {
      ++stopped;
      // What a session took with it was told by the files.
      if (!result && (story_ == nullptr || !story_->has_lost_session(i))) {
        fail("a client lost something: " + result.error().detail);
      }
    });
  }
  if (!run_until([&] { return stopped == clients_.size(); }, kFinishLimit)) {
    fail("a client does not stop");
  }
}

// What nobody has open must be freed while the clients that had it open live on.
void Simulation::check_leaks() {
  for (const auto& actor : actors_) {
    actor->close_files();
  }
  run_until([] { return false; }, kLeftoversWait);
  AdminProbe probe(environment_);
  const auto status = probe.ask(ClusterStatusRequest{});
  if (!status || status->orphans != 0) {
    fail("left over while the clients live: orphans " +
         (status ? std::to_string(status->orphans) : "unknown"));
  }
}

void Simulation::restart(Process& process) {
  process.kill();
  process.reap();
  process.start();
}

void Simulation::check_all() {
  say("--- everything starts again");
  for (const auto& client : clients_) {
    client->on_mounted(nullptr);
    client->on_session_lost(nullptr);
    client->kill();
  }
  master_->log().on_line(nullptr);
  restart(*master_);
  for (const auto& server : servers_) {
    restart(*server);
  }
  ClientProcess checker(environment_, "checker");
  checker.start();
  if (!run_until([&] { return checker.client() != nullptr; }, seconds(60))) {
    fail("a new client does not mount");
    return;
  }
  // Every server has registered again by then.
  run_until([] { return false; }, seconds(20));
  for (const auto& actor : actors_) {
    if (failure_.empty()) {
      check_actor(*checker.client(), *actor);
    }
  }
  if (failure_.empty() && story_ != nullptr) {
    check_shared(*checker.client());
  }
  if (failure_.empty() && options_.seed % kSeedsPerFullCheck == 0) {
    check_full(*checker.client());
  }
  if (failure_.empty()) {
    AdminProbe probe(environment_);
    check_leftovers(probe);
  }
}

std::optional<ObservedTree> Simulation::observe(client::Client& client, InodeId root) {
  std::optional<Result<ObservedTree>> observed;
  Walker walker(client, random_.fork(), root,
                [&](Result<ObservedTree> tree) { observed = std::move(tree); });
  walker.start();
  if (!run_until([&] { return observed.has_value(); }, kFinishLimit)) {
    fail("reading everything back does not end");
    return std::nullopt;
  }
  if (!*observed) {
    fail("at the end: " + observed->error().detail + " (" + error_code_name(observed->code()) +
         ")");
    return std::nullopt;
  }
  return std::move(**observed);
}

std::optional<InodeId> Simulation::find_in_root(client::Client& client, const std::string& name) {
  std::optional<Result<Attributes>> found;
  client.lookup(kRootInode, name, [&](Result<Attributes> answer) { found = std::move(answer); });
  if (!run_until([&] { return found.has_value(); }, kFinishLimit)) {
    fail("a name is not found at the end, nor that it is not there");
    return std::nullopt;
  }
  return *found ? std::optional((*found)->inode) : std::nullopt;
}

void Simulation::check_actor(client::Client& client, Actor& actor) {
  const auto observed = observe(client, actor.model().inode(Tree::kRoot));
  if (!observed) {
    return;
  }
  if (const auto found = actor.model().reconcile(*observed); !found) {
    contradict("at the end: " + found.error().detail);
  }
}

void Simulation::check_shared(client::Client& client) {
  for (std::uint64_t era = 1; era <= story_->era() && failure_.empty(); ++era) {
    const auto root = find_in_root(client, SharedStory::directory(era));
    const auto observed = root ? observe(client, *root) : std::nullopt;
    if (observed && era == story_->era()) {
      story_->found(*observed);
    } else if (observed) {
      story_->found_earlier(era, *observed);
    }
  }
  if (failure_.empty()) {
    story_->check();
  }
}

void Simulation::check_full(client::Client& client) {
  for (const auto& server : servers_) {
    server->fill_disk_but_for(kLittleRoomBytes);
  }
  run_until([] { return false; }, kHeartbeatInterval);
  if (const std::string problem = FullCheck(events_, client).run(); !problem.empty()) {
    contradict("a full cluster: " + problem);
  }
}

void Simulation::check_leftovers(AdminProbe& probe) {
  run_until([] { return false; }, kLeftoversWait);
  if (const std::string problems = probe.check_metadata(); !problems.empty()) {
    fail("metadata check: " + problems);
  }
  const auto status = probe.ask(ClusterStatusRequest{});
  if (!status) {
    fail("no status");
  } else if (status->orphans != 0 || status->nodes_up != options_.servers) {
    fail("left over: orphans " + std::to_string(status->orphans) + " servers up " +
         std::to_string(status->nodes_up));
  }
  std::vector<ChunkserverProcess*> servers;
  for (const auto& server : servers_) {
    servers.push_back(server.get());
  }
  ReplicaCheck replicas(environment_, servers,
                        nuisances_ != nullptr ? &nuisances_->victim() : nullptr);
  if (const std::string problems = replicas.run(); !problems.empty()) {
    fail("replicas: " + problems);
  }
}

}  // namespace dfs::sim
