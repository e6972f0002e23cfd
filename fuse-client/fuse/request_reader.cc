#include "fuse-client/fuse/request_reader.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "common/assert.h"

namespace dfs::fuse {
namespace {

constexpr std::size_t kMemoryBytes = kRequestBytesMax + 4096;  // with a header
constexpr std::size_t kWriteHeadBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr std::size_t kPipePageBytes = 4096;

// With a page for the head. The kernel counts by pages, too: it sends less of data that begin in
// the middle of one. What does not fit it would take for sent.
constexpr std::size_t pipe_bytes(std::uint32_t request_bytes) {
  return request_bytes + kPipePageBytes;
}

bool is_write(const char* head) {
  fuse_in_header header{};
  std::memcpy(&header, head, sizeof header);
  return header.opcode == FUSE_WRITE;
}

// The other half is for connections.
std::size_t sockets_max() {
  rlimit descriptors{};
  return getrlimit(RLIMIT_NOFILE, &descriptors) == 0 ? descriptors.rlim_cur / 2 : 0;
}

}  // namespace

struct RequestReader::Memory {
  explicit Memory(Held held_bytes) : held(std::move(held_bytes)) { *held += kMemoryBytes; }
  ~Memory() { *held -= kMemoryBytes; }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::unique_ptr<char[]> bytes = std::make_unique_for_overwrite<char[]>(kMemoryBytes);
  Held held;
};

RequestReader::RequestReader()
    : held_(std::make_shared<std::uint64_t>(0)),
      memory_(std::make_shared<Memory>(held_)),
      pipe_(TransitPipe::create(pipe_bytes(kRequestBytesMax))),
      left_(std::make_shared<LeftWrites>(kRequestBytesMax, sockets_max())) {
  if (!pipe_) {
    request_bytes_max_ = kPipeRequestBytesMax;
  }
}

RequestReader::~RequestReader() = default;

char* RequestReader::memory() const { return memory_->bytes.get(); }

int RequestReader::receive(fuse_session* session, std::uint64_t waiting_bytes) {
  prepare(waiting_bytes);
  if (leaves_ && pipe_) {
    return receive_through_pipe(session);
  }
  fuse_buf buffer{};
  buffer.mem = memory();
  return fuse_session_receive_buf(session, &buffer);
}

void RequestReader::prepare(std::uint64_t waiting_bytes) {
  // A write that has to wait keeps the memory it came in; the next request gets its own.
  if (memory_.use_count() > 1) {
    memory_ = std::make_shared<Memory>(held_);
  }
  if (in_pipe_ > 0) {  // nobody wanted them
    pipe_->read(memory(), std::exchange(in_pipe_, 0));
  }
  leaves_ = waiting_bytes + *held_ > kHeldBytesMax;
  if (leaves_ && !pipe_) {
    pipe_ = TransitPipe::create(pipe_bytes(request_bytes_max_));
  }
}

int RequestReader::receive_through_pipe(fuse_session* session) {
  const ssize_t received =
      splice(fuse_session_fd(session), nullptr, pipe_->in(), nullptr, kMemoryBytes, 0);
  if (received <= 0) {
    // As read(2) of the device: the request was given up meanwhile, or there is no mount any more.
    const int error = received == 0 || errno == ENODEV ? 0 : errno;
    return error == ENOENT || error == ENOMEM ? -EINTR : -error;
  }
  const auto size = static_cast<std::size_t>(received);
  const std::size_t head = std::min(size, kWriteHeadBytes);
  pipe_->read(memory(), head);
  if (is_write(memory()) && size >= kWriteHeadBytes + kLeftBytesMin) {
    in_pipe_ = size - head;
  } else {
    pipe_->read(memory() + head, size - head);
  }
  return static_cast<int>(size);
}

client::WriteData RequestReader::write_data(InodeId inode, std::uint64_t offset, const char* data,
                                            std::size_t size_bytes) {
  const std::uint64_t end = offset + size_bytes;
  if (in_pipe_ > 0) {
    DFS_ASSERT(in_pipe_ == size_bytes);
    in_pipe_ = 0;
    return left_->take(*pipe_, size_bytes, inode, end);
  }
  const auto* const bytes = reinterpret_cast<const std::byte*>(data);
  if (leaves_ && size_bytes >= kLeftBytesMin) {
    return left_->copy(std::span(bytes, size_bytes), inode, end);
  }
  return Buffer(memory_, bytes, size_bytes);
}

}  // namespace dfs::fuse
