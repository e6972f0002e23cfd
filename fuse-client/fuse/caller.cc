#include "fuse-client/fuse/caller.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace dfs::fuse {
namespace {

// The text behind "NAME:" of the line that begins with it.
std::optional<std::string_view> line_of(std::string_view status, std::string_view name) {
  while (!status.empty()) {
    const std::size_t end = std::min(status.find('\n'), status.size());
    const std::string_view line = status.substr(0, end);
    if (line.starts_with(name) && line.substr(name.size()).starts_with(':')) {
      return line.substr(name.size() + 1);
    }
    status.remove_prefix(std::min(end + 1, status.size()));
  }
  return std::nullopt;
}

// Takes the next number from the front of `text`; false at its end.
template <class Number>
bool take_number(std::string_view& text, int base, Number& number) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number, base);
  if (error != std::errc{}) {
    return false;
  }
  text.remove_prefix(static_cast<std::size_t>(last - text.data()));
  return true;
}

std::string read_status_of(pid_t thread) {
  std::ifstream file("/proc/" + std::to_string(thread) + "/status");
  std::ostringstream status;
  status << file.rdbuf();
  return status.str();
}

constexpr std::uint64_t bit_of(int signal) { return std::uint64_t{1} << (signal - 1); }

// Those that end no process, whatever it says about them.
constexpr std::uint64_t kHarmlessSignals = bit_of(SIGCHLD) | bit_of(SIGCONT) | bit_of(SIGURG) |
                                           bit_of(SIGWINCH) | bit_of(SIGSTOP) | bit_of(SIGTSTP) |
                                           bit_of(SIGTTIN) | bit_of(SIGTTOU);

}  // namespace

bool Caller::is_in(gid_t group) const {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

bool read_status(std::string_view status, Caller& caller) {
  auto groups = line_of(status, "Groups");
  auto capabilities = line_of(status, "CapEff");
  if (!groups || !capabilities || !take_number(*capabilities, 16, caller.capabilities)) {
    return false;
  }
  for (gid_t group = 0; take_number(*groups, 10, group);) {
    caller.groups.push_back(group);
  }
  return true;
}

bool may_be_capable(fuse_req_t request, unsigned capability) {
  Caller caller;
  const bool is_known = read_status(read_status_of(fuse_req_ctx(request)->pid), caller);
  return is_known && caller.is_capable(capability);
}

Caller caller_of(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  Caller caller{.uid = context->uid, .groups = {context->gid}, .capabilities = 0};
  const bool is_known = read_status(read_status_of(context->pid), caller);
  if (context->uid != 0) {
    caller.capabilities = 0;
  } else if (!is_known) {
    caller.capabilities = ~std::uint64_t{0};
  }
  return caller;
}

bool is_ending(std::string_view status) {
  // Signals that came for the thread, for its process; what it does with those that come.
  std::uint64_t masks[5] = {};
  const char* const names[] = {"SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"};
  for (std::size_t i = 0; i < std::size(names); ++i) {
    auto line = line_of(status, names[i]);
    if (!line || !take_number(*line, 16, masks[i])) {
      return true;
    }
  }
  const auto [own, shared, blocked, ignored, caught] = masks;
  const std::uint64_t come = own | shared;
  const std::uint64_t harmless = blocked | ignored | caught | kHarmlessSignals;
  return (come & (~harmless | bit_of(SIGKILL))) != 0;
}

bool is_ending(pid_t thread) { return is_ending(read_status_of(thread)); }

}  // namespace dfs::fuse
