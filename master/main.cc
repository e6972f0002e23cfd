// dfs-master: the process around master::Master. Reads the settings, locks the data directory,
// opens the database, joins the core to the real clock, network and log, and runs until it is told
// to stop.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "common/real/daemon.h"
#include "common/real/directory_lock.h"
#include "common/real/event_loop.h"
#include "common/real/settings.h"
#include "common/real/spd_log.h"
#include "common/real/system_random.h"
#include "common/real/zmq_transport.h"
#include "master/core/master.h"
#include "master/store_sqlite/sqlite_store.h"
#include "proto/limits.h"

namespace {

using dfs::Address;
using dfs::Duration;
using dfs::ErrorCode;
using dfs::Result;
using dfs::Status;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kProgram = "dfs-master";
constexpr const char* kDatabaseFile = "master.db";
constexpr std::uint64_t kCacheBytesMin = 1u << 20;
constexpr std::uint64_t kCacheBytesMax = std::uint64_t{1} << 42;

struct Configuration {
  Address listen = "0.0.0.0:9420";
  std::string data = "/var/lib/dfs/master";
  std::uint64_t replicas = 3;
  std::uint64_t min_replicas = 0;  // 0: 2, or 1 for one copy
  Duration heartbeat = dfs::kHeartbeatInterval;
  std::uint64_t heartbeat_misses = dfs::kHeartbeatMissesMax;
  Duration session_timeout = dfs::kSessionTimeout;
  std::uint64_t cache_bytes = 256u << 20;
  std::string log_level = "info";
  std::string log_file;
};

void declare(dfs::real::Settings& settings, Configuration& config) {
  settings.add_string("listen", config.listen,
                      "Address to listen on, as 0.0.0.0:9420, [::]:9420 or *:9420");
  settings.add_string("data", config.data, "Data directory, for the database");
  settings.add_number("replicas", config.replicas, {1, dfs::kReplicasMax},
                      "Copies of each file; for a new database only, later see dfs-admin policy");
  settings.add_number("min-replicas", config.min_replicas, {0, dfs::kReplicasMax},
                      "Copies below which writes wait, for a new database only; 0: 2, or 1 for one "
                      "copy");
  settings.add_duration("heartbeat", config.heartbeat, {milliseconds(100), hours(1)},
                        "How often chunkservers report");
  settings.add_number("heartbeat-misses", config.heartbeat_misses, {1, 1000},
                      "Missed reports after which a chunkserver counts as down");
  settings.add_duration("session-timeout", config.session_timeout, {seconds(1), hours(24)},
                        "Silence after which a client's session is over");
  settings.add_size("cache-size", config.cache_bytes, {kCacheBytesMin, kCacheBytesMax},
                    "Memory for the database's cache");
  settings.add_choice("log-level", config.log_level, {"debug", "info", "warning", "error"},
                      "Least important lines to log");
  settings.add_string("log-file", config.log_file, "File to log to instead of stderr");
}

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int fail(const std::string& why, int exit_code = kExitFailed) {
  std::fprintf(stderr, "%s: %s\n", kProgram, why.c_str());
  return exit_code;
}

Result<dfs::StoragePolicy> root_policy(const Configuration& config) {
  const std::uint64_t min_replicas =
      config.min_replicas > 0 ? config.min_replicas : std::min<std::uint64_t>(2, config.replicas);
  if (min_replicas > config.replicas) {
    return dfs::make_error(ErrorCode::kInvalidArgument,
                           "--min-replicas is greater than --replicas");
  }
  return dfs::StoragePolicy{.replicas = static_cast<std::uint32_t>(config.replicas),
                            .min_replicas = static_cast<std::uint32_t>(min_replicas)};
}

std::string new_cluster_id(dfs::Random& random) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx",
                static_cast<unsigned long long>(random.next_u64()),
                static_cast<unsigned long long>(random.next_u64()));
  return text;
}

// The kernel's name of the machine's present run; empty if it does not tell.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

// Everything the master stands on, in the order it is made.
class Process {
 public:
  explicit Process(Configuration config) : config_(std::move(config)) {}

  int run() {
    const Status started = start();
    if (!started) {
      const bool is_usage = started.code() == ErrorCode::kInvalidArgument;
      return fail(started.error().detail, is_usage ? kExitUsage : kExitFailed);
    }
    loop_->run();
    daemon_->notify_stopping();
    master_->stop();
    master_.reset();
    store_.reset();
    log_->info("Stopped.");
    return exit_code_;
  }

 private:
  Status start() {
    DFS_TRY(loop_, dfs::real::EventLoop::create());
    DFS_TRY(daemon_, dfs::real::Daemon::create(
                         *loop_, {[this] { loop_->stop(); }, [this] { log_->reopen(); }}));
    DFS_TRY(const dfs::LogLevel level, dfs::real::parse_log_level(config_.log_level));
    DFS_TRY(log_, dfs::real::SpdLog::create(level, config_.log_file));
    DFS_CHECK_OK(open_store());
    transport_ = std::make_unique<dfs::real::ZmqTransport>(*loop_, *log_);
    dfs::master::Master::Options options;
    options.listen_address = config_.listen;
    options.boot_id = boot_id();
    options.sessions.session_timeout = config_.session_timeout;
    // A session must survive a few lost keep-alives.
    options.sessions.keep_alive =
        std::min<Duration>(dfs::kSessionKeepAlive, config_.session_timeout / 4);
    options.chunks.heartbeat_interval = config_.heartbeat;
    options.chunks.heartbeat_misses_max = static_cast<std::uint32_t>(config_.heartbeat_misses);
    master_ = std::make_unique<dfs::master::Master>(dfs::World{*loop_, random_, *log_, *transport_},
                                                    *store_, std::move(options));
    master_->on_failure([this](const dfs::Error& error) {
      exit_code_ = fail("the database has failed: " + error.detail);
      loop_->stop();
    });
    DFS_CHECK_OK(master_->start());
    daemon_->notify_ready();
    return dfs::ok();
  }

  Status open_store() {
    DFS_TRY(const dfs::StoragePolicy policy, root_policy(config_));
    std::error_code error;
    std::filesystem::create_directories(config_.data, error);
    if (error) {
      return dfs::make_error(ErrorCode::kIo, "the data directory " + config_.data +
                                                 " cannot be made: " + error.message());
    }
    DFS_TRY(lock_, dfs::real::DirectoryLock::acquire(config_.data));
    const std::string path = (std::filesystem::path(config_.data) / kDatabaseFile).string();
    DFS_TRY(store_, dfs::master::SqliteStore::open(path, {.vfs = {},
                                                          .cache_bytes = config_.cache_bytes,
                                                          .cluster_id = new_cluster_id(random_),
                                                          .root_policy = policy,
                                                          .now = loop_->wall_now()}));
    return dfs::ok();
  }

  Configuration config_;
  std::unique_ptr<dfs::real::EventLoop> loop_;
  std::unique_ptr<dfs::real::Daemon> daemon_;
  dfs::real::SystemRandom random_;
  std::unique_ptr<dfs::real::SpdLog> log_;
  std::optional<dfs::real::DirectoryLock> lock_;
  std::unique_ptr<dfs::master::SqliteStore> store_;
  std::unique_ptr<dfs::real::ZmqTransport> transport_;
  std::unique_ptr<dfs::master::Master> master_;
  int exit_code_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Configuration config;
  dfs::real::Settings settings({.name = kProgram,
                                .summary = "Keeps the names and the map of a dfs cluster.",
                                .default_file = "/etc/dfs/master.conf"});
  declare(settings, config);
  const auto parsed = settings.parse(argc, argv);
  if (!parsed.should_run) {
    return parsed.finish();
  }
  return Process(std::move(config)).run();
}
