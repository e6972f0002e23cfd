#include "common/real/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/real/errno_error.h"
#include "common/real/file_calls.h"
#include "common/real/posix_file.h"

namespace dfs::real {
namespace {

// write_file's unfinished copies; a later write_file of the same file replaces a left-over one.
constexpr const char* kTemporarySuffix = ".new";

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead: return O_RDONLY;
    case OpenMode::kReadWrite: return O_RDWR;
    case OpenMode::kCreate: return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

// A regular file or a directory, as `path` must turn out to be.
Status require_directory(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return errno_error(errno, "make directory " + path);
  }
  if (!S_ISDIR(status.st_mode)) {
    return errno_error(ENOTDIR, "make directory " + path);
  }
  return ok();
}

Status make_one_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) {
    return sync_directory_now(parent_of(path));
  }
  return errno == EEXIST ? require_directory(path) : errno_error(errno, "make directory " + path);
}

Status write_and_sync(const std::string& path, const std::string& contents) {
  DFS_TRY(const OwnedFd fd, open_path(path, O_WRONLY | O_CREAT | O_TRUNC));
  DFS_CHECK_OK(write_all(fd.get(), std::as_bytes(std::span(contents)), 0, path));
  if (::fsync(fd.get()) != 0) {
    return errno_error(errno, "sync " + path);
  }
  return ok();
}

}  // namespace

PosixDisk::PosixDisk(EventLoop& loop, PosixDiskOptions options)
    : shared_(std::make_unique<Shared>(loop, options)) {}

PosixDisk::~PosixDisk() = default;

Result<std::shared_ptr<DiskFile>> PosixDisk::open(const std::string& path, OpenMode mode) {
  DFS_TRY(OwnedFd fd, open_path(path, open_flags(mode)));
  // Whoever reads knows what comes next and asks for it. The kernel's read-ahead of each replica
  // would bring in what another one is asked for. Advice: where it is not taken, reads are slower.
  static_cast<void>(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM));
  return std::shared_ptr<DiskFile>(std::make_shared<PosixFile>(*shared_, std::move(fd), path));
}

Status PosixDisk::make_directory(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    // An existing parent is left alone: it need not be ours to write in or to sync.
    const std::string parent = path.substr(0, slash);
    if (::access(parent.c_str(), F_OK) != 0) {
      DFS_CHECK_OK(make_one_directory(parent));
    }
  }
  return make_one_directory(path);
}

Result<std::vector<std::string>> PosixDisk::list(const std::string& path) {
  const std::unique_ptr<DIR, DirectoryCloser> directory(::opendir(path.c_str()));
  if (directory == nullptr) {
    return errno_error(errno, "list " + path);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* const entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") {
      names.push_back(name);
    }
    errno = 0;
  }
  if (errno != 0) {
    return errno_error(errno, "list " + path);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status PosixDisk::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return errno_error(errno, "rename " + from + " to " + to);
  }
  return ok();
}

Status PosixDisk::remove(const std::string& path) {
  if (::remove(path.c_str()) != 0) {
    return errno_error(errno, "remove " + path);
  }
  return ok();
}

Result<DiskSpace> PosixDisk::space(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) {
    return errno_error(errno, "ask for the space of " + path);
  }
  if ((status.f_flag & ST_RDONLY) != 0) {
    return make_error(ErrorCode::kReadOnly, path + " is on a file system mounted read-only");
  }
  // f_bavail: what is left for us, without the blocks reserved for root.
  return DiskSpace{std::uint64_t{status.f_blocks} * status.f_frsize,
                   std::uint64_t{status.f_bavail} * status.f_frsize};
}

Result<std::string> PosixDisk::read_file(const std::string& path) {
  DFS_TRY(const OwnedFd fd, open_path(path, O_RDONLY));
  std::string contents;
  constexpr std::size_t kStepBytes = 4096;
  while (true) {
    const std::size_t before = contents.size();
    contents.resize(before + kStepBytes);
    const std::span<std::byte> step = std::as_writable_bytes(std::span(contents)).subspan(before);
    DFS_TRY(const std::size_t count, read_all(fd.get(), step, before, path));
    contents.resize(before + count);
    if (count < kStepBytes) {
      return contents;
    }
  }
}

Status PosixDisk::write_file(const std::string& path, const std::string& contents) {
  const std::string temporary = path + kTemporarySuffix;
  DFS_CHECK_OK(write_and_sync(temporary, contents));
  DFS_CHECK_OK(rename(temporary, path));
  return sync_directory_now(parent_of(path));
}

void PosixDisk::sync_directory(const std::string& path, std::function<void(Status)> done) {
  shared_->syncs.run([&loop = shared_->loop, path, done = std::move(done)]() mutable {
    answer(loop, std::move(done), sync_directory_now(path));
  });
}

}  // namespace dfs::real
