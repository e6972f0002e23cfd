#include "common/real/settings_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <sstream>
#include <string_view>

#include "common/real/errno_error.h"
#include "common/real/file_calls.h"

namespace dfs::real {
namespace {

constexpr std::size_t kFileBytesMax = 1u << 20;  // far more than any settings; kTooLarge

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::string_view unquoted(std::string_view text) {
  const bool is_quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  return is_quoted ? text.substr(1, text.size() - 2) : text;
}

Result<std::string> read_small_file(const std::string& path) {
  DFS_TRY(const OwnedFd fd, open_path(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error(errno, "stat " + path);
  }
  if (!S_ISREG(status.st_mode)) {
    return make_error(ErrorCode::kInvalidArgument, path + " is not a file");
  }
  if (static_cast<std::size_t>(status.st_size) > kFileBytesMax) {
    return make_error(ErrorCode::kTooLarge, path + " is too large for a settings file");
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  DFS_TRY(const std::size_t count,
          read_all(fd.get(), std::as_writable_bytes(std::span(text)), 0, path));
  text.resize(count);
  return text;
}

}  // namespace

Result<std::vector<SettingsLine>> read_settings_file(const std::string& path) {
  DFS_TRY(const std::string text, read_small_file(path));
  std::vector<SettingsLine> lines;
  std::istringstream stream(text);
  std::string raw;
  for (int number = 1; std::getline(stream, raw); ++number) {
    const std::string_view line = trimmed(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') {
      continue;
    }
    const std::size_t equals = line.find('=');
    const std::string_view key = trimmed(line.substr(0, equals));
    if (equals == std::string_view::npos || key.empty()) {
      return make_error(ErrorCode::kInvalidArgument, path + ":" + std::to_string(number) +
                                                         ": expected \"key = value\", found \"" +
                                                         std::string(line) + "\"");
    }
    lines.push_back(
        {std::string(key), std::string(unquoted(trimmed(line.substr(equals + 1)))), number});
  }
  return lines;
}

}  // namespace dfs::real
