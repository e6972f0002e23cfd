#include "common/real/spd_log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "common/real/errno_error.h"

namespace dfs::real {
namespace {

spdlog::level::level_enum spd_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

bool is_printable(char c) { return c >= ' ' && c <= '~'; }

std::string escaped(const std::string& line) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(line.size() + 16);
  for (const char c : line) {
    if (is_printable(c)) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 0xf]};
    }
  }
  return text;
}

Result<spdlog::sink_ptr> open_sink(const std::string& file) {
  if (file.empty()) {
    return spdlog::sink_ptr(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  }
  if (file == kSystemLog) {
    // Without formatting: the system log adds time and level itself.
    return spdlog::sink_ptr(
        std::make_shared<spdlog::sinks::syslog_sink_mt>("dfs", LOG_PID, LOG_DAEMON, false));
  }
  // spdlog would make missing folders, and a misspelt path would go unnoticed.
  const std::string folder = std::filesystem::path(file).parent_path();
  struct stat status {};
  if (!folder.empty() && ::stat(folder.c_str(), &status) != 0) {
    return errno_error(errno, "open the log file " + file + ": its folder " + folder);
  }
  try {
    return spdlog::sink_ptr(std::make_shared<spdlog::sinks::basic_file_sink_mt>(file));
  } catch (const spdlog::spdlog_ex& error) {
    return make_error(ErrorCode::kIo, "open the log file " + file + ": " + error.what());
  }
}

}  // namespace

struct SpdLog::Impl {
  Impl(std::string log_file, LogLevel level) : file(std::move(log_file)), logger("dfs", sinks) {
    logger.set_level(spd_level(level));
    logger.flush_on(spdlog::level::trace);
  }

  Status open() {
    DFS_TRY(const spdlog::sink_ptr sink, open_sink(file));
    sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
        "%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc));
    sinks->set_sinks({sink});
    return ok();
  }

  const std::string file;
  // Under its own mutex, so that the file can be changed while others write.
  const std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks =
      std::make_shared<spdlog::sinks::dist_sink_mt>();
  spdlog::logger logger;
};

Result<std::unique_ptr<SpdLog>> SpdLog::create(LogLevel level, const std::string& file) {
  auto impl = std::make_unique<Impl>(file, level);
  DFS_CHECK_OK(impl->open());
  return std::unique_ptr<SpdLog>(new SpdLog(std::move(impl)));
}

SpdLog::SpdLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SpdLog::~SpdLog() = default;

bool SpdLog::is_enabled(LogLevel level) const { return impl_->logger.should_log(spd_level(level)); }

void SpdLog::write(LogLevel level, const std::string& line) {
  if (is_enabled(level)) {
    // As a value, never as a format: lines hold braces. spdlog reports its own failures to stderr.
    impl_->logger.log(spd_level(level), spdlog::string_view_t(escaped(line)));
  }
}

void SpdLog::reopen() {
  if (impl_->file.empty() || impl_->file == kSystemLog) {
    return;
  }
  const Status opened = impl_->open();
  if (!opened) {
    error(opened.error().detail);
  }
}

Result<LogLevel> parse_log_level(const std::string& name) {
  if (name == "debug") {
    return LogLevel::kDebug;
  }
  if (name == "info") {
    return LogLevel::kInfo;
  }
  if (name == "warning") {
    return LogLevel::kWarning;
  }
  if (name == "error") {
    return LogLevel::kError;
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "\"" + name + "\" is not one of debug, info, warning, error");
}

}  // namespace dfs::real
