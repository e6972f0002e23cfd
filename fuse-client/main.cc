// dfs: mounts a dfs filesystem. Also installed as /sbin/mount.fuse.dfs, the helper of mount(8).
//
// The process that was called returns only when the mount answers. Everything else happens in a
// child, forked before any thread exists, that reports one line through a pipe.
#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "common/real/owned_fd.h"
#include "common/version.h"
#include "fuse-client/mount/client_process.h"
#include "fuse-client/mount/mount_point.h"
#include "fuse-client/mount/mount_request.h"

namespace {

using dfs::Status;
using dfs::mount::MountRequest;

constexpr int kExitUsage = 1;     // as mount(8)
constexpr int kExitFailure = 32;  // as mount(8)
constexpr const char* kReady = "ready";

int fail(const std::string& why) {
  std::fprintf(stderr, "dfs: %s\n", why.c_str());
  return kExitFailure;
}

// Freed memory goes back to the system: mem_limit bounds what the process holds, not only what it
// counts. Blocks of cached data are far above this threshold.
void bound_memory_of_allocator() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 32 * 1024);
  mallopt(M_TRIM_THRESHOLD, 8 * 1024 * 1024);
}

void report(int pipe, const std::string& line) {
  if (write(pipe, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    std::fprintf(stderr, "dfs: %s\n", line.c_str());
  }
}

// The child: detached from the terminal once it serves.
int serve(const MountRequest& request, const std::string& directory, dfs::real::OwnedFd pipe) {
  bound_memory_of_allocator();
  setsid();
  if (chdir("/") != 0) {
    report(pipe.get(), "cannot change to /");
    return kExitFailure;
  }
  bool was_ready = false;
  const Status status = dfs::mount::run_client(request, directory, [&] {
    was_ready = true;
    report(pipe.get(), kReady);
    pipe.reset();
    const dfs::real::OwnedFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      dup2(null.get(), fd);
    }
  });
  if (!status && !was_ready) {
    report(pipe.get(), status.error().detail);
  }
  return status ? 0 : kExitFailure;
}

std::string read_report(int pipe) {
  std::string text;
  char buffer[4096];
  for (ssize_t size; (size = read(pipe, buffer, sizeof buffer)) != 0;) {
    if (size > 0) {
      text.append(buffer, static_cast<std::size_t>(size));
    } else if (errno != EINTR) {
      break;
    }
  }
  return text;
}

// The parent, once the child serves: the mount must answer this process too.
int confirm(const MountRequest& request, const std::string& directory) {
  struct stat st {};
  if (stat(directory.c_str(), &st) != 0) {
    return fail("mounted at " + directory + ", but it does not answer: " + std::strerror(errno));
  }
  if (!request.no_utab) {
    const Status noted = dfs::mount::note_in_utab(request.source_text, directory);
    if (!noted) {
      std::fprintf(stderr, "dfs: warning: %s\n", noted.error().detail.c_str());
    }
  }
  if (request.verbose) {
    std::printf("dfs: %s mounted on %s\n", request.source_text.c_str(), directory.c_str());
  }
  return 0;
}

int mount_in_background(const MountRequest& request, const std::string& directory) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return fail(std::string("pipe: ") + std::strerror(errno));
  }
  dfs::real::OwnedFd reader(ends[0]);
  dfs::real::OwnedFd writer(ends[1]);
  const pid_t child = fork();
  if (child < 0) {
    return fail(std::string("fork: ") + std::strerror(errno));
  }
  if (child == 0) {
    reader.reset();
    return serve(request, directory, std::move(writer));
  }
  writer.reset();
  const std::string text = read_report(reader.get());
  if (text != kReady) {
    return fail(text.empty() ? "the client ended before it could mount" : text);
  }
  return confirm(request, directory);
}

int mount_in_foreground(const MountRequest& request, const std::string& directory) {
  bound_memory_of_allocator();
  const Status status = dfs::mount::run_client(request, directory, [&] {
    const Status noted =
        request.no_utab ? dfs::ok() : dfs::mount::note_in_utab(request.source_text, directory);
    if (!noted) {
      std::fprintf(stderr, "dfs: warning: %s\n", noted.error().detail.c_str());
    }
  });
  return status ? 0 : fail(status.error().detail);
}

int run(const MountRequest& request) {
  if (request.remount) {
    const Status status = dfs::mount::remount(request);
    return status ? 0 : fail(status.error().detail);
  }
  const auto directory = dfs::mount::prepare_mount_point(request);
  if (!directory) {
    return fail(directory.error().detail);
  }
  const Status found = dfs::mount::probe_master(request.source, request.connect_wait);
  if (!found) {
    return fail(found.error().detail);
  }
  if (request.fake) {
    return 0;
  }
  return request.foreground ? mount_in_foreground(request, *directory)
                            : mount_in_background(request, *directory);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string program = argc > 0 ? argv[0] : "dfs";
  const bool as_mount_helper = program.substr(program.rfind('/') + 1).starts_with("mount.fuse");
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const auto request = dfs::mount::parse_mount_request(arguments, as_mount_helper, geteuid() == 0);
  if (!request) {
    std::fprintf(stderr, "dfs: %s\n", request.error().detail.c_str());
    return kExitUsage;
  }
  if (request->help) {
    std::fputs(dfs::mount::mount_usage().c_str(), stdout);
    return 0;
  }
  if (request->version) {
    std::printf("dfs %s\n", dfs::kVersion);
    return 0;
  }
  return run(*request);
}
