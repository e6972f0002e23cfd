// umount.fuse.dfs: what umount(8) calls for a dfs mount. Flushes, unmounts, and waits for the
// client to end, because umount(2) itself waits for none of that.
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "common/real/owned_fd.h"
#include "common/result.h"
#include "common/version.h"
#include "fuse-client/fuse/umount_report.h"
#include "fuse-client/mount/mount_point.h"
#include "fuse-client/mount/other_mounts.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kExitUsage = 1;
constexpr int kExitFailure = 32;  // as mount(8)
// For a client with nothing to write: longer than it waits for anybody at its end.
constexpr std::chrono::seconds kClientEnd{10};
// One that waits for servers uses less than this much processor time in umount_wait.
constexpr std::chrono::milliseconds kWorkTime{200};
constexpr std::chrono::milliseconds kLookInterval{500};
constexpr int kFieldsBeforeTimes = 11;  // in /proc/PID/stat, behind the name

struct UmountRequest {
  std::string directory;
  bool force = false;
  bool lazy = false;
  bool read_only = false;
  bool help = false;
  bool version = false;
};

void complain(const std::string& directory, const std::string& what) {
  std::fprintf(stderr, "umount.fuse.dfs: %s: %s\n", directory.c_str(), what.c_str());
}

bool take_flags(const char* flags, UmountRequest& request) {
  for (; *flags != '\0'; ++flags) {
    switch (*flags) {
      case 'f': request.force = true; break;
      case 'l': request.lazy = true; break;
      case 'r': request.read_only = true; break;
      case 'n':
      case 'v': break;
      default: return false;
    }
  }
  return true;
}

bool refuse(const std::string& why) {
  std::fprintf(stderr, "umount.fuse.dfs: %s, see umount.fuse.dfs --help\n", why.c_str());
  return false;
}

bool parse(int argc, char** argv, UmountRequest& request) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help") {
      request.help = true;
    } else if (word == "--version") {
      request.version = true;
    } else if (word == "-t" || word == "-N") {
      ++i;
    } else if (word.size() > 1 && word[0] == '-') {
      if (!take_flags(argv[i] + 1, request)) {
        return refuse("unknown flag " + word);
      }
    } else if (request.directory.empty()) {
      request.directory = word;
    } else {
      return refuse("one directory at a time, not also " + word);
    }
  }
  const bool is_whole = request.help || request.version || !request.directory.empty();
  return is_whole || refuse("which directory?");
}

using dfs::fuse::UmountReport;
using dfs::mount::MountEntry;

std::string explain(int error, const std::string& directory) {
  switch (error) {
    case EOPNOTSUPP:
    case ENODATA: return "not a dfs mount";
    case EINTR: return "interrupted; still mounted";
    case EIO:
      return "not everything could be written to the servers, and what could not is lost; still "
             "mounted. The client's log names the files. umount " +
             directory + " again unmounts it";
    default: return std::strerror(error);
  }
}

// Has the client write out everything it holds. A report without a process: the client is gone,
// nothing is left to write. Complains itself.
dfs::Result<UmountReport> flush(const std::string& directory) {
  std::array<char, dfs::fuse::kUmountReportBytesMax> value{};
  const ssize_t size =
      getxattr(directory.c_str(), dfs::fuse::kUmountReportAttribute, value.data(), value.size());
  if (size < 0 && (errno == ENOTCONN || errno == ECONNABORTED)) {
    return UmountReport{};
  }
  auto report = size < 0 ? dfs::Result<UmountReport>(
                               dfs::make_error(dfs::ErrorCode::kIo, explain(errno, directory)))
                         : dfs::fuse::decode_umount_report({value.data(), std::size_t(size)});
  if (report && !report->unwritten.empty()) {
    report =
        dfs::make_error(dfs::ErrorCode::kTimedOut,
                        report->unwritten + ". Still mounted, and its client goes on trying: " +
                            "umount again later, or lose them with umount -f or umount -l");
  }
  if (!report) {
    complain(directory, report.error().detail);
  }
  return report;
}

dfs::real::OwnedFd open_process(int pid) {
  return dfs::real::OwnedFd(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
}

// Processor time that the process has used. It may be gone: none.
std::chrono::milliseconds work_of(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), std::istreambuf_iterator<char>());
  text.erase(0, text.rfind(')') + 1);  // its name may be anything
  std::istringstream fields(text);
  std::string skipped;
  for (int i = 0; i < kFieldsBeforeTimes; ++i) {
    fields >> skipped;
  }
  std::int64_t user = 0;
  std::int64_t system = 0;
  fields >> user >> system;
  return std::chrono::milliseconds((user + system) * 1000 / sysconf(_SC_CLK_TCK));
}

// Waits for the client's end; says what keeps it if that is not to be waited for. To forget very
// many files takes a slow machine longer than `quiet_max`, which is no reason to complain.
int wait_for_end(const UmountRequest& request, const MountEntry& mount, int client, int pid,
                 Clock::duration quiet_max) {
  auto quiet_since = Clock::now();
  auto work = work_of(pid);
  pollfd ended{.fd = client, .events = POLLIN, .revents = 0};
  while (poll(&ended, 1, static_cast<int>(kLookInterval.count())) == 0) {
    if (const auto other = dfs::mount::find_other_mount(mount)) {
      complain(request.directory, "unmounted; its client goes on, since it is still mounted " +
                                      dfs::mount::describe(*other));
      return 0;
    }
    const auto now = Clock::now();
    if (const auto newer = work_of(pid); newer >= work + kWorkTime) {
      work = newer;
      quiet_since = now;
    }
    if (now - quiet_since >= quiet_max) {
      complain(request.directory, "unmounted, but its client is still writing; see its log");
      return kExitFailure;
    }
  }
  return 0;
}

int run(const UmountRequest& request) {
  const auto begin = Clock::now();
  UmountReport report;
  if (!request.lazy && !request.force) {
    auto flushed = flush(request.directory);
    if (!flushed) {
      return kExitFailure;
    }
    report = std::move(*flushed);
  }
  const dfs::real::OwnedFd client = open_process(report.client_pid);
  const auto mounts = dfs::mount::mounts_at(request.directory);
  const int flags =
      UMOUNT_NOFOLLOW | (request.force ? MNT_FORCE : 0) | (request.lazy ? MNT_DETACH : 0);
  if (umount2(request.directory.c_str(), flags) != 0) {
    complain(request.directory, errno == EBUSY    ? "target is busy"
                                : errno == EINVAL ? "not mounted"
                                                  : std::strerror(errno));
    return kExitFailure;
  }
  dfs::mount::clean_utab(request.directory);
  if (client.get() < 0) {
    return 0;
  }
  // What was written since the flush gets the rest of the time.
  const auto left = std::max<Clock::duration>(begin + report.umount_wait - Clock::now(), {});
  return wait_for_end(request, mounts.empty() ? MountEntry{} : mounts.back(), client.get(),
                      report.client_pid, left + kClientEnd);
}

}  // namespace

int main(int argc, char** argv) {
  UmountRequest request;
  if (!parse(argc, argv, request)) {
    return kExitUsage;
  }
  if (request.help) {
    std::printf(
        "Usage: umount.fuse.dfs DIR [-flnrv] [-t TYPE]\n\n"
        "Called by umount(8) for dfs mounts: writes out what the client still holds, unmounts DIR\n"
        "and waits for the client to end. What cannot be written within the mount's umount_wait "
        "it\n"
        "names, and leaves DIR mounted. With -l or -f it waits for nothing.\n");
    return 0;
  }
  if (request.version) {
    std::printf("umount.fuse.dfs %s\n", dfs::kVersion);
    return 0;
  }
  return run(request);
}
