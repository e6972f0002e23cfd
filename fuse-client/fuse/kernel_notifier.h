// Tells the kernel to drop cached pages and attributes of an inode.
//
// Such a notification can block in the kernel until requests in flight are answered, so it must
// never leave from the thread that answers them: it has a thread of its own. Pending inodes are a
// set, so the queue is bounded by the inodes the kernel knows.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

struct fuse_session;

namespace dfs::fuse {

class KernelNotifier {
 public:
  explicit KernelNotifier(fuse_session* session);
  ~KernelNotifier();  // waits for the notification under way
  KernelNotifier(const KernelNotifier&) = delete;
  KernelNotifier& operator=(const KernelNotifier&) = delete;

  // `inode` as the kernel numbers it. Callable from the loop thread; never blocks.
  void invalidate(std::uint64_t inode);

 private:
  void run() noexcept;

  fuse_session* session_;
  std::mutex mutex_;  // leaf; guards the two below
  std::set<std::uint64_t> pending_;
  bool stopping_ = false;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace dfs::fuse
