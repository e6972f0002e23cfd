// dfs-admin: how a dfs cluster is, and what its operator may change.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "admin/commands.h"
#include "common/real/address.h"
#include "common/real/event_loop.h"
#include "common/real/settings.h"
#include "common/real/spd_log.h"
#include "common/real/system_random.h"
#include "common/real/zmq_transport.h"
#include "proto/limits.h"

namespace {

using dfs::admin::ClusterCalls;
using dfs::admin::Output;

struct Words {
  std::string master = "127.0.0.1:9420";
  std::string path;
  bool as_json = false;
  bool checksums = false;
  std::uint64_t replicas = 0;
  std::uint64_t min_replicas = 0;  // 0: two, or one for one replica
};

constexpr const char* kFooter =
    "PATH is a path of the filesystem (/ is its root), or of a local dfs mount, whose master is "
    "then "
    "asked.\n"
    "Exit codes: 0 all is well, 1 problems were found, 2 wrong words, 3 the command failed.";

void declare(dfs::real::Settings& settings, Words& words) {
  settings.add_string("master", words.master, "the master's HOST[:PORT], 9420 unless given");
  settings.add_flag("json", words.as_json, "print JSON, for programs");
  settings.require_command();
  settings.add_command("status", "how the cluster is, in figures and one line of verdict");
  settings.add_command("why", "the calls that wait now, for whom, and what ends that")
      .add_positional("PATH", words.path, false, "only those concerning this, or what is below");
  auto& node = settings.add_command("node", "servers");
  node.require_command();
  node.add_command("list", "all servers, their space and replicas");
  auto& file = settings.add_command("file", "files");
  file.require_command();
  file.add_command("info", "extents, chunks and replicas of a file")
      .add_positional("PATH", words.path, true, "the file");
  auto& policy = settings.add_command("policy", "how many replicas new data gets");
  policy.require_command();
  policy.add_command("get", "the policy of a file or directory")
      .add_positional("PATH", words.path, true, "the file or directory");
  auto& set = policy.add_command("set", "change the policy of a file or directory");
  set.add_positional("PATH", words.path, true, "the file or directory");
  set.add_number("replicas", words.replicas, {1, dfs::kReplicasMax}, "copies of new data");
  set.add_number("min-replicas", words.min_replicas, {1, dfs::kReplicasMax},
                 "write on with this many when servers lack (default 2, or 1 for one copy)");
  auto& fsck = settings.add_command("fsck", "check the metadata against what the servers have");
  fsck.add_flag("checksums", words.checksums, "have every server read and check all it has");
}

void show_progress(const std::string& line) {
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  }
}

void end_progress() {
  if (isatty(STDERR_FILENO) != 0) {
    std::fputs("\r\033[K", stderr);
  }
}

// A path of the caller's machine becomes one of the filesystem if it lies in a dfs mount.
// `may_wait`: a mount that does not answer may be asked where symlinks lead.
void translate_path(Words& words, bool may_wait) {
  if (words.path.empty()) {
    return;
  }
  std::string absolute = words.path;
  if (absolute[0] != '/') {
    char* folder = may_wait ? get_current_dir_name() : getcwd(nullptr, 0);
    absolute = std::string(folder != nullptr ? folder : "") + "/" + absolute;
    std::free(folder);
  }
  std::ifstream table("/proc/self/mountinfo");
  const std::string text{std::istreambuf_iterator<char>(table), {}};
  if (!may_wait) {
    words.path = dfs::admin::path_in_filesystem(absolute, text, words.master);
    return;
  }
  // Symlinks and ".." are followed only if they lead into a dfs mount: the same words may well name
  // something in the filesystem and something else on this machine.
  const std::unique_ptr<char, decltype(&std::free)> resolved(realpath(absolute.c_str(), nullptr),
                                                             &std::free);
  if (resolved != nullptr) {
    words.path = dfs::admin::path_in_filesystem(resolved.get(), text, words.master);
    if (words.path != resolved.get()) {
      return;
    }
  }
  words.path = dfs::admin::path_in_filesystem(absolute, text, words.master);
}

dfs::Result<Output> set_policy(ClusterCalls& calls, const Words& words) {
  if (words.replicas == 0) {
    return dfs::make_error(dfs::ErrorCode::kInvalidArgument, "policy set needs --replicas N");
  }
  dfs::StoragePolicy policy;
  policy.replicas = static_cast<std::uint32_t>(words.replicas);
  policy.min_replicas = words.min_replicas != 0 ? static_cast<std::uint32_t>(words.min_replicas)
                        : words.replicas > 1    ? 2
                                                : 1;
  if (policy.min_replicas > policy.replicas) {
    return dfs::make_error(dfs::ErrorCode::kInvalidArgument,
                           "--min-replicas is more than --replicas");
  }
  return dfs::admin::policy_set(calls, words.path, policy);
}

dfs::Result<Output> run(ClusterCalls& calls, const std::vector<std::string>& commands,
                        const Words& words) {
  const std::string& command = commands[0];
  if (command == "status") {
    return dfs::admin::status(calls, words.as_json);
  }
  if (command == "why") {
    return dfs::admin::why(calls, words.path, words.as_json);
  }
  if (command == "node") {
    return dfs::admin::node_list(calls, words.as_json);
  }
  if (command == "file") {
    return dfs::admin::file_info(calls, words.path, words.as_json);
  }
  if (command == "policy") {
    return commands[1] == "get" ? dfs::admin::policy_get(calls, words.path, words.as_json)
                                : set_policy(calls, words);
  }
  return dfs::admin::fsck(calls, words.checksums, words.as_json, show_progress);
}

// As it is to be dialled: with a port.
dfs::Result<dfs::Address> checked_address(const dfs::Address& address) {
  DFS_TRY(const dfs::real::HostPort master, dfs::real::parse_master_address(address));
  DFS_CHECK_OK(
      dfs::real::resolve(master.host, std::to_string(master.port), AF_UNSPEC, SOCK_STREAM));
  return master.text();
}

int fail(const dfs::Error& error) {
  const bool is_usage = error.code == dfs::ErrorCode::kInvalidArgument;
  std::fprintf(stderr, "dfs-admin: %s\n",
               error.detail.empty() ? dfs::error_code_name(error.code) : error.detail.c_str());
  return is_usage ? dfs::admin::kExitUsage : dfs::admin::kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  Words words;
  dfs::real::Settings settings({.name = "dfs-admin",
                                .summary = "Shows and checks a dfs cluster",
                                .default_file = "/etc/dfs/admin.conf",
                                .footer = kFooter});
  declare(settings, words);
  const auto parsed = settings.parse(argc, argv);
  if (!parsed.should_run) {
    return parsed.finish();
  }
  translate_path(words, settings.commands()[0] != "why");
  const dfs::Result<dfs::Address> address = checked_address(words.master);
  if (!address) {
    return fail(address.error());
  }
  auto loop = dfs::real::EventLoop::create();
  auto log = dfs::real::SpdLog::create(dfs::LogLevel::kError, "");
  if (!loop || !log) {
    return fail(!loop ? loop.error() : log.error());
  }
  dfs::real::SystemRandom random;
  dfs::real::ZmqTransport transport(**loop, **log);
  ClusterCalls calls(dfs::World{**loop, random, **log, transport}, *address,
                     [&](const std::function<bool()>& done, dfs::Duration limit) {
                       return (*loop)->run_until(done, limit);
                     });
  const auto output = run(calls, settings.commands(), words);
  end_progress();
  if (!output) {
    return fail(output.error());
  }
  if (std::fputs(output->text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return fail(dfs::make_error(dfs::ErrorCode::kIo, "the output could not be written: " +
                                                         std::string(std::strerror(errno))));
  }
  return output->exit_code;
}
