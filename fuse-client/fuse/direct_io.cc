#include "fuse-client/fuse/direct_io.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace dfs::fuse {

void DirectIoHandshake::note_request(const char* request, std::size_t size_bytes) {
  fuse_in_header header{};
  fuse_init_in init{};
  if (size_bytes < sizeof header + sizeof init) {
    return;  // an older kernel's is shorter
  }
  std::memcpy(&header, request, sizeof header);
  if (header.opcode != FUSE_INIT) {
    return;
  }
  std::memcpy(&init, request + sizeof header, sizeof init);
  if ((init.flags & FUSE_INIT_EXT) != 0 && (init.flags2 & kAllowMmapFlag2) != 0) {
    asked_ = header.unique;
  }
}

ssize_t DirectIoHandshake::send(int fd, const iovec* parts, int count) {
  fuse_out_header header{};
  fuse_init_out init{};
  if (!asked_ || count != 2 || parts[0].iov_len != sizeof header ||
      parts[1].iov_len != sizeof init) {
    return writev(fd, parts, count);
  }
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  if (header.unique != *asked_) {
    return writev(fd, parts, count);
  }
  asked_.reset();
  allows_mmap_ = true;
  std::memcpy(&init, parts[1].iov_base, sizeof init);
  init.flags |= FUSE_INIT_EXT;
  init.flags2 |= kAllowMmapFlag2;
  const std::array<iovec, 2> changed = {{{.iov_base = &header, .iov_len = sizeof header},
                                         {.iov_base = &init, .iov_len = sizeof init}}};
  return writev(fd, changed.data(), static_cast<int>(changed.size()));
}

bool opens_directly(int flags, bool is_contended, bool allows_mmap) {
  const bool is_written = (flags & O_ACCMODE) != O_RDONLY;
  const bool appends = is_written && (flags & O_APPEND) != 0;
  if (!allows_mmap) {
    return appends && (flags & O_ACCMODE) == O_WRONLY;
  }
  return appends || is_contended;
}

}  // namespace dfs::fuse
