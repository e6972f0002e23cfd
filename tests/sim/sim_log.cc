#include "tests/sim/sim_log.h"

#include <algorithm>
#include <cstdio>

namespace dfs::sim {

void SimLog::write(LogLevel level, const std::string& line) {
  if (!is_enabled(level)) {
    return;
  }
  const Duration at = events_ != nullptr ? events_->elapsed() : Duration::zero();
  if (echo_) {
    constexpr const char* kLetters = "DIWE";
    std::fprintf(stderr, "%12.6f %c %s: %s\n", std::chrono::duration<double>(at).count(),
                 kLetters[static_cast<int>(level)], name_.c_str(), line.c_str());
  }
  lines_.push_back({level, at, line});
  if (lines_.size() > kLinesMax) {
    lines_.pop_front();
  }
  if (listener_) {
    listener_(line);
  }
}

std::size_t SimLog::count(std::string_view text, LogLevel level) const {
  return static_cast<std::size_t>(
      std::count_if(lines_.begin(), lines_.end(), [&](const Line& line) {
        return line.level >= level && line.text.find(text) != std::string::npos;
      }));
}

}  // namespace dfs::sim
