#include "common/real/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <span>
#include <string_view>

#include "common/real/errno_error.h"
#include "common/real/file_calls.h"

namespace dfs::real {
namespace {

// What the holder wrote, or "unknown": it may be just about to.
std::string holder_of(int fd, const std::string& path) {
  std::array<std::byte, 16> bytes{};
  const auto count = read_all(fd, bytes, 0, path);
  std::string pid(reinterpret_cast<const char*>(bytes.data()), count ? *count : 0);
  while (!pid.empty() && pid.back() == '\n') {
    pid.pop_back();
  }
  const bool is_number = !pid.empty() && std::all_of(pid.begin(), pid.end(), [](unsigned char c) {
    return std::isdigit(c) != 0;
  });
  return is_number ? pid : "unknown";
}

// The pid only helps whoever is refused: a disk that is full must not keep its daemon from
// starting, so failures are let go, and a pid that could not be written whole is left out.
void note_holder(int fd, const std::string& path) {
  const std::string pid = std::to_string(::getpid()) + "\n";
  const Status written = write_all(fd, std::as_bytes(std::span(pid)), 0, path);
  if (::ftruncate(fd, written ? static_cast<off_t>(pid.size()) : 0) != 0) {
    return;
  }
}

}  // namespace

Result<DirectoryLock> DirectoryLock::acquire(const std::string& directory) {
  const std::string path = directory + "/lock";
  DFS_TRY(OwnedFd fd, open_path(path, O_RDWR | O_CREAT));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return make_error(ErrorCode::kLocked, "the directory " + directory +
                                                " is in use by another daemon, pid " +
                                                holder_of(fd.get(), path));
    }
    return errno_error(errno, "lock " + path);
  }
  note_holder(fd.get(), path);
  return DirectoryLock(std::move(fd));
}

}  // namespace dfs::real
