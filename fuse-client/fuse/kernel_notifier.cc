#include "fuse-client/fuse/kernel_notifier.h"

#include "fuse-client/fuse/fuse_api.h"

namespace dfs::fuse {

KernelNotifier::KernelNotifier(fuse_session* session)
    : session_(session), thread_([this] { run(); }) {}

KernelNotifier::~KernelNotifier() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void KernelNotifier::invalidate(std::uint64_t inode) {
  {
    const std::lock_guard lock(mutex_);
    pending_.insert(inode);
  }
  wake_.notify_one();
}

void KernelNotifier::run() noexcept {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !pending_.empty(); });
    if (stopping_) {
      return;
    }
    const std::uint64_t inode = *pending_.begin();
    pending_.erase(pending_.begin());
    lock.unlock();
    // An inode the kernel has forgotten meanwhile is ENOENT: nothing was cached.
    fuse_lowlevel_notify_inval_inode(session_, inode, 0, 0);
    lock.lock();
  }
}

}  // namespace dfs::fuse
