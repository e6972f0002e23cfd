// Warnings a stranger can cause as often as it likes: one line a second, and how many were left
// out before it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/log.h"
#include "common/scheduler.h"

namespace dfs {

class LimitedLog {
 public:
  LimitedLog(Log& log, Scheduler& scheduler) : log_(log), scheduler_(scheduler) {}

  void warning(const std::string& line) {
    const MonoTime now = scheduler_.now();
    if (now < quiet_until_) {
      ++left_out_;
      return;
    }
    log_.warning(left_out_ == 0 ? line : line + " left_out=" + std::to_string(left_out_));
    quiet_until_ = now + kInterval;
    left_out_ = 0;
  }

 private:
  static constexpr std::chrono::seconds kInterval{1};

  Log& log_;
  Scheduler& scheduler_;
  MonoTime quiet_until_ = MonoTime::min();
  std::uint64_t left_out_ = 0;
};

}  // namespace dfs
