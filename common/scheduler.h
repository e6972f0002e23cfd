// Port: time and turns. Everything a core does happens inside a task or a callback that its
// Scheduler runs, one at a time, in one thread.
//
// Order: a posted task runs after the current one and after the messages that had already arrived
// were delivered (so that "post, then handle all that came" forms a batch). Timers fire at or after
// their time, earliest first, ties in the order they were set.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "common/ids.h"

namespace dfs {

using Task = std::function<void()>;
using TimerId = StrongId<struct TimerTag, std::uint64_t>;

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  virtual MonoTime now() const = 0;
  virtual Timestamp wall_now() const = 0;

  virtual void post(Task task) = 0;
  virtual TimerId run_at(MonoTime when, Task task) = 0;
  virtual void cancel(TimerId timer) = 0;  // no effect on a timer that ran or was cancelled

  TimerId run_after(Duration delay, Task task) { return run_at(now() + delay, std::move(task)); }
};

// One restartable timer, cancelled when it goes out of scope.
class Timer {
 public:
  explicit Timer(Scheduler& scheduler) : scheduler_(scheduler) {}
  ~Timer() { stop(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Runs `task` once after `delay`; replaces a pending start.
  void start(Duration delay, Task task) {
    stop();
    id_ = scheduler_.run_after(delay, [this, run = std::move(task)] {
      id_ = TimerId{};
      run();
    });
  }
  void stop() {
    if (id_.is_set()) {
      scheduler_.cancel(id_);
      id_ = TimerId{};
    }
  }
  bool is_armed() const { return id_.is_set(); }

 private:
  Scheduler& scheduler_;
  TimerId id_;
};

}  // namespace dfs
