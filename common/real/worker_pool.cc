#include "common/real/worker_pool.h"

#include <signal.h>

#include <utility>

#include "common/assert.h"

namespace dfs::real {

WorkerPool::WorkerPool(std::size_t thread_count) {
  DFS_ASSERT(thread_count > 0);
  // Threads inherit the mask: signals are for the loop's thread, and interrupt no write here.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  DFS_ASSERT(::pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
  for (std::size_t i = 0; i < thread_count; ++i) {
    threads_.emplace_back([this] { work(); });
  }
  DFS_ASSERT(::pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  has_job_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void WorkerPool::run(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  has_job_.notify_one();
}

void WorkerPool::work() noexcept {
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      has_job_.wait(lock, [this] { return is_stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) {
        return;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace dfs::real
