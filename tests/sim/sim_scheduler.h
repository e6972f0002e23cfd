// The Scheduler of one simulated process.
//
// A posted task runs at the same virtual time, behind what was already queued for that time, so
// messages that arrive together form a batch. kill() is the death of the process: nothing it
// holds runs any more and later calls do nothing; a restarted process gets a new SimScheduler.
// The objects that use it are destroyed before it, and after kill() their destructors have no
// effect on the rest of the simulation.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>

#include "common/scheduler.h"
#include "tests/sim/sim_events.h"

namespace dfs::sim {

class SimScheduler final : public Scheduler {
 public:
  explicit SimScheduler(SimEvents& events) : events_(events) {}
  ~SimScheduler() override { kill(); }
  SimScheduler(const SimScheduler&) = delete;
  SimScheduler& operator=(const SimScheduler&) = delete;

  MonoTime now() const override { return events_.now(); }
  Timestamp wall_now() const override;
  void post(Task task) override;
  TimerId run_at(MonoTime when, Task task) override;
  void cancel(TimerId timer) override;

  // Runs `task` at once as this process (a message arrived, for example): never when it was killed,
  // and only after resume() when it is paused.
  void deliver(Task task);

  void kill();
  bool is_alive() const { return *alive_; }
  // For what may outlive this object: says the same as is_alive() did last.
  std::shared_ptr<const bool> alive_token() const { return alive_; }

  // SIGSTOP and SIGCONT: what becomes due in between runs, in order, at resume().
  void pause() { paused_ = true; }
  void resume();
  bool is_paused() const { return paused_; }

  // How far this machine's wall clock is off.
  void set_wall_skew(Duration skew) { wall_skew_ = skew; }

  SimEvents& events() { return events_; }

 private:
  struct Held {
    TimerId id;  // not set: a delivery
    Task task;
  };

  TimerId add(MonoTime when, Task task);

  SimEvents& events_;
  std::map<TimerId, SimEvents::EventId> pending_;
  std::uint64_t next_timer_ = 1;
  std::deque<Held> held_;  // due while paused, in that order
  Duration wall_skew_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool paused_ = false;
};

}  // namespace dfs::sim
