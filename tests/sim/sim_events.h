// The one queue of virtual time: everything that happens in a simulation is an event in it.
//
// Events run in order of (time, order of scheduling), one at a time; time jumps from event to event
// and never passes by itself. The trace hash covers time and order of every event and whatever
// the ports feed to it: two runs with the same hash did the same things.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include "common/ids.h"
#include "common/scheduler.h"

namespace dfs::sim {

class SimEvents {
 public:
  struct EventId {
    MonoTime when;
    std::uint64_t sequence = 0;  // 0: none
    friend auto operator<=>(const EventId&, const EventId&) = default;
  };

  SimEvents() = default;
  SimEvents(const SimEvents&) = delete;
  SimEvents& operator=(const SimEvents&) = delete;

  MonoTime now() const { return now_; }
  Duration elapsed() const { return now_ - kStart; }

  // A time in the past means now: behind everything already scheduled for now.
  EventId run_at(MonoTime when, Task task);
  void cancel(EventId id) { queue_.erase(id); }

  // Runs the next event; false when there is none.
  bool run_one();
  // Runs everything due within `duration`, then lets the rest of it pass.
  void run_for(Duration duration);
  // Runs until `predicate` holds, for at most `limit` of virtual time. Returns whether it holds.
  bool run_until(const std::function<bool()>& predicate, Duration limit);

  std::size_t pending_count() const { return queue_.size(); }
  std::uint64_t events_run() const { return events_run_; }

  void trace(std::string_view what);
  void trace(std::uint64_t number);
  std::uint64_t trace_hash() const { return trace_hash_; }

 private:
  // Not zero, so that a core may subtract from now() without care.
  static constexpr MonoTime kStart{std::chrono::seconds(1000)};

  std::map<EventId, Task> queue_;
  MonoTime now_ = kStart;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t events_run_ = 0;
  std::uint64_t trace_hash_ = 0xcbf29ce484222325u;  // FNV-1a
};

}  // namespace dfs::sim
