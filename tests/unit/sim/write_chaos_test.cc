// Programs on one client write to the same files while chunkservers die, stand still and come back,
// also so many that too few are left to write to, while the master is killed and loses its power,
// the network loses, delays, doubles and reorders messages, hosts are cut off from each other, and
// writes are interrupted. What the files hold is checked elsewhere (dfs-sim). Here every call ends
// soon after all is well again, and what waits is listed while it does.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fuse-client/core/waiting_text.h"
#include "proto/limits.h"
#include "tests/sim/cluster/processes.h"
#include "tests/unit/sim/chaos_seeds.h"

namespace dfs::sim {
namespace {

using client::Client;
using client::HandleId;
using client::OpenedFile;
using client::OperationId;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::size_t kServers = 3;  // two of them must be there for a write
constexpr std::size_t kPrograms = 3;
constexpr std::array kNames = {"a", "b"};
constexpr seconds kWriteWait{60};
// A call whose server goes silent once more just when all is well again has this to wait for: that
// it is noticed, or that the call is sent again, which is done at growing distances.
constexpr seconds kEndLimit{100};
constexpr seconds kFreshLimit{30};
constexpr seconds kRoomKnown{10};  // by then the master has heard that there is room again

struct Trouble {
  bool network = false;
  bool servers = false;
  bool master = false;
  bool cuts = false;
  bool disks = false;
  bool pauses = false;
  std::uint64_t interrupt_one_in = 0;  // of the calls under way, each moment; 0: none is
  std::size_t clients = 1;
  std::uint64_t steps = 40;
  Duration write_wait = kWriteWait;
};

class WriteChaos : public testing::Test {
 protected:
  void run(std::uint64_t seed, const Trouble& trouble);

  struct Program {
    std::size_t client = 0;
    std::optional<HandleId> file;
    std::uint64_t steps = 0;
    const char* call = nullptr;  // under way
    OperationId operation;
    MonoTime since{};
  };

  void start(std::uint64_t seed, const Trouble& trouble);
  void stop();
  Client& client(const Program& program) { return *clients_[program.client]->client(); }
  std::uint64_t below(std::uint64_t bound) { return random_->below(bound); }
  Duration up_to(Duration most) {
    return Duration(Duration::rep(below(static_cast<std::uint64_t>(most.count()))));
  }
  void step(Program& program);
  void open(Program& program, const std::string& name);
  void open_there(Program& program, const std::string& name, client::OpenFlags flags);
  void use(Program& program);
  template <class T>
  client::Done<T> answer(Program& program, const char* call,
                         std::function<void(const T&)> then = {}) {
    program.call = call;
    program.since = events_->now();
    return [this, &program, then = std::move(then)](Result<T> result) {
      program.call = nullptr;
      waited_long_ += events_->now() - program.since > seconds(5) ? 1 : 0;
      interrupted_ += result.code() == ErrorCode::kInterrupted ? 1 : 0;
      answered_ += result ? 1 : 0;
      if (result && then) {
        then(*result);
      }
    };
  }
  void interrupt_some(std::uint64_t one_in);
  void trouble_one(const Trouble& trouble);
  void stop_server(ChunkserverProcess& server);
  void start_server(ChunkserverProcess& server);
  void restart_master();
  void cut_two();
  void spoil_network();
  void heal();
  void expect_waits_are_listed(const Trouble& trouble);
  std::string waits();
  void expect_fresh_write(const std::string& name);

  std::unique_ptr<SimEvents> events_;
  std::unique_ptr<SimRandom> random_;
  std::unique_ptr<SimNetwork> network_;
  std::unique_ptr<SimEnvironment> environment_;
  std::unique_ptr<MasterProcess> master_;
  std::vector<std::unique_ptr<ChunkserverProcess>> servers_;
  std::vector<std::unique_ptr<ClientProcess>> clients_;
  std::vector<std::unique_ptr<Program>> programs_;
  std::uint64_t answered_ = 0;
  std::uint64_t interrupted_ = 0;
  std::uint64_t waited_long_ = 0;
};

void WriteChaos::start(std::uint64_t seed, const Trouble& trouble) {
  events_ = std::make_unique<SimEvents>();
  random_ = std::make_unique<SimRandom>(seed);
  network_ = std::make_unique<SimNetwork>(*events_, seed);
  environment_.reset(new SimEnvironment{*events_, *network_, *random_,
                                        [](const std::string& why) { ADD_FAILURE() << why; },
                                        std::getenv("DFS_SIM_VERBOSE") != nullptr});
  master_ = std::make_unique<MasterProcess>(*environment_);
  master_->start();
  for (std::size_t i = 0; i < kServers; ++i) {
    servers_.push_back(std::make_unique<ChunkserverProcess>(*environment_, i));
    servers_.back()->start();
  }
  events_->run_for(seconds(5));
  for (std::size_t i = 0; i < trouble.clients; ++i) {
    clients_.push_back(
        std::make_unique<ClientProcess>(*environment_, "client" + std::to_string(i)));
    ClientProcess& client = *clients_.back();
    client.set_write_wait(trouble.write_wait);
    client.start();
    ASSERT_TRUE(events_->run_until([&] { return client.client() != nullptr; }, minutes(1)));
  }
  for (std::size_t i = 0; i < kPrograms; ++i) {
    programs_.push_back(std::make_unique<Program>());
    programs_.back()->client = i % trouble.clients;
  }
}

void WriteChaos::stop() {
  programs_.clear();
  clients_.clear();
  servers_.clear();
  master_.reset();
}

// --- What the programs do ------------------------------------------------------------------------

void WriteChaos::open(Program& program, const std::string& name) {
  client::OpenFlags flags;
  flags.write = true;
  flags.truncate = below(3) == 0;
  const auto created = answer<OpenedFile>(
      program, "create", [&program](const OpenedFile& file) { program.file = file.handle; });
  program.operation = client(program).create(
      {.parent = kRootInode, .name = name, .mode = kModeRegular | 0644, .symlink_target = {}},
      flags, [=, this, &program](Result<OpenedFile> made) {
        const bool is_there = made.code() == ErrorCode::kExists;
        created(std::move(made));
        if (is_there) {
          open_there(program, name, flags);
        }
      });
}

void WriteChaos::open_there(Program& program, const std::string& name, client::OpenFlags flags) {
  const auto found = [this, &program, flags](const Attributes& file) {
    program.operation = client(program).open(
        file.inode, flags,
        answer<OpenedFile>(program, "open",
                           [&program](const OpenedFile& opened) { program.file = opened.handle; }));
  };
  program.operation =
      client(program).lookup(kRootInode, name, answer<Attributes>(program, "lookup", found));
}

void WriteChaos::use(Program& program) {
  const HandleId file = *program.file;
  switch (below(12)) {
    case 0:
      client(program).release(file);
      program.file.reset();
      break;
    case 1:
    case 2:
    case 3: program.operation = client(program).sync(file, answer<Unit>(program, "fsync")); break;
    case 4: program.operation = client(program).sync_all(answer<Unit>(program, "sync")); break;
    case 5:
      program.operation = client(program).read(file, below(200'000), 20'000,
                                               answer<std::vector<Buffer>>(program, "read"));
      break;
    case 6: {
      AllocateRequest request;
      request.offset = below(100'000);
      request.length_bytes = 1 + below(100'000);
      request.remove = true;
      program.operation =
          client(program).allocate(file, request, answer<Unit>(program, "fallocate"));
      break;
    }
    default: {
      const bool is_large = below(10) == 0;
      const std::size_t size = 1 + below(is_large ? 2'000'000 : 50'000);
      client::WritePlace place;
      if (below(3) > 0) {
        place.offset = below(200'000);
      }
      program.operation =
          client(program).write(file, place, Buffer::copy_of(std::string(size, 'x')),
                                answer<std::uint64_t>(program, "write"));
    }
  }
}

void WriteChaos::step(Program& program) {
  ++program.steps;
  if (program.file) {
    use(program);
  } else {
    open(program, kNames[below(kNames.size())]);
  }
}

void WriteChaos::interrupt_some(std::uint64_t one_in) {
  for (const auto& program : programs_) {
    if (program->call != nullptr && below(one_in) == 0) {
      client(*program).interrupt(program->operation);
    }
  }
}

// --- What befalls them ---------------------------------------------------------------------------

void WriteChaos::start_server(ChunkserverProcess& server) {
  if (server.is_paused()) {
    server.resume();
  } else if (!server.is_alive()) {
    server.reap();
    server.start();
  }
}

void WriteChaos::stop_server(ChunkserverProcess& server) {
  switch (below(3)) {
    case 0: server.pause(); break;
    case 1: server.kill(); break;
    default: server.lose_power();
  }
  // Also longer than writes wait for servers.
  const Duration away = up_to(below(3) == 0 ? seconds(90) : seconds(8));
  events_->run_at(events_->now() + away, [this, &server] { start_server(server); });
}

void WriteChaos::restart_master() {
  if (below(4) == 0) {
    master_->lose_power();
  } else {
    master_->kill();
  }
  master_->reap();
  events_->run_for(up_to(below(4) == 0 ? seconds(10) : milliseconds(100)));
  master_->start();
}

void WriteChaos::cut_two() {
  std::vector<std::string> hosts = {"client0", "client1", "master"};
  for (const auto& server : servers_) {
    hosts.push_back(server->host());
  }
  const std::string one = hosts[below(hosts.size())];
  const std::string other = hosts[below(hosts.size())];
  if (one != other) {
    network_->partition(one, other);
    events_->run_at(events_->now() + up_to(below(4) == 0 ? seconds(40) : seconds(4)),
                    [this, one, other] { network_->heal(one, other); });
  }
}

void WriteChaos::spoil_network() {
  SimNetworkFaults faults;
  faults.loss_per_million = static_cast<std::uint32_t>(below(60'000));
  faults.duplicate_per_million = 50'000;
  faults.reorder_per_million = static_cast<std::uint32_t>(below(50'000));
  faults.late_max = milliseconds(500);
  network_->set_faults(faults);
}

void WriteChaos::trouble_one(const Trouble& trouble) {
  const auto now_and_then = [&](bool is_wanted, std::uint64_t one_in) {
    return is_wanted && below(one_in) == 0;
  };
  if (now_and_then(trouble.network, 20)) {
    spoil_network();
  }
  for (const auto& server : servers_) {
    if (now_and_then(trouble.servers, 40) && server->is_alive() && !server->is_paused()) {
      stop_server(*server);
    }
    if (now_and_then(trouble.disks, 40) && server->is_alive()) {
      server->fill_disk_but_for(below(4'000'000));
      events_->run_at(events_->now() + up_to(seconds(30)), [&server] { server->free_disk(); });
    }
  }
  if (now_and_then(trouble.master, 60)) {
    restart_master();
  }
  if (now_and_then(trouble.cuts, 30)) {
    cut_two();
  }
  if (now_and_then(trouble.pauses, 60)) {
    ClientProcess& client = *clients_[below(clients_.size())];
    client.pause();
    events_->run_for(up_to(below(3) == 0 ? seconds(40) : seconds(4)));  // longer than a session
    client.resume();
  }
}

void WriteChaos::heal() {
  network_->set_faults({});
  network_->heal_all();
  for (const auto& server : servers_) {
    server->free_disk();
    start_server(*server);
  }
}

// --- What is expected ----------------------------------------------------------------------------

std::string WriteChaos::waits() {
  std::string listed;
  for (const auto& each : clients_) {
    std::uint64_t more = 0;
    const auto waiting = each->client()->waiting(kToldWaitsMax, more);
    listed += client::describe(waiting, more, each->client()->master_answers());
  }
  return listed;
}

void WriteChaos::expect_waits_are_listed(const Trouble& trouble) {
  const std::string listed = waits();
  for (const auto& program : programs_) {
    if (program->call != nullptr && events_->now() - program->since >= kWaitNoted) {
      EXPECT_NE(listed.find(std::string(": ") + program->call), std::string::npos)
          << program->call << " waits and is not listed: " << listed;
    }
  }
  // A master that nothing befalls answers at once: if something waits, then for servers.
  const bool is_master_well =
      !trouble.network && !trouble.master && !trouble.cuts && !trouble.pauses;
  if (is_master_well && trouble.clients == 1 && listed.find("the master") != std::string::npos) {
    events_->run_for(milliseconds(10));  // it may just have been asked
    EXPECT_EQ(waits().find("the master"), std::string::npos) << listed << waits();
  }
}

// As a program that comes now: opens the file, writes, and waits until that is stored.
void WriteChaos::expect_fresh_write(const std::string& name) {
  programs_.push_back(std::make_unique<Program>());
  Program& fresh = *programs_.back();
  fresh.client = below(clients_.size());
  open(fresh, name);
  ASSERT_TRUE(events_->run_until([&] { return fresh.call == nullptr; }, kFreshLimit)) << waits();
  ASSERT_TRUE(fresh.file.has_value()) << "it cannot be opened";
  auto code = std::make_shared<std::optional<ErrorCode>>();
  const auto sync = [&] {
    code->reset();
    client(fresh).sync(*fresh.file, [code](const Result<Unit>& synced) { *code = synced.code(); });
    EXPECT_TRUE(events_->run_until([&] { return code->has_value(); }, kFreshLimit)) << waits();
  };
  sync();  // what was lost before is told now
  ASSERT_TRUE(code->has_value());
  code->reset();
  client(fresh).write(*fresh.file, {}, Buffer::copy_of(std::string(100'000, 'y')),
                      [code](const Result<std::uint64_t>& written) { *code = written.code(); });
  ASSERT_TRUE(events_->run_until([&] { return code->has_value(); }, kFreshLimit)) << waits();
  EXPECT_EQ(**code, ErrorCode::kOk);
  sync();
  EXPECT_EQ(code->value_or(ErrorCode::kTimedOut), ErrorCode::kOk);
  client(fresh).release(*fresh.file);
}

void WriteChaos::run(std::uint64_t seed, const Trouble& trouble) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  start(seed, trouble);
  const auto are_idle = [&] {
    return std::all_of(programs_.begin(), programs_.end(),
                       [](const auto& each) { return each->call == nullptr; });
  };
  for (std::uint64_t left = 60 * trouble.steps / 10; left > 0; --left) {
    for (const auto& program : programs_) {
      if (program->call == nullptr && program->steps < trouble.steps && below(3) > 0) {
        step(*program);
      }
    }
    if (trouble.interrupt_one_in > 0) {
      interrupt_some(trouble.interrupt_one_in);
    }
    trouble_one(trouble);
    events_->run_for(up_to(below(15) == 0 ? seconds(6) : milliseconds(60)));
    expect_waits_are_listed(trouble);
  }
  heal();
  if (events_->run_until(are_idle, kEndLimit)) {
    events_->run_for(kRoomKnown);
    for (const auto& name : kNames) {
      expect_fresh_write(name);
    }
  } else {
    ADD_FAILURE() << "it waits for ever:\n" << waits();
  }
  stop();
}

TEST_F(WriteChaos, with_servers_that_die_and_come_back) {
  const ChaosSeeds seeds(100);
  for (std::uint64_t seed = seeds.first; seed < seeds.end && !HasFailure(); ++seed) {
    run(seed, {.servers = true, .interrupt_one_in = seed % 3 * 50});
  }
  EXPECT_GT(waited_long_, seeds.end - seeds.first);
}

TEST_F(WriteChaos, with_all_troubles) {
  const ChaosSeeds seeds(100);
  for (std::uint64_t seed = seeds.first; seed < seeds.end && !HasFailure(); ++seed) {
    SimRandom choose(seed);
    const auto is_chosen = [&choose] { return choose.below(2) == 0; };
    run(seed, {.network = is_chosen(),
               .servers = is_chosen(),
               .master = is_chosen(),
               .cuts = is_chosen(),
               .disks = is_chosen(),
               .pauses = is_chosen(),
               .interrupt_one_in = choose.below(4) * 30,
               .clients = 1 + choose.below(2)});
  }
  EXPECT_GT(interrupted_, seeds.end - seeds.first);
}

}  // namespace
}  // namespace dfs::sim
