#include "fuse-client/fuse/left_writes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace dfs::fuse {

CopyFile::CopyFile(std::size_t copy_bytes_max)
    : copy_bytes_max_(copy_bytes_max), fd_(memfd_create("dfs writes that wait", MFD_CLOEXEC)) {}

CopyFile::~CopyFile() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

std::optional<std::uint64_t> CopyFile::add(std::span<const std::byte> bytes) {
  DFS_ASSERT(bytes.size() <= copy_bytes_max_);
  if (free_places_.empty()) {
    free_places_.push_back(places_++);
  }
  const std::uint64_t place = free_places_.back();
  free_places_.pop_back();
  const auto at = static_cast<off_t>(place * copy_bytes_max_);
  if (pwrite(fd_, bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size())) {
    remove(place);
    return std::nullopt;
  }
  return place;
}

bool CopyFile::read(std::uint64_t place, char* to, std::size_t size_bytes) const {
  const auto at = static_cast<off_t>(place * copy_bytes_max_);
  return pread(fd_, to, size_bytes, at) == static_cast<ssize_t>(size_bytes);
}

void CopyFile::remove(std::uint64_t place) {
  // If it fails, the memory is free when the place is used again and then given up.
  static_cast<void>(fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(place * copy_bytes_max_),
                              static_cast<off_t>(copy_bytes_max_)));
  free_places_.push_back(place);
}

// What one socket holds.
class LeftWrites::SocketQueue {
 public:
  // As many of the next bytes in the pipe as it takes; null if there is none to be had.
  static std::optional<SocketQueue> filled(TransitPipe& pipe, std::size_t bytes_max) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
      return std::nullopt;
    }
    SocketQueue queue(ends[0]);
    // Refused or less than asked for: it takes more of them.
    static_cast<void>(
        setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof kSocketBytes));
    ssize_t moved = 0;
    while (queue.size_ < bytes_max &&
           (moved = splice(pipe.out(), nullptr, ends[1], nullptr, bytes_max - queue.size_,
                           SPLICE_F_NONBLOCK)) > 0) {
      queue.size_ += static_cast<std::size_t>(moved);
    }
    close(ends[1]);
    return queue.size_ > 0 ? std::optional(std::move(queue)) : std::nullopt;
  }
  ~SocketQueue() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  SocketQueue(SocketQueue&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  SocketQueue& operator=(SocketQueue&&) = delete;

  std::size_t size() const { return size_; }
  bool read(char* to) const {
    for (std::size_t done = 0; done < size_;) {
      const ssize_t got = ::read(fd_, to + done, size_ - done);
      if (got <= 0) {
        return false;
      }
      done += static_cast<std::size_t>(got);
    }
    return true;
  }

 private:
  explicit SocketQueue(int fd) : fd_(fd) {}

  int fd_;
  std::size_t size_ = 0;
};

// Of one write: first what is in sockets, then what is in the file.
class LeftWrites::Left {
 public:
  Left(std::shared_ptr<LeftWrites> all, InodeId inode, std::uint64_t end, std::size_t size_bytes)
      : all_(std::move(all)),
        end_(end),
        size_(size_bytes),
        place_(all_->by_inode_.emplace(inode, this)) {}
  ~Left() {
    all_->by_inode_.erase(place_);
    drop();
  }
  Left(const Left&) = delete;
  Left& operator=(const Left&) = delete;

  std::uint64_t end() const { return end_; }
  std::size_t size() const { return size_; }

  void take(TransitPipe& pipe) {
    while (queued_ < size_ && all_->sockets_ < all_->sockets_max_) {
      std::optional<SocketQueue> queue = SocketQueue::filled(pipe, size_ - queued_);
      if (!queue) {
        break;
      }
      queued_ += queue->size();
      queues_.push_back(std::move(*queue));
      ++all_->sockets_;
    }
    if (queued_ < size_) {
      std::vector<std::byte> rest(size_ - queued_);
      pipe.read(reinterpret_cast<char*>(rest.data()), rest.size());
      copy(rest);
    }
  }
  void copy(std::span<const std::byte> bytes) { copied_ = all_->copies_.add(bytes); }
  // Once, and not when they have been detached after that.
  Result<Buffer> read() {
    const std::shared_ptr<char[]> bytes(new char[size_]);
    char* to = bytes.get();
    bool is_read = true;
    for (const SocketQueue& queue : queues_) {
      is_read = is_read && queue.read(to);
      to += queue.size();
    }
    if (queued_ < size_) {
      is_read = is_read && copied_ && all_->copies_.read(*copied_, to, size_ - queued_);
    }
    if (!is_read) {
      return make_error(ErrorCode::kIo, "no memory for a write that waits");
    }
    return Buffer(bytes, reinterpret_cast<const std::byte*>(bytes.get()), size_);
  }
  // They are not those of the file's pages any more.
  void detach() {
    if (queues_.empty()) {
      return;
    }
    const Result<Buffer> bytes = read();
    drop();
    if (bytes) {
      copy(bytes->bytes());
    }
  }

 private:
  void drop() {
    all_->sockets_ -= queues_.size();
    queues_.clear();
    queued_ = 0;
    if (copied_) {
      all_->copies_.remove(*std::exchange(copied_, std::nullopt));
    }
  }

  std::shared_ptr<LeftWrites> all_;
  std::uint64_t end_;
  std::size_t size_;
  std::vector<SocketQueue> queues_;
  std::size_t queued_ = 0;               // bytes in them
  std::optional<std::uint64_t> copied_;  // where the rest is; null: lost, if there is a rest
  std::multimap<InodeId, Left*>::iterator place_;
};

client::WriteData LeftWrites::take(TransitPipe& pipe, std::size_t size_bytes, InodeId inode,
                                   std::uint64_t end) {
  const std::shared_ptr<Left> left = add(inode, end, size_bytes);
  left->take(pipe);
  return data_of(left);
}

client::WriteData LeftWrites::copy(std::span<const std::byte> bytes, InodeId inode,
                                   std::uint64_t end) {
  const std::shared_ptr<Left> left = add(inode, end, bytes.size());
  left->copy(bytes);
  return data_of(left);
}

void LeftWrites::before_size(InodeId inode, std::uint64_t size_bytes) {
  const auto [begin, end] = by_inode_.equal_range(inode);
  for (auto at = begin; at != end; ++at) {
    if (at->second->end() > size_bytes) {
      at->second->detach();
    }
  }
}

std::shared_ptr<LeftWrites::Left> LeftWrites::add(InodeId inode, std::uint64_t end,
                                                  std::size_t size_bytes) {
  return std::make_shared<Left>(shared_from_this(), inode, end, size_bytes);
}

client::WriteData LeftWrites::data_of(const std::shared_ptr<Left>& left) {
  return client::WriteData(left->size(), [left] { return left->read(); });
}

}  // namespace dfs::fuse
