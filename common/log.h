// Port: the log. One structured line where an event is decided, never where it merely passes.
#pragma once

#include <string>

namespace dfs {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

class Log {
 public:
  virtual ~Log() = default;
  // Whether a line of this level would be kept: lets a caller skip building it.
  virtual bool is_enabled(LogLevel level) const = 0;
  // `line`: one sentence, then key=value pairs. Bytes that are not printable are escaped on output.
  virtual void write(LogLevel level, const std::string& line) = 0;

  void debug(const std::string& line) { write(LogLevel::kDebug, line); }
  void info(const std::string& line) { write(LogLevel::kInfo, line); }
  void warning(const std::string& line) { write(LogLevel::kWarning, line); }
  void error(const std::string& line) { write(LogLevel::kError, line); }
};

}  // namespace dfs
