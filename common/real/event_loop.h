// The real Scheduler: one thread, epoll, timers, and the way back from other threads.
//
// For: running a core and everything that feeds it. All tasks and callbacks run in the thread that
// made the loop, one at a time; only post_from_thread may be called elsewhere.
//
// One turn: ready file descriptors and sources with input (bounded, for fairness), completions of
// other threads, due timers, then the tasks posted until then. So a task posted by the first
// message of a burst runs after the burst was delivered, and what a task posts waits for new input.
//
// Time is CLOCK_BOOTTIME: caches that are fresh for a second are stale after a night of suspend.
// What is still queued when the loop is destroyed is dropped, not run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/real/owned_fd.h"
#include "common/result.h"
#include "common/scheduler.h"

namespace dfs::real {

class EventLoop final : public Scheduler {
 public:
  // Input that epoll alone cannot announce: drained before the loop sleeps, once woken.
  class Source {
   public:
    virtual ~Source() = default;
    // Delivers at most `budget` messages; returns whether more may be waiting.
    virtual bool drain(std::size_t budget) = 0;

   private:
    friend class EventLoop;
    bool is_ready_ = false;  // is in ready_sources_
  };
  using FdCallback = std::function<void(std::uint32_t events)>;

  // Fails with kIo when the process is out of descriptors.
  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  MonoTime now() const override;
  Timestamp wall_now() const override;
  void post(Task task) override;
  TimerId run_at(MonoTime when, Task task) override;
  void cancel(TimerId timer) override;

  // From any thread: the task runs in the loop's thread. Order is kept between calls of a thread.
  // Not bounded here: whoever hands work to threads bounds what can come back.
  void post_from_thread(Task task);

  // Calls back with the epoll events while any of `events` (EPOLLIN …; level-triggered) holds.
  // Precondition: not watched yet. The descriptor stays the caller's and must be unwatched before
  // it is closed; unwatching inside any callback is fine.
  Status watch_fd(int fd, std::uint32_t events, FdCallback callback);
  void unwatch_fd(int fd);

  // Has the source drained before the loop sleeps again. A source must be forgotten before it dies.
  void wake(Source& source);
  void forget(Source& source);

  // Runs turns until stop(). stop() lets the current turn end; a later run() goes on.
  void run();
  void stop() { is_stopped_ = true; }
  // Runs turns until `done` holds or `limit` has passed; returns whether it holds.
  bool run_until(const std::function<bool()>& done, Duration limit);

 private:
  struct Watch {
    std::uint32_t generation = 0;
    std::shared_ptr<FdCallback> callback;
  };
  using TimerKey = std::pair<MonoTime, std::uint64_t>;

  EventLoop(OwnedFd epoll, OwnedFd wakeup);
  void turn(MonoTime sleep_until);
  int prepare_sleep_ms(MonoTime sleep_until);
  void dispatch_fds(int timeout_ms);
  void dispatch_fd(std::uint64_t key, std::uint32_t events);
  void drain_sources();
  void run_completions();
  void run_due_timers();
  void run_posted();
  void assert_own_thread() const;

  const std::thread::id thread_ = std::this_thread::get_id();
  OwnedFd epoll_;
  OwnedFd wakeup_;
  bool is_stopped_ = false;

  std::map<int, Watch> watches_;
  std::uint32_t next_generation_ = 1;
  std::vector<Source*> ready_sources_;
  std::vector<Source*> draining_sources_;  // entries are null once forgotten
  std::map<TimerKey, Task> timers_;
  std::unordered_map<std::uint64_t, MonoTime> timer_times_;
  std::uint64_t next_timer_ = 1;
  std::vector<Task> posted_;

  std::mutex completions_mutex_;  // leaf; guards the two below
  std::vector<Task> completions_;
  bool is_sleeping_ = false;  // only then must a poster write to wakeup_
};

}  // namespace dfs::real
