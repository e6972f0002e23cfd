// The real Log: lines to stderr, to a file or to the system log, through spdlog. May be written to
// from any thread.
//
//   2026-01-31T23:59:59.123Z warning a replica is lost chunk=12 node=3
//
// Every byte that is not printable ASCII is shown as \xNN, so that a file's name can neither forge
// a line nor drive a terminal. Each line is handed to the system before write() returns.
#pragma once

#include <memory>
#include <string>

#include "common/log.h"
#include "common/result.h"

namespace dfs::real {

// The "file" that stands for syslog(3).
inline constexpr const char* kSystemLog = "syslog";

class SpdLog final : public Log {
 public:
  // An empty file is stderr, kSystemLog the system log. Fails when the file cannot be opened,
  // naming it.
  static Result<std::unique_ptr<SpdLog>> create(LogLevel level, const std::string& file);
  ~SpdLog() override;
  SpdLog(const SpdLog&) = delete;
  SpdLog& operator=(const SpdLog&) = delete;

  bool is_enabled(LogLevel level) const override;
  void write(LogLevel level, const std::string& line) override;

  // Goes on in a new file of the same name, after logrotate moved the old one away. On failure the
  // old one stays in use, and a line in it says why.
  void reopen();

 private:
  struct Impl;
  explicit SpdLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// "debug", "info", "warning", "error"; kInvalidArgument for anything else.
Result<LogLevel> parse_log_level(const std::string& name);

}  // namespace dfs::real
