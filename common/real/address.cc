#include "common/real/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace dfs::real {
namespace {

constexpr std::size_t kHostBytesMax = 255;  // a DNS name

Error bad_address(const Address& address, const char* why) {
  return make_error(ErrorCode::kInvalidArgument, "\"" + address + "\" is not an address: " + why);
}

bool is_host_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

bool is_v4(const std::string& host) {
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1;
}

// "fe80::1%eth0" too: the zone is an interface's name.
bool is_v6(const std::string& host) {
  const std::size_t zone = host.find('%');
  in6_addr address{};
  if (::inet_pton(AF_INET6, host.substr(0, zone).c_str(), &address) != 1) {
    return false;
  }
  return zone == std::string::npos ||
         (zone + 1 < host.size() &&
          std::all_of(host.begin() + static_cast<std::ptrdiff_t>(zone) + 1, host.end(),
                      is_host_byte));
}

Result<std::uint16_t> parse_port(const Address& address, std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    return bad_address(address, "the port must be a number up to 65535");
  }
  return port;
}

Result<HostPort> parse_address(const Address& address) {
  HostPort parsed;
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return bad_address(address, "it must be host:port");
  }
  DFS_TRY(parsed.port, parse_port(address, std::string_view(address).substr(colon + 1)));
  parsed.host = address.substr(0, colon);
  if (parsed.host.starts_with('[') && parsed.host.ends_with(']')) {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
    parsed.is_numeric = true;
    if (!is_v6(parsed.host)) {
      return bad_address(address, "brackets must hold an IPv6 address");
    }
    return parsed;
  }
  if (parsed.host.find(':') != std::string::npos) {
    return bad_address(address, "an IPv6 address must be in brackets, as in [::1]:9000");
  }
  parsed.is_numeric = is_v4(parsed.host);
  return parsed;
}

}  // namespace

Address HostPort::text() const {
  const bool needs_brackets = host.find(':') != std::string::npos;
  return (needs_brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> parse_connect_address(const Address& address) {
  DFS_TRY(HostPort parsed, parse_address(address));
  if (parsed.port == 0) {
    return bad_address(address, "the port must not be 0");
  }
  const bool is_name = !parsed.host.empty() && parsed.host.size() <= kHostBytesMax &&
                       parsed.host[0] != '-' &&
                       std::all_of(parsed.host.begin(), parsed.host.end(), is_host_byte);
  if (!parsed.is_numeric && !is_name) {
    return bad_address(address, "the host must be a name or an IP address");
  }
  return parsed;
}

Result<HostPort> parse_master_address(const Address& address) {
  const bool has_port = !address.ends_with(']') && address.find(':') != std::string::npos;
  return parse_connect_address(has_port ? address : address + ":" + kDefaultMasterPort);
}

Result<HostPort> parse_listen_address(const Address& address) {
  DFS_TRY(HostPort parsed, parse_address(address));
  if (!parsed.is_numeric && parsed.host != "*") {
    return bad_address(address, "the host must be an IP address of this machine, or *");
  }
  return parsed;
}

Result<AddressList> resolve(const std::string& host, const std::string& port, int family,
                            int socket_type) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = socket_type;
  addrinfo* list = nullptr;
  const int failure = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (failure != 0) {
    return make_error(ErrorCode::kNotFound, "unknown host " + host + ": " + gai_strerror(failure));
  }
  return AddressList(list, freeaddrinfo);
}

}  // namespace dfs::real
