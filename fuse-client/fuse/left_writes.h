// The bytes of writes that wait, left with the kernel until they are taken.
//
// splice(2) moves references to a request's pages from the pipe it came through into the queues of
// unix sockets, kSocketBytes or somewhat more each. Nothing is copied, a queue stays readable when
// its sending end is closed, and, unlike those of pipes, such pages are counted for no user: any
// number of them takes a descriptor for each socket. (Of files opened for direct I/O the kernel has
// no pages, and copies the bytes into some of its own.)
//
// Else the bytes are copied into a file without a name, which is memory of the kernel, too, and
// can be swapped out: where there is no socket (half of RLIMIT_NOFILE is used up) and where the
// pages are about to change. Other clients may truncate the file meanwhile, and what the kernel
// then cuts off its pages would be missing from the write. So whoever tells the kernel a size calls
// before_size() first. A write whose bytes the system has no memory for fails with EIO. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/buffer.h"
#include "common/ids.h"
#include "common/result.h"
#include "fuse-client/core/write_data.h"
#include "fuse-client/fuse/transit_pipe.h"

namespace dfs::fuse {

// What a socket is asked to hold. The kernel doubles it, and counts a little besides the bytes. By
// default any user may have so much (net.core.wmem_max).
inline constexpr int kSocketBytes = 212992;

// Copies of bytes, each in a place of its own of a file.
class CopyFile {
 public:
  // No copy is longer.
  explicit CopyFile(std::size_t copy_bytes_max);
  ~CopyFile();
  CopyFile(const CopyFile&) = delete;
  CopyFile& operator=(const CopyFile&) = delete;

  // The place; null: the system has no memory for it.
  std::optional<std::uint64_t> add(std::span<const std::byte> bytes);
  bool read(std::uint64_t place, char* to, std::size_t size_bytes) const;
  void remove(std::uint64_t place);

 private:
  std::size_t copy_bytes_max_;
  int fd_;
  std::vector<std::uint64_t> free_places_;
  std::uint64_t places_ = 0;
};

class LeftWrites : public std::enable_shared_from_this<LeftWrites> {
 public:
  LeftWrites(std::size_t write_bytes_max, std::size_t sockets_max)
      : copies_(write_bytes_max), sockets_max_(sockets_max) {}
  LeftWrites(const LeftWrites&) = delete;
  LeftWrites& operator=(const LeftWrites&) = delete;

  // Takes so many bytes, all of them, out of the pipe. `end` is where they end in their file.
  client::WriteData take(TransitPipe& pipe, std::size_t size_bytes, InodeId inode,
                         std::uint64_t end);
  client::WriteData copy(std::span<const std::byte> bytes, InodeId inode, std::uint64_t end);
  // The kernel is about to be told that the file has this size.
  void before_size(InodeId inode, std::uint64_t size_bytes);

  std::size_t count() const { return by_inode_.size(); }
  std::size_t sockets() const { return sockets_; }

 private:
  class Left;
  class SocketQueue;

  std::shared_ptr<Left> add(InodeId inode, std::uint64_t end, std::size_t size_bytes);
  static client::WriteData data_of(const std::shared_ptr<Left>& left);

  CopyFile copies_;
  std::size_t sockets_max_;
  std::size_t sockets_ = 0;
  std::multimap<InodeId, Left*> by_inode_;
};

}  // namespace dfs::fuse
