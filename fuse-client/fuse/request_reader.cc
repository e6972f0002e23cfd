#include "fuse-client/fuse/request_reader.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "common/result.h"

namespace dfs::fuse {
namespace {

constexpr std::size_t kMemoryBytes = kRequestBytesMax + 4096;  // with a header
constexpr std::size_t kWriteHeadBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr std::size_t kPipePageBytes = 4096;

// With a page for the head. The kernel counts by pages, too: it sends less of data that begin in
// the middle of one.
constexpr std::size_t pipe_bytes(std::uint32_t request_bytes) {
  return request_bytes + kPipePageBytes;
}

bool is_write(const char* head) {
  fuse_in_header header{};
  std::memcpy(&header, head, sizeof header);
  return header.opcode == FUSE_WRITE;
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

class RequestReader::Pipe {
 public:
  // Null: the system has none of this size for us.
  static std::unique_ptr<Pipe> create(std::size_t size_bytes) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
      return nullptr;
    }
    std::unique_ptr<Pipe> pipe(new Pipe(ends[0], ends[1]));
    const int given = fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(size_bytes));
    if (given < static_cast<int>(size_bytes)) {
      return nullptr;
    }
    return pipe;
  }
  ~Pipe() {
    close_input();
    close(out_);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int in() const { return in_; }
  void close_input() {
    if (in_ >= 0) {
      close(std::exchange(in_, -1));
    }
  }
  bool write_all(std::span<const std::byte> bytes) {
    const bool is_whole =
        write(in_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    close_input();
    return is_whole;
  }
  bool read_exactly(char* to, std::size_t size_bytes) {
    while (size_bytes > 0) {
      const ssize_t got = read(out_, to, size_bytes);
      if (got <= 0) {
        return false;
      }
      to += got;
      size_bytes -= static_cast<std::size_t>(got);
    }
    return true;
  }

 private:
  Pipe(int out, int in) : out_(out), in_(in) {}
  int out_;
  int in_;
};

// Of one write. Known by its inode until it goes.
class RequestReader::LeftBytes {
 public:
  LeftBytes(std::unique_ptr<Pipe> pipe, std::size_t size_bytes, std::uint64_t end, Held held,
            std::shared_ptr<Left> all, InodeId inode)
      : pipe_(std::move(pipe)),
        size_(size_bytes),
        end_(end),
        held_(std::move(held)),
        all_(std::move(all)),
        place_(all_->emplace(inode, this)) {}
  ~LeftBytes() {
    all_->erase(place_);
    *held_ -= bytes_.size();
  }
  LeftBytes(const LeftBytes&) = delete;
  LeftBytes& operator=(const LeftBytes&) = delete;

  std::uint64_t end() const { return end_; }
  Result<Buffer> take() { return bytes_.empty() ? read() : Result<Buffer>(bytes_); }
  // They are not those of the file's pages any more.
  void detach() {
    if (std::exchange(is_detached_, true)) {
      return;
    }
    Result<Buffer> bytes = read();
    std::unique_ptr<Pipe> pipe = Pipe::create(pipe_bytes(static_cast<std::uint32_t>(size_)));
    if (bytes && !(pipe && pipe->write_all(bytes->bytes()))) {
      bytes_ = *bytes;
      *held_ += bytes_.size();
    }
    pipe_ = std::move(pipe);
  }

 private:
  Result<Buffer> read() {
    const std::shared_ptr<char[]> bytes(new char[size_]);
    if (!pipe_ || !pipe_->read_exactly(bytes.get(), size_)) {
      return make_error(ErrorCode::kIo, "what the kernel sent of a write cannot be read");
    }
    return Buffer(bytes, reinterpret_cast<const std::byte*>(bytes.get()), size_);
  }

  std::unique_ptr<Pipe> pipe_;
  std::size_t size_;
  std::uint64_t end_;
  Buffer bytes_;  // where there was no pipe for them
  bool is_detached_ = false;
  Held held_;
  std::shared_ptr<Left> all_;
  Left::iterator place_;
};

RequestReader::RequestReader()
    : held_(std::make_shared<std::uint64_t>(0)),
      left_(std::make_shared<Left>()),
      memory_(std::make_shared<Memory>(held_)) {
  if (geteuid() != 0) {
    request_bytes_max_ = kUserRequestBytesMax;
  } else if (!new_pipe()) {
    request_bytes_max_ = kPipeRequestBytesMax;
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    left_count_max_ = files.rlim_cur / 2;
  }
}

RequestReader::~RequestReader() = default;

char* RequestReader::memory() const { return memory_->bytes.get(); }

std::unique_ptr<RequestReader::Pipe> RequestReader::new_pipe() const {
  return Pipe::create(pipe_bytes(request_bytes_max_));
}

int RequestReader::receive(fuse_session* session, std::uint64_t waiting_bytes) {
  pipe_.reset();
  // A write that has to wait keeps the memory it came in; the next request gets its own.
  if (memory_.use_count() > 1) {
    memory_ = std::make_shared<Memory>(held_);
  }
  if (waiting_bytes + *held_ > kHeldBytesMax && left_->size() < left_count_max_) {
    if (auto pipe = new_pipe()) {
      return receive_into(std::move(pipe), session);
    }
  }
  fuse_buf buffer{};
  buffer.mem = memory();
  return fuse_session_receive_buf(session, &buffer);
}

int RequestReader::receive_into(std::unique_ptr<Pipe> pipe, fuse_session* session) {
  const ssize_t received =
      splice(fuse_session_fd(session), nullptr, pipe->in(), nullptr, kMemoryBytes, 0);
  if (received <= 0) {
    // As read(2) of the device: the request was given up meanwhile, or there is no mount any more.
    const int error = received == 0 || errno == ENODEV ? 0 : errno;
    return error == ENOENT || error == ENOMEM ? -EINTR : -error;
  }
  const auto size = static_cast<std::size_t>(received);
  const std::size_t head = std::min(size, kWriteHeadBytes);
  if (!pipe->read_exactly(memory(), head)) {
    return -EIO;
  }
  if (is_write(memory()) && size >= kWriteHeadBytes + kLeftBytesMin) {
    pipe->close_input();
    pipe_ = std::move(pipe);
  } else if (!pipe->read_exactly(memory() + head, size - head)) {
    return -EIO;
  }
  return static_cast<int>(size);
}

client::WriteData RequestReader::write_data(InodeId inode, std::uint64_t offset, const char* data,
                                            std::size_t size_bytes) {
  if (!pipe_) {
    return Buffer(memory_, reinterpret_cast<const std::byte*>(data), size_bytes);
  }
  const auto left = std::make_shared<LeftBytes>(std::move(pipe_), size_bytes, offset + size_bytes,
                                                held_, left_, inode);
  return client::WriteData(size_bytes, [left] { return left->take(); });
}

void RequestReader::before_size(InodeId inode, std::uint64_t size_bytes) {
  const auto [begin, end] = left_->equal_range(inode);
  for (auto at = begin; at != end; ++at) {
    if (at->second->end() > size_bytes) {
      at->second->detach();
    }
  }
}

}  // namespace dfs::fuse
