#include "fuse-client/fuse/transit_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/assert.h"

namespace dfs::fuse {

std::unique_ptr<TransitPipe> TransitPipe::create(std::size_t size_bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return nullptr;
  }
  std::unique_ptr<TransitPipe> pipe(new TransitPipe(ends[0], ends[1]));
  const int given = fcntl(pipe->in(), F_SETPIPE_SZ, static_cast<int>(size_bytes));
  return given < static_cast<int>(size_bytes) ? nullptr : std::move(pipe);
}

TransitPipe::~TransitPipe() {
  close(in_);
  close(out_);
}

void TransitPipe::read(char* to, std::size_t size_bytes) {
  while (size_bytes > 0) {
    const ssize_t got = ::read(out_, to, size_bytes);
    DFS_ASSERT(got > 0);
    to += got;
    size_bytes -= static_cast<std::size_t>(got);
  }
}

}  // namespace dfs::fuse
