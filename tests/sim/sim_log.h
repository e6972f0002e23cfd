// A Log that keeps its lines for tests to look at.
//
// Bounded: the oldest lines are dropped above kLinesMax. With `echo` every line goes to stderr too.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "common/log.h"
#include "tests/sim/sim_events.h"

namespace dfs::sim {

class SimLog final : public Log {
 public:
  static constexpr std::size_t kLinesMax = 20'000;

  struct Line {
    LogLevel level = LogLevel::kDebug;
    Duration at{};  // virtual time, when events were given
    std::string text;
  };

  explicit SimLog(std::string name = "", const SimEvents* events = nullptr)
      : name_(std::move(name)), events_(events) {}

  bool is_enabled(LogLevel level) const override { return level >= level_min_; }
  void write(LogLevel level, const std::string& line) override;

  void set_level(LogLevel level) { level_min_ = level; }
  void set_echo(bool echo) { echo_ = echo; }
  // Hears of each line as it is written.
  void on_line(std::function<void(const std::string&)> listener) {
    listener_ = std::move(listener);
  }

  const std::deque<Line>& lines() const { return lines_; }
  void clear() { lines_.clear(); }
  // How many kept lines of at least `level` contain `text`.
  std::size_t count(std::string_view text, LogLevel level = LogLevel::kDebug) const;
  bool contains(std::string_view text) const { return count(text) > 0; }

 private:
  std::string name_;
  const SimEvents* events_;
  std::deque<Line> lines_;
  LogLevel level_min_ = LogLevel::kDebug;
  bool echo_ = false;
  std::function<void(const std::string&)> listener_;
};

}  // namespace dfs::sim
