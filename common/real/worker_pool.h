// A few threads that run jobs in the order they came. Jobs must not throw and hand their results
// back themselves (EventLoop::post_from_thread).
//
// The queue is not bounded here: the cores bound what they have in flight. Destruction runs the
// jobs that are queued, then joins: a write that was accepted is written.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dfs::real {

class WorkerPool {
 public:
  // Precondition: thread_count > 0. The threads take no signals.
  explicit WorkerPool(std::size_t thread_count);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // From any thread, also from a job.
  void run(std::function<void()> job);

 private:
  void work() noexcept;

  std::mutex mutex_;  // leaf; guards the two below
  std::deque<std::function<void()>> jobs_;
  bool is_stopping_ = false;
  std::condition_variable has_job_;
  std::vector<std::thread> threads_;
};

}  // namespace dfs::real
