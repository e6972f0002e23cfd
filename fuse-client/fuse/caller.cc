#include "fuse-client/fuse/caller.h"

#include <algorithm>
#include <charconv>
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

Caller caller_of(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  Caller caller{.uid = context->uid, .groups = {context->gid}, .capabilities = 0};
  std::ifstream file("/proc/" + std::to_string(context->pid) + "/status");
  std::ostringstream status;
  status << file.rdbuf();
  const bool is_known = read_status(status.str(), caller);
  if (context->uid != 0) {
    caller.capabilities = 0;
  } else if (!is_known) {
    caller.capabilities = ~std::uint64_t{0};
  }
  return caller;
}

}  // namespace dfs::fuse
