#include "common/real/file_calls.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "common/real/errno_error.h"

namespace dfs::real {
namespace {

CacheTransfer cache_transfer(ssize_t result) {
  if (result >= 0) {
    return {static_cast<std::size_t>(result), true};
  }
  // Any other error is left to the blocking call, which reports it if it lasts.
  return {0, errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL};
}

}  // namespace

Result<OwnedFd> open_path(const std::string& path, int flags, unsigned mode) {
  OwnedFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.is_open()) {
    return errno_error(errno, "open " + path);
  }
  return fd;
}

Result<std::size_t> read_all(int fd, std::span<std::byte> into, std::uint64_t offset,
                             const std::string& path) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t count =
        ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return errno_error(errno, "read " + path);
    }
    if (count == 0) {
      break;
    }
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Status write_all(int fd, std::span<const std::byte> from, std::uint64_t offset,
                 const std::string& path) {
  std::size_t done = 0;
  while (done < from.size()) {
    const ssize_t count =
        ::pwrite(fd, from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return errno_error(errno, "write " + path);
    }
    if (count == 0) {  // POSIX allows it for no regular file; without this it would spin
      return make_error(ErrorCode::kIo, "write " + path + ": nothing was written");
    }
    done += static_cast<std::size_t>(count);
  }
  return ok();
}

CacheTransfer read_cached(int fd, std::span<std::byte> into, std::uint64_t offset) {
  const iovec range{into.data(), into.size()};
  return cache_transfer(::preadv2(fd, &range, 1, static_cast<off_t>(offset), RWF_NOWAIT));
}

CacheTransfer write_cached(int fd, std::span<const std::byte> from, std::uint64_t offset) {
  const iovec range{const_cast<std::byte*>(from.data()), from.size()};
  return cache_transfer(::pwritev2(fd, &range, 1, static_cast<off_t>(offset), RWF_NOWAIT));
}

Status sync_directory_now(const std::string& path) {
  DFS_TRY(const OwnedFd directory, open_path(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) {
    return errno_error(errno, "sync directory " + path);
  }
  return ok();
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

}  // namespace dfs::real
