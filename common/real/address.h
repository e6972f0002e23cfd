// Addresses as people write them: "host:port", "[v6]:port", and for listening "*:port".
#pragma once

#include <netdb.h>

#include <cstdint>
#include <memory>
#include <string>

#include "common/result.h"
#include "common/transport.h"

namespace dfs::real {

// Where a master listens unless told otherwise.
inline constexpr const char* kDefaultMasterPort = "9420";

struct HostPort {
  std::string host;  // a v6 address without its brackets
  std::uint16_t port = 0;
  bool is_numeric = false;  // the host is an IPv4 or IPv6 address, not a name

  // With brackets where they are needed.
  Address text() const;
};

// kInvalidArgument, naming the text, for anything else; also for port 0 unless it is to listen on.
Result<HostPort> parse_connect_address(const Address& address);
Result<HostPort> parse_listen_address(const Address& address);
// "host[:port]" of a master, with kDefaultMasterPort.
Result<HostPort> parse_master_address(const Address& address);

// What a name stands for now, of a family (AF_...) and for a type of socket (SOCK_...). Blocks
// while others are asked. Fails with kNotFound, naming the host.
using AddressList = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;
Result<AddressList> resolve(const std::string& host, const std::string& port, int family,
                            int socket_type);

}  // namespace dfs::real
