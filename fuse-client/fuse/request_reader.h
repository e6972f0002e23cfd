// Reads the kernel's requests, and bounds what writes that wait take of this process's memory.
//
// The kernel has one queue for requests of all kinds, interrupts among them: a write must be read
// whether there is room for it or not, and each thread that writes can have one. Up to
// kHeldBytesMax of their bytes lie here. Behind that the bytes of a large write are left with the
// kernel until it is taken: splice(2) puts references to its pages into a pipe. Of files opened for
// direct I/O the kernel copies them, into memory of its own.
//
// Other clients may truncate the file meanwhile, and what the kernel then cuts off its pages would
// be missing from the write. So whoever tells the kernel a size calls before_size() first, and the
// bytes are copied into the pipe.
//
// A pipe of more than 1 MiB needs CAP_SYS_RESOURCE: without it a request is a page less, and its
// head has the page. An ordinary user's pipes are few: his requests are smaller, and where no pipe
// is to be had the bytes are read at once all the same. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "common/buffer.h"
#include "common/ids.h"
#include "fuse-client/core/write_data.h"
#include "fuse-client/fuse/fuse_api.h"

namespace dfs::fuse {

// Of data in a request: what libfuse takes at most, 256 pages.
inline constexpr std::uint32_t kRequestBytesMax = 1u << 20;
// What fits a pipe of 1 MiB together with a head.
inline constexpr std::uint32_t kPipeRequestBytesMax = kRequestBytesMax - 4096;
// For an ordinary user.
inline constexpr std::uint32_t kUserRequestBytesMax = 128u << 10;
inline constexpr std::uint64_t kHeldBytesMax = 32u << 20;
// Smaller writes are not worth a pipe.
inline constexpr std::uint32_t kLeftBytesMin = 16u << 10;

class RequestReader {
 public:
  RequestReader();
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // The largest request that a pipe of this process can hold, so the most to let the kernel send.
  std::uint32_t request_bytes_max() const { return request_bytes_max_; }

  // The next request, for fuse_session_process_buf; of one whose bytes are left there is the head
  // alone. `waiting_bytes` is what the core holds of writes that wait. 0: the connection has ended;
  // negative: nothing came, -EAGAIN or -EINTR, or the connection failed.
  int receive(fuse_session* session, std::uint64_t waiting_bytes);
  char* memory() const;
  // The data of the write just received, which libfuse says are at `data`.
  client::WriteData write_data(InodeId inode, std::uint64_t offset, const char* data,
                               std::size_t size_bytes);
  // The kernel is about to be told that the file has this size.
  void before_size(InodeId inode, std::uint64_t size_bytes);

  std::uint64_t held_bytes() const { return *held_; }
  std::size_t left_count() const { return left_->size(); }

 private:
  struct Memory;
  class Pipe;
  class LeftBytes;
  using Held = std::shared_ptr<std::uint64_t>;
  using Left = std::multimap<InodeId, LeftBytes*>;

  std::unique_ptr<Pipe> new_pipe() const;
  int receive_into(std::unique_ptr<Pipe> pipe, fuse_session* session);

  Held held_;
  std::shared_ptr<Left> left_;
  std::shared_ptr<Memory> memory_;
  std::unique_ptr<Pipe> pipe_;  // with the data of the request being handled
  std::uint32_t request_bytes_max_ = kRequestBytesMax;
  std::size_t left_count_max_ = 0;
};

}  // namespace dfs::fuse
