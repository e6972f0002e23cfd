// Tells the kernel to drop what it caches of inodes and names, and how long files are.
//
// Such a notification can block in the kernel: until pages that are being read or written are
// unlocked, or until no name is being changed in a directory, which is until requests in flight are
// answered. So none may leave from the thread that answers them, and one that blocks must not hold
// up the others: they leave from a few threads of their own. Waiting ones are bounded by what the
// master tells at once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/scheduler.h"
#include "fuse-client/fuse/size_notification.h"

struct fuse_session;

namespace dfs::fuse {

class KernelNotifier {
 public:
  enum class Listener : std::uint8_t { kKernel, kTest };

  // `post` runs a task on the loop thread, called from any thread.
  KernelNotifier(fuse_session* session, std::function<void(Task)> post, Listener listener);
  ~KernelNotifier() { stop(); }
  KernelNotifier(const KernelNotifier&) = delete;
  KernelNotifier& operator=(const KernelNotifier&) = delete;

  // For when the kernel is about to cache nothing any more: no more notifications leave, and what
  // is asked for counts as done. Waits for those under way, a moment: what still is under way then
  // waits in the kernel and uses the session's descriptor no more.
  void quiesce();
  // Waits for all. What is under way may be waiting for answers of the calling thread:
  // `end_connection` makes the kernel give up waiting for these.
  void stop(const std::function<void()>& end_connection = [] {});

  // Inodes as the kernel numbers them. `done` runs on the loop thread when the kernel has dropped
  // it, or does not know it. Callable from the loop thread; never block.
  void drop_attributes(std::uint64_t inode, Task done);
  // Pages, and attributes. Of the pages, those that hold [begin, end).
  void drop_contents(std::uint64_t inode, std::uint64_t begin, std::uint64_t end, Task done);
  // The name is looked up again when it is next used; what is mounted below it stays.
  void expire_name(std::uint64_t directory, std::string name, Task done);
  // The regular file is so long at least (1 or more). No page changes. Not sent if it was given up.
  void lengthen(std::uint64_t inode, std::uint64_t size_bytes,
                std::shared_ptr<SizeNotification> notification, Task done);

 private:
  struct Job {
    std::function<void()> notify;
    Task done;
  };

  void submit(std::function<void()> notify, Task done);
  void drop(std::uint64_t inode, std::int64_t offset, std::int64_t length_bytes);
  void store_last_byte(std::uint64_t inode, std::uint64_t size_bytes) const;
  void run() noexcept;
  void finish(Job& job);

  fuse_session* session_;
  std::function<void(Task)> post_;
  Listener listener_;
  std::mutex mutex_;  // leaf; guards the three below
  std::deque<Job> pending_;
  bool stopping_ = false;
  std::size_t under_way_ = 0;
  std::condition_variable wake_;
  std::condition_variable ended_;
  std::vector<std::thread> threads_;
};

}  // namespace dfs::fuse
