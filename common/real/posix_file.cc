#include "common/real/posix_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/assert.h"
#include "common/real/errno_error.h"
#include "common/real/file_calls.h"

namespace dfs::real {
namespace {

// Memory for a read, not set to anything before.
struct Block {
  explicit Block(std::uint64_t size_bytes)
      : bytes(std::make_shared_for_overwrite<std::byte[]>(size_bytes)), size(size_bytes) {}

  std::span<std::byte> from(std::size_t offset) const {
    return {bytes.get() + offset, size - offset};
  }
  Buffer first(std::size_t count) const { return Buffer(bytes, bytes.get(), count); }

  std::shared_ptr<std::byte[]> bytes;
  std::size_t size;
};

}  // namespace

void PosixFile::read(std::uint64_t offset, std::uint64_t size_bytes,
                     std::function<void(Result<Buffer>)> done) {
  const Block block(size_bytes);
  std::size_t cached = 0;
  if (can_read_cached_ && size_bytes <= disk_.options.inline_bytes_max) {
    const CacheTransfer transfer = read_cached(fd_.get(), block.from(0), offset);
    can_read_cached_ = transfer.is_supported;
    cached = transfer.done_bytes;
    if (cached == size_bytes) {
      disk_.loop.post([block, cached, done = std::move(done)] { done(block.first(cached)); });
      return;
    }
  }
  disk_.transfers.run(
      [self = shared_from_this(), block, offset, cached, done = std::move(done)]() mutable {
        auto count = read_all(self->fd_.get(), block.from(cached), offset + cached, self->path_);
        Result<Buffer> result =
            count ? Result<Buffer>(block.first(cached + *count)) : std::move(count).error();
        answer(self->disk_.loop, std::move(done), std::move(result));
      });
}

void PosixFile::write(std::uint64_t offset, Buffer data, std::function<void(Status)> done) {
  std::size_t cached = 0;
  if (can_write_cached_ && data.size() <= disk_.options.inline_bytes_max) {
    const CacheTransfer transfer = write_cached(fd_.get(), data.bytes(), offset);
    can_write_cached_ = transfer.is_supported;
    cached = transfer.done_bytes;
    if (cached == data.size()) {
      disk_.loop.post([done = std::move(done)] { done(ok()); });
      return;
    }
  }
  disk_.transfers.run([self = shared_from_this(), offset, data = std::move(data), cached,
                       done = std::move(done)]() mutable {
    Status status =
        write_all(self->fd_.get(), data.bytes().subspan(cached), offset + cached, self->path_);
    answer(self->disk_.loop, std::move(done), std::move(status));
  });
}

void PosixFile::sync(std::function<void(Status)> done) {
  {
    const std::lock_guard lock(sync_mutex_);
    waiting_syncs_.push_back(std::move(done));
    if (is_sync_queued_ || is_sync_running_) {
      return;
    }
    is_sync_queued_ = true;
  }
  queue_sync();
}

// The caller has set is_sync_queued_, and let go of the lock.
void PosixFile::queue_sync() {
  disk_.syncs.run([self = shared_from_this()] { self->run_sync(); });
}

void PosixFile::run_sync() {
  std::vector<SyncDone> served;
  std::optional<Error> failure;
  {
    const std::lock_guard lock(sync_mutex_);
    DFS_ASSERT(is_sync_queued_ && !is_sync_running_);
    served.swap(waiting_syncs_);
    is_sync_queued_ = false;
    is_sync_running_ = true;
    failure = sync_failure_;
  }
  if (!failure && ::fdatasync(fd_.get()) != 0) {
    failure = errno_error(errno, "sync " + path_);
  }
  bool must_go_on = false;
  {
    const std::lock_guard lock(sync_mutex_);
    is_sync_running_ = false;
    sync_failure_ = failure;
    must_go_on = !waiting_syncs_.empty();
    is_sync_queued_ = must_go_on;
  }
  if (must_go_on) {
    queue_sync();
  }
  disk_.loop.post_from_thread([served = std::move(served), failure = std::move(failure)] {
    for (const SyncDone& done : served) {
      done(failure ? Status(*failure) : ok());
    }
  });
}

Result<std::uint64_t> PosixFile::size_bytes() {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) {
    return errno_error(errno, "stat " + path_);
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<Buffer> PosixFile::read_now(std::uint64_t offset, std::uint64_t size_bytes) {
  const Block block(size_bytes);
  DFS_TRY(const std::size_t count, read_all(fd_.get(), block.from(0), offset, path_));
  return block.first(count);
}

Status PosixFile::truncate_now(std::uint64_t size_bytes) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error(errno, "truncate " + path_);
  }
  return ok();
}

}  // namespace dfs::real
