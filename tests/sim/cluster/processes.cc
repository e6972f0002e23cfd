#include "tests/sim/cluster/processes.h"

#include <utility>

#include "chunkserver/core/chunk_names.h"
#include "common/assert.h"

namespace dfs::sim {
namespace {

constexpr const char* kDatabase = "/var/lib/dfs/master.db";
constexpr std::uint64_t kClientMemoryBytes = 16u << 20;

}  // namespace

Process::Process(SimEnvironment& environment, std::string host)
    : environment_(environment), host_(std::move(host)), log_(host_, &environment.events) {
  log_.set_echo(environment.verbose);
}

void Process::start() {
  DFS_ASSERT(scheduler_ == nullptr);
  environment_.events.trace("start " + host_);
  scheduler_ = std::make_unique<SimScheduler>(environment_.events);
  random_ = std::make_unique<SimRandom>(environment_.random.fork());
  transport_ = environment_.network.transport(*scheduler_, host_);
  make_core();
}

void Process::kill() {
  if (is_alive()) {
    environment_.events.trace("kill " + host_);
    scheduler_->kill();
    environment_.network.drop_host(host_);
  }
}

void Process::reap() {
  if (scheduler_ != nullptr && !scheduler_->is_alive()) {
    destroy_core();
    transport_.reset();
    random_.reset();
    scheduler_.reset();
  }
}

// --- Master --------------------------------------------------------------------------------------

MasterProcess::MasterProcess(SimEnvironment& environment)
    : Process(environment, "master"), disk_(environment.random.next_u64()) {
  DFS_ASSERT(disk_.make_directory("/var/lib/dfs").has_value());
}

MasterProcess::~MasterProcess() {
  kill();
  reap();
}

Result<std::unique_ptr<master::SqliteStore>> MasterProcess::open_store(const SimVfs& vfs,
                                                                       Timestamp now) const {
  return master::SqliteStore::open(kDatabase, {.vfs = vfs.name(),
                                               .cache_bytes = 4u << 20,
                                               .cluster_id = cluster_id_,
                                               .root_policy = {},
                                               .now = now});
}

void MasterProcess::make_core() {
  vfs_ = std::make_unique<SimVfs>(disk_, environment().events, environment().random.next_u64());
  auto store = open_store(*vfs_, scheduler().wall_now());
  if (!store) {
    environment().fail("the master's database does not open: " + store.error().detail);
    return;
  }
  store_ = std::move(*store);
  master::Master::Options options;
  options.listen_address = kMasterAddress;
  options.boot_id = "boot" + std::to_string(boots_);
  options.sessions.session_timeout = kSessionTimeout;
  master_ = std::make_unique<master::Master>(world(), *store_, options);
  master_->on_failure(
      [this](const Error& error) { environment().fail("the master gave up: " + error.detail); });
  if (const auto started = master_->start(); !started) {
    environment().fail("the master does not start: " + started.error().detail);
  }
}

void MasterProcess::destroy_core() {
  vfs_->kill();
  master_.reset();
  store_.reset();
  vfs_.reset();
  if (power_is_lost_) {
    power_is_lost_ = false;
    disk_.crash();
    ++boots_;
  }
}

void MasterProcess::lose_power() {
  kill();
  power_is_lost_ = true;
  if (vfs_ != nullptr) {
    vfs_->kill();
  } else {
    power_is_lost_ = false;
    disk_.crash();
    ++boots_;
  }
}

void MasterProcess::die_after(std::uint64_t changes, bool with_power, std::function<void()> died) {
  DFS_ASSERT(vfs_ != nullptr);
  vfs_->die_after(changes, [this, with_power, tell = std::move(died)] {
    kill();
    power_is_lost_ = with_power;
    tell();
  });
}

void MasterProcess::edit(const std::function<void(master::Store&)>& change) {
  DFS_ASSERT(vfs_ == nullptr);
  SimVfs vfs(disk_, environment().events, 1);
  auto store = open_store(vfs, Timestamp{});
  DFS_ASSERT(store.has_value());
  DFS_ASSERT((*store)->begin().has_value());
  change(**store);
  DFS_ASSERT((*store)->commit(true).has_value());
}

void MasterProcess::live_on() {
  if (vfs_ != nullptr) {
    vfs_->live_on();
  }
}

// --- Chunkserver ---------------------------------------------------------------------------------

ChunkserverProcess::ChunkserverProcess(SimEnvironment& environment, std::size_t index)
    : Process(environment, "server" + std::to_string(index)),
      data_directories_({"/data0"}),
      disk_(environment.random.next_u64()) {
  free_disk();
  if (index % 2 == 1) {
    data_directories_.push_back("/data1");
  }
  for (const std::string& directory : data_directories_) {
    DFS_ASSERT(disk_.make_directory(directory).has_value());
  }
}

ChunkserverProcess::~ChunkserverProcess() {
  kill();
  reap();
}

void ChunkserverProcess::make_core() {
  port_ = std::make_unique<SimDisk>(scheduler(), disk_);
  chunkserver::ServerOptions options;
  options.listen = host() + ":9421";
  options.advertise = options.listen;
  options.master = kMasterAddress;
  options.data_directories = data_directories_;
  options.reserve_bytes = 1u << 20;
  server_ = std::make_unique<chunkserver::Server>(world(), *port_, options);
  server_->on_fatal([this](const Error& error) {
    environment().fail(host() + " cannot go on: " + error.detail);
  });
  server_->start([this](Status started) {
    if (!started && disk_.has_faults()) {
      kill();
    } else if (!started) {
      environment().fail(host() + " does not start: " + started.error().detail);
    }
  });
}

// A file whose creation was torn may lie beside it: the sealed one counts, else the longest.
std::string ChunkserverProcess::chunk_bytes(ChunkId chunk) const {
  using chunkserver::FileKind;
  std::string best;
  for (const std::string& path : disk_.all_files()) {
    const auto name = chunkserver::parse_file_name(path.substr(path.rfind('/') + 1));
    if (!name || name->chunk != chunk) {
      continue;
    }
    if (name->kind == FileKind::kSealed) {
      return disk_.bytes(path);
    }
    if (name->kind == FileKind::kOpen && disk_.bytes(path).size() > best.size()) {
      best = disk_.bytes(path);
    }
  }
  return best;
}

void ChunkserverProcess::destroy_core() {
  server_.reset();
  port_.reset();
}

void ChunkserverProcess::lose_power() {
  kill();
  reap();
  disk_.crash();
}

// --- Client --------------------------------------------------------------------------------------

ClientProcess::ClientProcess(SimEnvironment& environment, const std::string& host)
    : Process(environment, host) {}

ClientProcess::~ClientProcess() {
  kill();
  reap();
}

void ClientProcess::make_core() {
  client::ClientOptions options;
  options.master = kMasterAddress;
  options.name = host() + ":/mnt";
  options.memory_bytes = kClientMemoryBytes;
  options.connect_wait = std::chrono::hours(1);  // giving up would be the mount helper's business
  options.write_wait = write_wait_;
  is_mounted_ = false;
  if (nonce_ != 0) {
    options.dead_sessions = {nonce_};
  }
  client::ClientEvents events;
  if (drop_delay_max_ > Duration::zero()) {
    events.drop_cached = [this](const auto&, std::function<void()> dropped) {
      const auto delay = environment().random.below(std::uint64_t(drop_delay_max_.count()));
      scheduler().run_after(Duration(delay), std::move(dropped));
    };
  }
  events.has_session = [this](std::uint64_t nonce) {
    if (std::exchange(nonce_, nonce) != nonce && is_mounted_ && session_lost_) {
      session_lost_();
    }
  };
  client_ = std::make_unique<client::Client>(world(), options, std::move(events));
  client_->start([this](Status started) {
    if (!started) {
      environment().fail(host() + " does not mount: " + started.error().detail);
      return;
    }
    is_mounted_ = true;
    if (mounted_) {
      mounted_();
    }
  });
}

void ClientProcess::destroy_core() {
  is_mounted_ = false;
  client_.reset();
}

}  // namespace dfs::sim
