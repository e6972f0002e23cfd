#include "fuse-client/core/master_clock.h"

#include <algorithm>

namespace dfs::client {
namespace {

constexpr std::int64_t kNanosecondsInSecond = 1'000'000'000;
// Clocks run at different speeds: this much between two keep-alives does not mean it was set.
constexpr std::chrono::milliseconds kDriftMax{100};

}  // namespace

Timestamp later(Timestamp time, Duration by) {
  const std::int64_t nanoseconds = time.nanoseconds + by.count() % kNanosecondsInSecond;
  return {.seconds =
              time.seconds + by.count() / kNanosecondsInSecond + nanoseconds / kNanosecondsInSecond,
          .nanoseconds = static_cast<std::uint32_t>(nanoseconds % kNanosecondsInSecond)};
}

Timestamp MasterClock::estimate() const {
  return later(reading_->time, scheduler_.now() - reading_->at);
}

void MasterClock::heard(MonoTime sent_at, Timestamp time) {
  at_least(time);
  // It was shown after the question was sent.
  const Timestamp latest = later(time, scheduler_.now() - sent_at);
  if (estimate() > later(latest, kDriftMax)) {
    last_.reset();  // the clock was set back
  }
  if (estimate() > latest) {
    reading_ = {time, scheduler_.now()};
  }
}

void MasterClock::at_least(Timestamp time) {
  if (!reading_ || time > estimate()) {
    reading_ = {time, scheduler_.now()};
  }
}

Timestamp MasterClock::time() {
  if (!reading_) {
    return scheduler_.wall_now();
  }
  last_ = std::max(last_.value_or(estimate()), estimate());
  return *last_;
}

}  // namespace dfs::client
