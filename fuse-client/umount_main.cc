// umount.fuse.dfs: what umount(8) calls for a dfs mount. Flushes, unmounts, and waits for the
// client to end, because umount(2) itself waits for none of that.
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/real/owned_fd.h"
#include "common/version.h"
#include "fuse-client/mount/mount_point.h"

namespace {

constexpr int kExitUsage = 1;
constexpr int kExitFailure = 32;      // as mount(8)
constexpr int kClientEndMs = 60'000;  // longer than a client waits for servers

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

// A descriptor of the process that serves the mount, or none when it does not say.
dfs::real::OwnedFd client_process(const std::string& directory) {
  std::array<char, 32> value{};
  const ssize_t size =
      getxattr(directory.c_str(), "dfs.client_pid", value.data(), value.size() - 1);
  const int pid = size > 0 ? std::atoi(value.data()) : 0;
  return dfs::real::OwnedFd(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
}

// fsync of the mounted directory writes out everything the client holds.
bool flush(const std::string& directory) {
  const dfs::real::OwnedFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) {
    if (errno == ENOTCONN) {
      return true;  // its client is gone: nothing is left to flush
    }
    complain(directory, std::strerror(errno));
    return false;
  }
  if (fsync(fd.get()) != 0) {
    complain(directory, std::string("not everything could be written to the servers (") +
                            std::strerror(errno) +
                            "); still mounted. The client's log names the files. "
                            "umount -l unmounts all the same and loses what cannot be written");
    return false;
  }
  return true;
}

int run(const UmountRequest& request) {
  const bool waits = !request.lazy && !request.force;
  dfs::real::OwnedFd client;
  if (waits) {
    client = client_process(request.directory);
    if (!flush(request.directory)) {
      return kExitFailure;
    }
  }
  const int flags =
      UMOUNT_NOFOLLOW | (request.force ? MNT_FORCE : 0) | (request.lazy ? MNT_DETACH : 0);
  if (umount2(request.directory.c_str(), flags) != 0) {
    complain(request.directory, errno == EBUSY    ? "target is busy"
                                : errno == EINVAL ? "not mounted"
                                                  : std::strerror(errno));
    return kExitFailure;
  }
  dfs::mount::clean_utab(request.directory);
  if (client.get() >= 0) {
    pollfd ended{.fd = client.get(), .events = POLLIN, .revents = 0};
    if (poll(&ended, 1, kClientEndMs) == 0) {
      complain(request.directory, "unmounted, but its client is still writing; see its log");
      return kExitFailure;
    }
  }
  return 0;
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
        "and waits for the client to end. With -l or -f it waits for nothing.\n");
    return 0;
  }
  if (request.version) {
    std::printf("umount.fuse.dfs %s\n", dfs::kVersion);
    return 0;
  }
  return run(request);
}
