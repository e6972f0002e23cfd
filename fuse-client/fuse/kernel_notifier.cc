#include "fuse-client/fuse/kernel_notifier.h"

#include <linux/fuse.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "fuse-client/fuse/fuse_api.h"
#include "proto/limits.h"

namespace dfs::fuse {
namespace {

// One that waits for a write keeps its thread until that is answered: with more files than threads
// that are written from several clients at a time, they wait for each other (kDropWait at most).
constexpr std::size_t kThreads = 16;
// An inode that was just given to the kernel may not have arrived: the request that asked for it
// has its answer, and has not run yet.
constexpr int kAttempts = 10;
constexpr std::chrono::milliseconds kQuiesceWait{100};
constexpr std::chrono::milliseconds kAttemptDelay{1};

}  // namespace

KernelNotifier::KernelNotifier(fuse_session* session, std::function<void(Task)> post,
                               Listener listener)
    : session_(session), post_(std::move(post)), listener_(listener) {
  for (std::size_t i = 0; i < kThreads; ++i) {
    threads_.emplace_back([this] { run(); });
  }
}

void KernelNotifier::quiesce() {
  std::deque<Job> unsent;
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    unsent.swap(pending_);
    wake_.notify_all();
    ended_.wait_for(lock, kQuiesceWait, [this] { return under_way_ == 0; });
  }
  for (Job& job : unsent) {
    finish(job);
  }
}

void KernelNotifier::stop(const std::function<void()>& end_connection) {
  quiesce();
  if (threads_.empty()) {
    return;
  }
  end_connection();
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
}

void KernelNotifier::drop_attributes(std::uint64_t inode, Task done) {
  // A negative offset: attributes alone.
  submit([this, inode] { drop(inode, -1, 0); }, std::move(done));
}

void KernelNotifier::drop_contents(std::uint64_t inode, std::uint64_t begin, std::uint64_t end,
                                   Task done) {
  // A length of 0 reaches to the end of the file.
  const std::uint64_t length = end > kFileBytesMax ? 0 : end - begin;
  submit(
      [this, inode, begin, length] {
        drop(inode, static_cast<std::int64_t>(begin), static_cast<std::int64_t>(length));
      },
      std::move(done));
}

void KernelNotifier::expire_name(std::uint64_t directory, std::string name, Task done) {
  auto notify = [this, directory, name = std::move(name)] {
    const int expired = fuse_lowlevel_notify_expire_entry(session_, directory, name.data(),
                                                          name.size(), FUSE_LL_EXPIRE_ONLY);
    if (expired == -ENOSYS) {  // kernels before 6.2
      fuse_lowlevel_notify_inval_entry(session_, directory, name.data(), name.size());
    }
  };
  submit(std::move(notify), std::move(done));
}

void KernelNotifier::lengthen(std::uint64_t inode, std::uint64_t size_bytes,
                              std::shared_ptr<SizeNotification> notification, Task done) {
  auto notify = [this, inode, size_bytes, notification = std::move(notification)] {
    if (notification->begin()) {
      store_last_byte(inode, size_bytes);
    }
  };
  submit(std::move(notify), std::move(done));
}

// The only notification that sets a size is one that stores bytes in the page cache. It sets the
// size first (fuse_notify_store, in all kernels that have it), whatever was written meanwhile, then
// locks the page, and then takes the byte: from an address that nobody has, so that it ends with
// EFAULT there and the page stays as it is. libfuse would complain of that.
void KernelNotifier::store_last_byte(std::uint64_t inode, std::uint64_t size_bytes) const {
  char readable = 0;  // a socket refuses a message with parts that cannot be read
  fuse_notify_store_out store{};
  store.nodeid = inode;
  store.offset = size_bytes - 1;
  store.size = 1;
  fuse_out_header header{};
  header.error = FUSE_NOTIFY_STORE;
  header.len = sizeof header + sizeof store + store.size;
  const std::array<iovec, 3> parts = {
      {{.iov_base = &header, .iov_len = sizeof header},
       {.iov_base = &store, .iov_len = sizeof store},
       {.iov_base = listener_ == Listener::kTest ? &readable : nullptr, .iov_len = store.size}}};
  // Besides EFAULT: an inode that the kernel does not know, or a connection that has ended.
  [[maybe_unused]] const ssize_t sent =
      writev(fuse_session_fd(session_), parts.data(), static_cast<int>(parts.size()));
}

void KernelNotifier::drop(std::uint64_t inode, std::int64_t offset, std::int64_t length_bytes) {
  for (int attempt = 1;; ++attempt) {
    const int dropped = fuse_lowlevel_notify_inval_inode(session_, inode, offset, length_bytes);
    if (dropped != -ENOENT || attempt == kAttempts) {
      return;  // an inode the kernel does not know has nothing cached
    }
    std::this_thread::sleep_for(kAttemptDelay);
  }
}

void KernelNotifier::submit(std::function<void()> notify, Task done) {
  Job job{std::move(notify), std::move(done)};
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_) {
      pending_.push_back(std::move(job));
      wake_.notify_one();
      return;
    }
  }
  finish(job);
}

void KernelNotifier::finish(Job& job) {
  if (job.done) {
    post_(std::move(job.done));
  }
}

void KernelNotifier::run() noexcept {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !pending_.empty(); });
    if (stopping_) {
      return;
    }
    Job job = std::move(pending_.front());
    pending_.pop_front();
    ++under_way_;
    lock.unlock();
    job.notify();
    finish(job);
    lock.lock();
    --under_way_;
    ended_.notify_all();
  }
}

}  // namespace dfs::fuse
