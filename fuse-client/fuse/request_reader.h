// Reads the kernel's requests, and bounds what writes that wait take of this process's memory.
//
// The kernel has one queue for requests of all kinds, interrupts among them: a write must be read
// whether there is room for it or not, and each thread that writes can have one. Up to
// kHeldBytesMax of their bytes lie here. Behind that, requests are spliced into a pipe, and the
// bytes of writes go from there to where the kernel keeps them (left_writes.h). One thread.
#pragma once

#include <cstdint>
#include <memory>

#include "common/buffer.h"
#include "common/ids.h"
#include "fuse-client/core/write_data.h"
#include "fuse-client/fuse/fuse_api.h"
#include "fuse-client/fuse/left_writes.h"
#include "fuse-client/fuse/transit_pipe.h"

namespace dfs::fuse {

// Of data in a request: what libfuse takes at most, 256 pages. That and a head need a pipe of more
// than 1 MiB, and with it CAP_SYS_RESOURCE.
inline constexpr std::uint32_t kRequestBytesMax = 1u << 20;
// Without it: what fits a pipe of 1 MiB. Programs that write 1 MiB at once have two requests for
// it, as they would with half as much, and measure the same.
inline constexpr std::uint32_t kPipeRequestBytesMax = kRequestBytesMax - 4096;
inline constexpr std::uint64_t kHeldBytesMax = 32u << 20;
// Smaller writes take no less of this process where their bytes are left.
inline constexpr std::uint32_t kLeftBytesMin = 4u << 10;

class RequestReader {
 public:
  RequestReader();
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // The largest request that a pipe of this process can hold, so the most to let the kernel send.
  std::uint32_t request_bytes_max() const { return request_bytes_max_; }

  // The next request, for fuse_session_process_buf; of one whose bytes are in the pipe it is the
  // head alone. `waiting_bytes` is what the core holds of writes that wait. 0: the connection has
  // ended; negative: nothing came, -EAGAIN or -EINTR, or the connection failed.
  int receive(fuse_session* session, std::uint64_t waiting_bytes);
  char* memory() const;
  // The data of the write just received, which libfuse says are at `data`.
  client::WriteData write_data(InodeId inode, std::uint64_t offset, const char* data,
                               std::size_t size_bytes);
  // The kernel is about to be told that the file has this size.
  void before_size(InodeId inode, std::uint64_t size_bytes) {
    left_->before_size(inode, size_bytes);
  }

  std::uint64_t held_bytes() const { return *held_; }
  const LeftWrites& left() const { return *left_; }

 private:
  struct Memory;
  using Held = std::shared_ptr<std::uint64_t>;

  void prepare(std::uint64_t waiting_bytes);
  int receive_through_pipe(fuse_session* session);

  Held held_;
  std::shared_ptr<Memory> memory_;
  // As large as the largest request needs. Null: there is none to be had, and what is to be left is
  // copied from here.
  std::unique_ptr<TransitPipe> pipe_;
  std::uint32_t request_bytes_max_ = kRequestBytesMax;
  std::shared_ptr<LeftWrites> left_;
  bool leaves_ = false;      // what comes now
  std::size_t in_pipe_ = 0;  // of the request being handled
};

}  // namespace dfs::fuse
