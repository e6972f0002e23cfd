#include "fuse-client/fuse/captured_stderr.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace dfs::fuse {

CapturedStderr::CapturedStderr() {
  kept_ = memfd_create("stderr", MFD_CLOEXEC);
  if (kept_ >= 0) {
    original_ = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  }
  if (original_ >= 0) {
    dup2(kept_, STDERR_FILENO);
  }
}

void CapturedStderr::restore() {
  if (original_ >= 0) {
    dup2(original_, STDERR_FILENO);
    close(original_);
    original_ = -1;
  }
  if (kept_ >= 0) {
    close(kept_);
    kept_ = -1;
  }
}

std::string CapturedStderr::text() {
  std::array<char, kTextBytesMax> bytes{};
  const ssize_t size = original_ >= 0 ? pread(kept_, bytes.data(), bytes.size(), 0) : 0;
  restore();
  std::string line(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  while (!line.empty() && line.back() == '\n') {
    line.pop_back();
  }
  for (std::size_t at = 0; (at = line.find('\n', at)) != std::string::npos;) {
    line.replace(at, 1, "; ");
  }
  return line;
}

}  // namespace dfs::fuse
