// dfs-chunkserver: the process around chunkserver::Server. Reads the settings, locks the data
// directories, joins the core to the real clock, network, disk and log, and runs until it is told
// to stop.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "chunkserver/core/server.h"
#include "common/assert.h"
#include "common/real/address.h"
#include "common/real/daemon.h"
#include "common/real/directory_lock.h"
#include "common/real/event_loop.h"
#include "common/real/owned_fd.h"
#include "common/real/posix_disk.h"
#include "common/real/settings.h"
#include "common/real/spd_log.h"
#include "common/real/system_random.h"
#include "common/real/zmq_transport.h"
#include "proto/limits.h"

namespace {

using dfs::Address;
using dfs::ErrorCode;
using dfs::LogLevel;
using dfs::Result;
using dfs::Status;

constexpr const char* kProgram = "dfs-chunkserver";

struct Configuration {
  Address listen = "0.0.0.0:9421";
  Address advertise;
  Address master = "127.0.0.1:9420";
  std::vector<std::string> data;
  std::string zone;
  std::uint64_t reserve_bytes = 0;  // 0: by the size of each directory's file system
  std::string log_level = "info";
  std::string log_file;
  std::uint64_t disk_threads = 4;
};

void declare(dfs::real::Settings& settings, Configuration& config) {
  settings.add_string("listen", config.listen,
                      "Address to listen on, as 0.0.0.0:9421, [::]:9421 or *:9421");
  settings.add_string("advertise", config.advertise,
                      "Address at which clients and other servers reach this one; by default the "
                      "one it listens on, or the one from which it reaches the master");
  settings.add_string("master", config.master, "Address of the master, port 9420 unless given");
  settings.add_strings("data", config.data,
                       "Data directory; may be given several times, one for each disk");
  settings.add_string("zone", config.zone, "Failure domain this server is in, as a rack's name");
  settings.add_size("reserve", config.reserve_bytes, {0, std::numeric_limits<std::uint64_t>::max()},
                    "Space to keep free in each data directory; 0: 1 % of it, at least 256MiB");
  settings.add_choice("log-level", config.log_level, {"debug", "info", "warning", "error"},
                      "Least important lines to log");
  settings.add_string("log-file", config.log_file, "File to log to instead of stderr");
  settings.add_number("disk-threads", config.disk_threads, {1, 256},
                      "Threads that read and write files");
}

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int fail(const std::string& why, int exit_code = kExitFailed) {
  std::fprintf(stderr, "%s: %s\n", kProgram, why.c_str());
  return exit_code;
}

bool is_wildcard(const std::string& host) {
  return host == "*" || host == "0.0.0.0" || host == "::" || host == "0:0:0:0:0:0:0:0";
}

// The address of this host from which `master` is reached: what the kernel would put into a packet.
std::optional<std::string> host_towards(const dfs::real::HostPort& master, int family) {
  const auto addresses =
      dfs::real::resolve(master.host, std::to_string(master.port), family, SOCK_DGRAM);
  if (!addresses) {
    return std::nullopt;
  }
  for (const addrinfo* at = addresses->get(); at != nullptr; at = at->ai_next) {
    const dfs::real::OwnedFd probe(socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage own{};
    socklen_t own_bytes = sizeof own;
    char text[INET6_ADDRSTRLEN] = "";
    // Connecting a datagram socket sends nothing.
    if (probe.is_open() && connect(probe.get(), at->ai_addr, at->ai_addrlen) == 0 &&
        getsockname(probe.get(), reinterpret_cast<sockaddr*>(&own), &own_bytes) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&own), own_bytes, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      return text;
    }
  }
  return std::nullopt;
}

// Wrong addresses are found before anything is touched, not when they are first used.
Status check_addresses(const Configuration& config) {
  const auto listen = dfs::real::parse_listen_address(config.listen);
  if (!listen) {
    return dfs::make_error(listen.code(), "--listen: " + listen.error().detail);
  }
  const auto master = dfs::real::parse_master_address(config.master);
  if (!master) {
    return dfs::make_error(master.code(), "--master: " + master.error().detail);
  }
  return dfs::ok();
}

// What others are told. Port 0 stands for the port the server listens on.
Result<Address> advertised(const Configuration& config) {
  if (!config.advertise.empty()) {
    auto whole = dfs::real::parse_connect_address(config.advertise);
    if (whole) {
      return whole->text();
    }
    const bool is_bare_v6 = config.advertise.front() != '[' &&
                            config.advertise.find(':') != config.advertise.rfind(':');
    const std::string host = is_bare_v6 ? "[" + config.advertise + "]" : config.advertise;
    auto portless = dfs::real::parse_connect_address(host + ":1");
    if (!portless || is_wildcard(portless->host)) {
      return dfs::make_error(ErrorCode::kInvalidArgument, "--advertise: " + whole.error().detail);
    }
    portless->port = 0;
    return portless->text();
  }
  DFS_TRY(const dfs::real::HostPort listen, dfs::real::parse_listen_address(config.listen));
  if (!is_wildcard(listen.host)) {
    return Address();
  }
  DFS_TRY(const dfs::real::HostPort master, dfs::real::parse_master_address(config.master));
  const int family = listen.host == "0.0.0.0" ? AF_INET : AF_UNSPEC;
  if (auto host = host_towards(master, family)) {
    return dfs::real::HostPort{*host, 0, true}.text();
  }
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) {
    return dfs::make_error(ErrorCode::kInvalidArgument,
                           "this host has no name; say with --advertise how others reach it");
  }
  return std::string(name) + ":0";
}

// Makes and locks every data directory. One whose disk is broken is left to the server, which
// goes on without it.
Result<std::vector<dfs::real::DirectoryLock>> lock_directories(dfs::Disk& disk,
                                                               std::vector<std::string>& paths) {
  std::vector<dfs::real::DirectoryLock> locks;
  if (paths.empty()) {
    return dfs::make_error(ErrorCode::kInvalidArgument, "no data directory: give one with --data");
  }
  std::set<std::string> named;
  for (std::string& path : paths) {
    std::error_code error;
    path = std::filesystem::absolute(path, error).lexically_normal().string();
    while (path.size() > 1 && path.back() == '/') {
      path.pop_back();
    }
    if (!named.insert(path).second) {
      return dfs::make_error(ErrorCode::kInvalidArgument, "--data names " + path + " twice");
    }
    auto made = disk.make_directory(path);
    if (made) {
      auto lock = dfs::real::DirectoryLock::acquire(path);
      if (lock) {
        locks.push_back(std::move(*lock));
        continue;
      }
      made = lock.error();
    }
    if (paths.size() == 1 || !dfs::chunkserver::is_directory_failure(made.code())) {
      return std::move(made).error();
    }
  }
  return locks;
}

// Everything the server stands on, in the order it is made.
class Process {
 public:
  explicit Process(Configuration config) : config_(std::move(config)) {}

  int run() {
    auto started = start();
    if (!started) {
      const bool is_usage = started.code() == ErrorCode::kInvalidArgument;
      return fail(started.error().detail, is_usage ? kExitUsage : kExitFailed);
    }
    loop_->run();
    server_.reset();
    return exit_code_;
  }

 private:
  Status start() {
    DFS_TRY(loop_, dfs::real::EventLoop::create());
    DFS_TRY(daemon_,
            dfs::real::Daemon::create(*loop_, {[this] { stop(); }, [this] { log_->reopen(); }}));
    DFS_TRY(const LogLevel level, dfs::real::parse_log_level(config_.log_level));
    DFS_TRY(log_, dfs::real::SpdLog::create(level, config_.log_file));
    DFS_CHECK_OK(check_addresses(config_));
    warn_of_unknown_master();
    DFS_TRY(Address advertise, advertised(config_));
    dfs::real::PosixDiskOptions disk_options;
    disk_options.threads = static_cast<std::size_t>(config_.disk_threads);
    disk_ = std::make_unique<dfs::real::PosixDisk>(*loop_, disk_options);
    DFS_TRY(locks_, lock_directories(*disk_, config_.data));
    transport_ = std::make_unique<dfs::real::ZmqTransport>(*loop_, *log_);
    dfs::chunkserver::ServerOptions options;
    options.listen = config_.listen;
    options.advertise = std::move(advertise);
    DFS_TRY(const dfs::real::HostPort master, dfs::real::parse_master_address(config_.master));
    options.master = master.text();
    options.data_directories = config_.data;
    options.zone = config_.zone;
    if (config_.reserve_bytes > 0) {
      options.reserve_bytes = config_.reserve_bytes;
    }
    server_ = std::make_unique<dfs::chunkserver::Server>(
        dfs::World{*loop_, random_, *log_, *transport_}, *disk_, std::move(options));
    server_->on_fatal([this](const dfs::Error& error) { give_up(error.detail); });
    server_->start([this](const Status& started) {
      if (!started) {
        give_up(started.error().detail);
        return;
      }
      is_started_ = true;
      daemon_->notify_ready();
    });
    return dfs::ok();
  }

  // The name may be known later, as when machines start together.
  void warn_of_unknown_master() {
    const auto master = dfs::real::parse_master_address(config_.master);
    DFS_ASSERT(master);
    const auto found =
        dfs::real::resolve(master->host, std::to_string(master->port), AF_UNSPEC, SOCK_STREAM);
    if (!found) {
      log_->warning("The master cannot be reached yet: " + found.error().detail);
    }
  }

  void give_up(const std::string& why) {
    exit_code_ = fail(why);
    stop();
  }

  void stop() {
    if (is_stopping_) {
      return;
    }
    is_stopping_ = true;
    daemon_->notify_stopping();
    if (!is_started_) {
      // A task, since the loop may not run yet.
      loop_->post([this] { loop_->stop(); });
      return;
    }
    server_->stop([this] {
      log_->info("Stopped.");
      loop_->stop();
    });
  }

  Configuration config_;
  std::unique_ptr<dfs::real::EventLoop> loop_;
  std::unique_ptr<dfs::real::Daemon> daemon_;
  dfs::real::SystemRandom random_;
  std::unique_ptr<dfs::real::SpdLog> log_;
  std::unique_ptr<dfs::real::PosixDisk> disk_;
  std::vector<dfs::real::DirectoryLock> locks_;
  std::unique_ptr<dfs::real::ZmqTransport> transport_;
  std::unique_ptr<dfs::chunkserver::Server> server_;
  bool is_started_ = false;
  bool is_stopping_ = false;
  int exit_code_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Configuration config;
  dfs::real::Settings settings({.name = kProgram,
                                .summary = "Keeps replicas of the chunks of a dfs cluster.",
                                .default_file = "/etc/dfs/chunkserver.conf"});
  declare(settings, config);
  const auto parsed = settings.parse(argc, argv);
  if (!parsed.should_run) {
    return parsed.finish();
  }
  return Process(std::move(config)).run();
}
