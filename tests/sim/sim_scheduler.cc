#include "tests/sim/sim_scheduler.h"

namespace dfs::sim {
namespace {

constexpr std::chrono::seconds kWallEpoch{1'767'225'600};  // 2026-01-01T00:00:00Z

}  // namespace

Timestamp SimScheduler::wall_now() const {
  const Duration since_epoch = kWallEpoch + events_.elapsed() + wall_skew_;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  return Timestamp{seconds.count(), static_cast<std::uint32_t>((since_epoch - seconds).count())};
}

void SimScheduler::post(Task task) { add(now(), std::move(task)); }

TimerId SimScheduler::run_at(MonoTime when, Task task) { return add(when, std::move(task)); }

TimerId SimScheduler::add(MonoTime when, Task task) {
  const TimerId id{next_timer_++};
  if (!*alive_) {
    return id;
  }
  const auto event = events_.run_at(when, [this, id, run = std::move(task)]() mutable {
    pending_.erase(id);
    if (paused_) {
      held_.push_back({id, std::move(run)});
    } else {
      run();
    }
  });
  pending_.emplace(id, event);
  return id;
}

void SimScheduler::cancel(TimerId timer) {
  if (const auto it = pending_.find(timer); it != pending_.end()) {
    events_.cancel(it->second);
    pending_.erase(it);
    return;
  }
  std::erase_if(held_, [timer](const Held& held) { return held.id == timer; });
}

void SimScheduler::deliver(Task task) {
  if (!*alive_) {
    return;
  }
  if (paused_) {
    held_.push_back({TimerId{}, std::move(task)});
  } else {
    task();
  }
}

void SimScheduler::kill() {
  *alive_ = false;
  // Destroying a task may destroy objects that cancel others of these: empty the tables first.
  const auto pending = std::move(pending_);
  const auto held = std::move(held_);
  pending_.clear();
  held_.clear();
  for (const auto& [timer, event] : pending) {
    events_.cancel(event);
  }
}

void SimScheduler::resume() {
  paused_ = false;
  auto held = std::move(held_);
  held_.clear();
  for (auto& [id, task] : held) {
    // Keeps its timer id: it can still be cancelled by one that runs before it.
    const TimerId key = id.is_set() ? id : TimerId{next_timer_++};
    pending_.emplace(key, events_.run_at(now(), [this, key, run = std::move(task)] {
      pending_.erase(key);
      run();
    }));
  }
}

}  // namespace dfs::sim
