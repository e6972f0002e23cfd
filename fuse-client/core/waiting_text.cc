#include "fuse-client/core/waiting_text.h"

namespace dfs::client {
namespace {

constexpr std::size_t kTextBytesMax = 48 * 1024;

std::string seconds(std::uint64_t ms) { return std::to_string((ms + 500) / 1000) + " s"; }

std::string awaited(const ClientWait& wait, bool master_answers) {
  switch (static_cast<WaitCause>(wait.cause)) {
    case WaitCause::kLock: return "a lock that somebody holds";
    case WaitCause::kServer:
      return wait.server.empty()                          ? "a chunkserver"
             : wait.server.find(',') != std::string::npos ? "the chunkservers at " + wait.server
                                                          : "the chunkserver at " + wait.server;
    case WaitCause::kServers: return "chunkservers: too few answer";
    case WaitCause::kSpace: return "space on chunkservers";
    case WaitCause::kMemory: return "memory (mem_limit)";
    case WaitCause::kOthers: return "other calls of this client";
    case WaitCause::kMaster:
    case WaitCause::kNotice:
    case WaitCause::kWriter:
    case WaitCause::kChange:
    case WaitCause::kStart: break;
  }
  return master_answers ? "the master's answer (dfs-admin why tells more)"
                        : "the master, which does not answer";
}

std::string line(const ClientWait& wait, bool master_answers) {
  std::string text = seconds(wait.waited_ms) + ": " + wait.operation;
  text += wait.inode.is_set() ? " of inode " + std::to_string(wait.inode.value) : "";
  text += wait.pid != 0 ? " by process " + std::to_string(wait.pid) : "";
  text += " waits for " + awaited(wait, master_answers);
  text += wait.ends_in_ms != 0 ? "; fails in " + seconds(wait.ends_in_ms) : "";
  return text + "\n";
}

}  // namespace

std::string describe(const std::vector<ClientWait>& waits, std::uint64_t more,
                     bool master_answers) {
  std::string text = master_answers ? "" : "the master does not answer\n";
  if (waits.empty()) {
    return text + "nothing waits\n";
  }
  for (const ClientWait& wait : waits) {
    const std::string next = line(wait, master_answers);
    if (text.size() + next.size() > kTextBytesMax) {
      ++more;
    } else {
      text += next;
    }
  }
  return more > 0 ? text + "and " + std::to_string(more) + " more\n" : text;
}

}  // namespace dfs::client
