#include "tests/sim/cluster/nuisances.h"

namespace dfs::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kFreeBytesMax = 4u << 20;
// The master hears of room with the next heartbeat, and clients ask it again.
constexpr seconds kRoomNoticedAfter{8};
constexpr std::uint64_t kBitsMax = 4;          // at a time
constexpr std::uint64_t kEventsBetween = 600;  // on average half of it

}  // namespace

Nuisances::Nuisances(SimEnvironment& environment, SimRandom random, Hosts hosts, Events events)
    : environment_(environment),
      random_(random),
      hosts_(std::move(hosts)),
      events_(std::move(events)),
      victim_(*hosts_.servers[random_.below(hosts_.servers.size())]) {
  schedule();
}

void Nuisances::schedule() {
  next_at_ = environment_.events.events_run() + 1 + random_.below(kEventsBetween);
}

void Nuisances::poll() {
  if (environment_.events.events_run() >= next_at_) {
    ++count_;
    room_news_may_be_late();
    begin_one();
    schedule();
  }
}

void Nuisances::say(const std::string& what) {
  environment_.events.trace(what);
  events_.say("*** " + what);
}

void Nuisances::begin_one() {
  const std::uint64_t kind = random_.below(cuts_off_clients_ ? 132 : 124);
  if (kind < 25) {
    kill_master();
  } else if (kind < 45) {
    kill_server();
  } else if (kind < 55) {
    kill_client();
  } else if (kind < 67) {
    pause_one();
  } else if (kind < 82) {
    partition_two();
  } else if (kind < 97) {
    spoil_network();
  } else if (kind < 100) {
    power_cut();
  } else if (kind < 112) {
    flip_bits();
  } else if (kind < 118) {
    fail_disk();
  } else if (kind < 124) {
    fill_disks();
  } else {
    cut_off_client();
  }
}

Duration Nuisances::between(Duration least, Duration most) {
  const auto range = static_cast<std::uint64_t>((most - least).count());
  return least + Duration(static_cast<Duration::rep>(random_.below(range + 1)));
}

std::vector<Process*> Nuisances::all() const {
  std::vector<Process*> processes{&hosts_.master};
  processes.insert(processes.end(), hosts_.servers.begin(), hosts_.servers.end());
  processes.insert(processes.end(), hosts_.clients.begin(), hosts_.clients.end());
  return processes;
}

void Nuisances::undo_later(Duration delay, Task task) {
  const std::uint64_t number = next_undo_++;
  undo_.emplace(number, std::move(task));
  environment_.events.run_at(environment_.events.now() + delay, [this, number] {
    if (auto found = undo_.extract(number)) {
      room_news_may_be_late();
      found.mapped()();
    }
  });
}

// What else goes wrong may hold up the news that there is room again.
void Nuisances::room_news_may_be_late() {
  const MonoTime now = environment_.events.now();
  if (full_until_ != MonoTime{} && full_until_ + kRoomNoticedAfter >= now) {
    full_until_ = now;
  }
}

void Nuisances::start_later(Process& process, Duration delay_min, Duration delay_max) {
  undo_later(between(delay_min, delay_max), [this, &process] {
    if (!process.is_alive()) {
      process.reap();
      say("start " + process.host());
      process.start();
    }
  });
}

void Nuisances::kill_master() {
  MasterProcess& master = hosts_.master;
  if (!master.is_alive()) {
    return;
  }
  const bool with_power = random_.below(3) == 0;
  const auto died = [this, with_power] {
    say(with_power ? "the master lost power" : "the master was killed");
    if (with_power) {
      events_.master_lost_power();
    }
    start_later(hosts_.master, milliseconds(20), seconds(3));
  };
  if (random_.below(2) == 0) {
    // In the middle of a transaction, soon.
    master.die_after(random_.below(30), with_power, died);
  } else if (with_power) {
    master.lose_power();
    died();
  } else {
    master.kill();
    died();
  }
}

void Nuisances::kill_server() {
  ChunkserverProcess& server = *hosts_.servers[random_.below(hosts_.servers.size())];
  if (!server.is_alive()) {
    return;
  }
  const bool with_power = random_.below(2) == 0;
  say(server.host() + (with_power ? " lost power" : " was killed"));
  with_power ? server.lose_power() : server.kill();
  start_later(server, milliseconds(50), seconds(6));
}

void Nuisances::kill_client() {
  ClientProcess& client = *hosts_.clients[random_.below(hosts_.clients.size())];
  if (!client.is_alive()) {
    return;
  }
  say(client.host() + " was killed");
  client.kill();
  events_.client_died(client);
  // Long enough for its last messages to have arrived.
  start_later(client, milliseconds(300), seconds(2));
}

void Nuisances::pause_one() {
  const auto processes = all();
  Process& process = *processes[random_.below(processes.size())];
  if (!process.is_alive() || process.is_paused()) {
    return;
  }
  say(process.host() + " is stopped");
  process.pause();
  undo_later(between(milliseconds(50), seconds(4)), [this, &process] {
    if (process.is_paused()) {
      say(process.host() + " goes on");
      process.resume();
    }
  });
}

void Nuisances::partition_two() {
  const auto processes = all();
  const std::string a = processes[random_.below(processes.size())]->host();
  const std::string b = processes[random_.below(processes.size())]->host();
  if (a == b) {
    return;
  }
  say("no network between " + a + " and " + b);
  environment_.network.partition(a, b);
  undo_later(between(milliseconds(50), seconds(5)), [this, a, b] {
    say("network between " + a + " and " + b);
    environment_.network.heal(a, b);
  });
}

// By the network, or because it is stopped.
void Nuisances::cut_off_client() {
  ClientProcess& client = *hosts_.clients[random_.below(hosts_.clients.size())];
  const Duration time = between(kSessionTimeout / 2, kSessionTimeout * 2);
  if (random_.below(3) == 0 && client.is_alive() && !client.is_paused()) {
    say(client.host() + " is stopped for long");
    client.pause();
    undo_later(time, [this, &client] {
      if (client.is_paused()) {
        say(client.host() + " goes on");
        client.resume();
      }
    });
    return;
  }
  const std::string host = client.host();
  const std::string master = hosts_.master.host();
  say("no network between " + host + " and " + master + " for long");
  environment_.network.partition(host, master);
  undo_later(time, [this, host, master] {
    say("network between " + host + " and " + master);
    environment_.network.heal(host, master);
  });
}

void Nuisances::spoil_network() {
  SimNetworkFaults faults;
  faults.loss_per_million = static_cast<std::uint32_t>(random_.below(50'000));
  faults.duplicate_per_million = static_cast<std::uint32_t>(random_.below(100'000));
  faults.reorder_per_million = static_cast<std::uint32_t>(random_.below(20'000));
  faults.latency_jitter = between(milliseconds(0), milliseconds(5));
  say("a bad network");
  environment_.network.set_faults(faults);
  undo_later(between(milliseconds(50), seconds(5)), [this] {
    say("a good network");
    environment_.network.set_faults({});
  });
}

void Nuisances::power_cut() {
  say("all machines lose power");
  if (hosts_.master.is_alive()) {
    hosts_.master.lose_power();
    events_.master_lost_power();
    start_later(hosts_.master, milliseconds(300), seconds(3));
  }
  for (ClientProcess* client : hosts_.clients) {
    if (client->is_alive()) {
      client->kill();
      events_.client_died(*client);
      start_later(*client, milliseconds(300), seconds(3));
    }
  }
  for (ChunkserverProcess* server : hosts_.servers) {
    if (server->is_alive()) {
      server->lose_power();
      start_later(*server, milliseconds(50), seconds(6));
    }
  }
}

void Nuisances::flip_bits() {
  SimDiskState& disk = victim_.disk();
  std::vector<std::string> chunks;
  for (const std::string& path : disk.all_files()) {
    if (path.ends_with(".open") || path.ends_with(".sealed")) {
      chunks.push_back(path);
    }
  }
  if (chunks.empty()) {
    return;
  }
  const std::string& path = chunks[random_.below(chunks.size())];
  const std::uint64_t size_bytes = disk.bytes(path).size();
  if (size_bytes == 0) {
    return;
  }
  for (std::uint64_t left = 1 + random_.below(kBitsMax); left > 0; --left) {
    const std::uint64_t offset = random_.below(size_bytes);
    say("a bit flips on " + victim_.host() + " in " + path + " at " + std::to_string(offset));
    disk.flip_bit(path, offset, static_cast<unsigned>(random_.below(8)));
  }
}

// A directory that failed stays out until its server starts again.
void Nuisances::fail_disk() {
  SimDiskState& disk = victim_.disk();
  if (disk.has_faults()) {
    return;
  }
  const auto& directories = victim_.data_directories();
  const std::string& directory = directories[random_.below(directories.size())];
  SimDiskFaults faults;
  const std::uint64_t kind = random_.below(5);
  faults.fail_reads = kind == 0 || kind == 4;
  faults.fail_writes = kind == 1 || kind == 4;
  faults.fail_syncs = kind == 2 || kind == 4;
  faults.read_only = kind == 3;
  say("errors of " + directory + " on " + victim_.host() + " kind " + std::to_string(kind));
  disk.set_faults(directory, faults);
  const bool restarts = random_.below(2) == 0;
  undo_later(between(milliseconds(100), seconds(8)), [this, restarts] {
    say("no more disk errors on " + victim_.host());
    victim_.disk().clear_faults();
    if (restarts) {
      victim_.kill();
    }
    if (!victim_.is_alive()) {
      victim_.reap();
      victim_.start();
    }
  });
}

// Of one server or of all. What is free then may be less than the reserve of the server.
void Nuisances::fill_disks() {
  std::vector<ChunkserverProcess*> servers = hosts_.servers;
  if (random_.below(2) == 0) {
    servers = {servers[random_.below(servers.size())]};
  }
  for (ChunkserverProcess* server : servers) {
    const std::uint64_t free_bytes = random_.below(kFreeBytesMax);
    say("the disk of " + server->host() + " fills up, bytes free " + std::to_string(free_bytes));
    server->fill_disk_but_for(free_bytes);
    ++full_disks_;
  }
  undo_later(between(milliseconds(100), seconds(8)), [this, servers] {
    for (ChunkserverProcess* server : servers) {
      say("there is room on " + server->host());
      server->free_disk();
      --full_disks_;
    }
    full_until_ = environment_.events.now();
  });
}

bool Nuisances::may_be_full(MonoTime since) const {
  return full_disks_ > 0 || (full_until_ != MonoTime{} && full_until_ + kRoomNoticedAfter >= since);
}

void Nuisances::end() {
  next_at_ = UINT64_MAX;
  hosts_.master.live_on();
  while (!undo_.empty()) {
    undo_.extract(undo_.begin()).mapped()();
  }
}

}  // namespace dfs::sim
