#include "tests/sim/sim_events.h"

#include <algorithm>

#include "common/assert.h"

namespace dfs::sim {

SimEvents::EventId SimEvents::run_at(MonoTime when, Task task) {
  const EventId id{std::max(when, now_), next_sequence_++};
  queue_.emplace(id, std::move(task));
  return id;
}

bool SimEvents::run_one() {
  if (queue_.empty()) {
    return false;
  }
  auto event = queue_.extract(queue_.begin());
  DFS_ASSERT(event.key().when >= now_);
  now_ = event.key().when;
  ++events_run_;
  trace(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  trace(event.key().sequence);
  event.mapped()();
  return true;
}

void SimEvents::run_for(Duration duration) {
  run_until([] { return false; }, duration);
}

bool SimEvents::run_until(const std::function<bool()>& predicate, Duration limit) {
  const MonoTime deadline = now_ + limit;
  while (!predicate()) {
    if (queue_.empty() || queue_.begin()->first.when > deadline) {
      now_ = deadline;
      return predicate();
    }
    run_one();
  }
  return true;
}

void SimEvents::trace(std::string_view what) {
  for (const char c : what) {
    trace_hash_ = (trace_hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
}

void SimEvents::trace(std::uint64_t number) {
  // Whole words instead of bytes: the hash is taken of every event.
  trace_hash_ = (trace_hash_ ^ number) * 0x100000001b3u;
  trace_hash_ ^= trace_hash_ >> 29;
}

}  // namespace dfs::sim
