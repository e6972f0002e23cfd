#include "fuse-client/fuse/umount_report.h"

#include <charconv>
#include <chrono>

namespace dfs::fuse {
namespace {

using Milliseconds = std::chrono::milliseconds;

// Takes a number and the separator behind it from the front of `text`.
template <class Number>
bool take(std::string_view& text, char separator, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || last == end || *last != separator) {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(last + 1 - text.data()));
  return true;
}

}  // namespace

// "PID WAIT_MS\nUNWRITTEN"
std::string encode(const UmountReport& report) {
  const auto wait_ms = std::chrono::duration_cast<Milliseconds>(report.umount_wait).count();
  return std::to_string(report.client_pid) + ' ' + std::to_string(wait_ms) + '\n' +
         report.unwritten;
}

Result<UmountReport> decode_umount_report(std::string_view text) {
  UmountReport report;
  Milliseconds::rep wait_ms = 0;
  if (!take(text, ' ', report.client_pid) || !take(text, '\n', wait_ms)) {
    return make_error(ErrorCode::kBadMessage, "not a report of a dfs client");
  }
  report.umount_wait = Milliseconds(wait_ms);
  report.unwritten = text;
  return report;
}

}  // namespace dfs::fuse
