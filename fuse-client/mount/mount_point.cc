#include "fuse-client/mount/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "common/real/address.h"
#include "common/real/owned_fd.h"

namespace dfs::mount {
namespace {

constexpr std::size_t kOwnOptionsBytesMax = 8192;  // a path and some numbers

struct CloseDirectory {
  void operator()(DIR* listing) const { closedir(listing); }
};

Error from_errno(const std::string& what, int error) {
  const ErrorCode code = error == ENOENT                     ? ErrorCode::kNotFound
                         : error == ENOTDIR                  ? ErrorCode::kNotDirectory
                         : error == EACCES || error == EPERM ? ErrorCode::kAccessDenied
                                                             : ErrorCode::kIo;
  return make_error(code, what + ": " + std::strerror(error));
}

Result<std::string> resolve(const std::string& directory) {
  const std::unique_ptr<char, decltype(&std::free)> path(realpath(directory.c_str(), nullptr),
                                                         &std::free);
  if (path == nullptr) {
    return from_errno("cannot mount at " + directory, errno);
  }
  return std::string(path.get());
}

// A mount whose process is gone answers ENOTCONN to everything that needs its process; stat(2) may
// still be answered from the kernel's cache, opening never is.
bool is_dead_mount(const std::string& directory) {
  const real::OwnedFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd.get() < 0 && errno == ENOTCONN;
}

Status replace_dead_mount(const std::string& given) {
  if (!is_dead_mount(given)) {
    return ok();
  }
  // The table of mounts has absolute paths; resolving may need what is dead.
  const auto resolved = resolve(given);
  const std::string& directory = resolved ? *resolved : given;
  if (mounted_type(directory) != kFilesystemType) {
    return make_error(ErrorCode::kIo,
                      directory + " is a dead mount, but not of dfs: unmount it first");
  }
  if (umount2(directory.c_str(), MNT_DETACH) != 0) {
    return from_errno("cannot detach the dead mount at " + directory, errno);
  }
  remove_from_utab(directory);
  return ok();
}

Status expect_empty(const std::string& directory) {
  const std::unique_ptr<DIR, CloseDirectory> listing(opendir(directory.c_str()));
  if (listing == nullptr) {
    return from_errno("cannot read " + directory, errno);
  }
  while (const dirent* entry = readdir(listing.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      return make_error(ErrorCode::kNotEmpty,
                        directory + " is not empty; mount with -o nonempty to hide what is in it");
    }
  }
  return ok();
}

// A field of a mountinfo line, with its octal escapes undone.
std::string unescape(const std::string& field) {
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      out.push_back(static_cast<char>(std::stoi(field.substr(i + 1, 3), nullptr, 8)));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

// What is mounted on top at `directory`.
MountEntry find_mount(const std::string& directory) {
  const std::vector<MountEntry> mounts = mounts_at(directory);
  return mounts.empty() ? MountEntry{} : mounts.back();
}

Status connect_once(const addrinfo& address, Duration wait) {
  const real::OwnedFd fd(
      socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) {
    return from_errno("socket", errno);
  }
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) {
    return ok();
  }
  if (errno != EINPROGRESS) {
    return make_error(ErrorCode::kUnavailable, std::strerror(errno));
  }
  pollfd ready{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  const auto wait_ms = std::chrono::duration_cast<std::chrono::milliseconds>(wait).count();
  if (poll(&ready, 1, static_cast<int>(std::min<long>(wait_ms, INT_MAX))) != 1) {
    return make_error(ErrorCode::kUnavailable, "no answer");
  }
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0 ? ok() : Status(make_error(ErrorCode::kUnavailable, std::strerror(error)));
}

}  // namespace

std::vector<MountEntry> read_mounts(std::istream& mount_table) {
  std::vector<MountEntry> mounts;
  std::string line;
  while (std::getline(mount_table, line)) {
    // 36 35 98:0 /root /mount/point options optional… - type source super-options
    std::istringstream words(line);
    std::string id;
    std::string parent;
    std::string root;
    std::string point;
    std::string options;
    std::string word;
    MountEntry entry;
    words >> id >> parent >> entry.device >> root >> point >> options;
    while (words >> word && word != "-") {
    }
    words >> entry.type;
    entry.directory = unescape(point);
    entry.no_atime = ("," + options + ",").find(",noatime,") != std::string::npos;
    mounts.push_back(std::move(entry));
  }
  return mounts;
}

std::vector<MountEntry> mounts_at(const std::string& directory, std::istream& mount_table) {
  std::vector<MountEntry> mounts = read_mounts(mount_table);
  std::erase_if(mounts, [&](const MountEntry& entry) { return entry.directory != directory; });
  return mounts;
}

std::vector<MountEntry> mounts_at(const std::string& directory) {
  std::ifstream table("/proc/self/mountinfo");
  return mounts_at(directory, table);
}

std::string mounted_type(const std::string& directory) { return find_mount(directory).type; }

Result<std::string> prepare_mount_point(const MountRequest& request) {
  std::string given = request.directory;
  while (given.size() > 1 && given.ends_with('/')) {
    given.pop_back();
  }
  DFS_CHECK_OK(replace_dead_mount(given));
  DFS_TRY(std::string directory, resolve(given));
  struct stat st {};
  if (stat(directory.c_str(), &st) != 0) {
    return from_errno("cannot mount at " + directory, errno);
  }
  if (!S_ISDIR(st.st_mode)) {
    return make_error(ErrorCode::kNotDirectory, directory + " is not a directory");
  }
  if (!request.nonempty) {
    DFS_CHECK_OK(expect_empty(directory));
  }
  return directory;
}

Status remount(const MountRequest& request) {
  DFS_TRY(const std::string directory, resolve(request.directory));
  if (mounted_type(directory) != kFilesystemType) {
    return make_error(ErrorCode::kInvalidArgument, directory + " is not a dfs mount");
  }
  if (!request.own_options.empty()) {
    std::array<char, kOwnOptionsBytesMax> in_force{};
    const ssize_t size =
        getxattr(directory.c_str(), "dfs.options", in_force.data(), in_force.size());
    if (size < 0) {
      return from_errno("cannot ask " + directory + " for its options", errno);
    }
    DFS_CHECK_OK(
        check_own_options(request, std::string(in_force.data(), static_cast<std::size_t>(size))));
  }
  static const std::map<std::string, unsigned long> kFlags = {
      {"ro", MS_RDONLY},        {"nosuid", MS_NOSUID},   {"nodev", MS_NODEV},
      {"noexec", MS_NOEXEC},    {"noatime", MS_NOATIME}, {"nodiratime", MS_NODIRATIME},
      {"sync", MS_SYNCHRONOUS}, {"dirsync", MS_DIRSYNC}};
  unsigned long flags = MS_REMOUNT;
  for (const std::string& option : request.kernel_options) {
    const auto flag = kFlags.find(option);
    flags |= flag == kFlags.end() ? 0UL : flag->second;
  }
  if (::mount(nullptr, directory.c_str(), nullptr, flags, nullptr) != 0) {
    return from_errno("cannot remount " + directory, errno);
  }
  return ok();
}

void raise_read_ahead(const std::string& directory, unsigned kibibytes) {
  std::ofstream setting("/sys/class/bdi/" + find_mount(directory).device + "/read_ahead_kb");
  setting << kibibytes;
}

Status probe_master(const Source& source, Duration wait) {
  DFS_TRY(const real::AddressList list,
          real::resolve(source.host, source.port, AF_UNSPEC, SOCK_STREAM));
  Status last = make_error(ErrorCode::kUnavailable, "no address");
  for (const addrinfo* address = list.get(); address != nullptr; address = address->ai_next) {
    last = connect_once(*address, wait);
    if (last) {
      return ok();
    }
  }
  return make_error(ErrorCode::kUnavailable,
                    "no master at " + source.address() + ": " + last.error().detail);
}

}  // namespace dfs::mount
