#include "tests/sim/sim_network.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "common/crc32c.h"

namespace dfs::sim {
namespace {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

std::optional<HostPort> parse_address(const Address& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return std::nullopt;
  }
  HostPort result{address.substr(0, colon), 0};
  const char* const begin = address.data() + colon + 1;
  const char* const end = address.data() + address.size();
  const auto [stop, error] = std::from_chars(begin, end, result.port);
  if (error != std::errc{} || stop != end || begin == end) {
    return std::nullopt;
  }
  return result;
}

bool is_wildcard(const std::string& host) {
  return host == "0.0.0.0" || host == "[::]" || host == "*";
}

Message deep_copy(const Message& message) {
  Message copy{Buffer::copy_of(message.head.bytes()), {}};
  if (!message.bulk.empty()) {
    copy.bulk = Buffer::copy_of(message.bulk.bytes());
  }
  return copy;
}

std::pair<std::string, std::string> ordered(const std::string& a, const std::string& b) {
  return a < b ? std::pair(a, b) : std::pair(b, a);
}

}  // namespace

class SimListener final : public Listener {
 public:
  SimListener(SimNetwork& network, SimNetwork::ListenerPtr state)
      : network_(network), state_(std::move(state)) {}
  ~SimListener() override { network_.close_listener(state_); }

  Address address() const override { return state_->address; }

  Status send(PeerId peer, Message message) override {
    if (state_->scheduler == nullptr || !state_->scheduler->is_alive()) {
      return make_error(ErrorCode::kUnavailable, "this process is dead");
    }
    const auto it = state_->peers.find(peer);
    if (it == state_->peers.end()) {
      return make_error(ErrorCode::kUnavailable, "no such peer");
    }
    if (it->second->is_closed) {
      state_->peers.erase(it);
      return make_error(ErrorCode::kUnavailable, "the peer is gone");
    }
    return network_.send_down(it->second, state_->id, message);
  }

 private:
  SimNetwork& network_;
  SimNetwork::ListenerPtr state_;
};

class SimConnection final : public Connection {
 public:
  SimConnection(SimNetwork& network, SimNetwork::LinkPtr link)
      : network_(network), link_(std::move(link)) {}
  ~SimConnection() override { network_.close_link(link_); }

  Status send(Message message) override {
    if (link_->scheduler == nullptr || !link_->scheduler->is_alive()) {
      return make_error(ErrorCode::kUnavailable, "this process is dead");
    }
    return network_.send_up(link_, message);
  }

 private:
  SimNetwork& network_;
  SimNetwork::LinkPtr link_;
};

class SimTransport final : public Transport {
 public:
  SimTransport(SimNetwork& network, SimScheduler& scheduler, std::string host)
      : network_(network), scheduler_(scheduler), host_(std::move(host)) {}

  Result<std::unique_ptr<Listener>> listen(const Address& address,
                                           Listener::Handler handler) override {
    auto parsed = parse_address(address);
    if (!parsed) {
      return make_error(ErrorCode::kInvalidArgument, "not an address: " + address);
    }
    if (parsed->host != host_ && !is_wildcard(parsed->host)) {
      return make_error(ErrorCode::kUnavailable, "not an address of this host: " + address);
    }
    Address wanted = host_ + ":" + std::to_string(parsed->port);
    for (std::uint16_t port = 20'000; parsed->port == 0; ++port) {
      wanted = host_ + ":" + std::to_string(port);
      if (!network_.listeners_.contains(wanted)) {
        break;
      }
    }
    if (network_.listeners_.contains(wanted)) {
      return make_error(ErrorCode::kBusy, "address in use: " + wanted);
    }
    auto state = std::make_shared<SimNetwork::ListenerState>();
    state->id = network_.next_id_++;
    state->host = host_;
    state->address = wanted;
    state->scheduler = &scheduler_;
    state->handler = std::move(handler);
    network_.listeners_.emplace(wanted, state);
    return std::unique_ptr<Listener>(std::make_unique<SimListener>(network_, state));
  }

  Result<std::unique_ptr<Connection>> connect(const Address& address,
                                              Connection::Handler handler) override {
    const auto parsed = parse_address(address);
    if (!parsed || parsed->port == 0) {
      return make_error(ErrorCode::kInvalidArgument, "not an address: " + address);
    }
    auto link = std::make_shared<SimNetwork::Link>();
    link->id = network_.next_id_++;
    link->client_host = host_;
    link->server_host = parsed->host;
    link->server = address;
    link->scheduler = &scheduler_;
    link->handler = std::move(handler);
    network_.links_.emplace(link->id, link);
    return std::unique_ptr<Connection>(std::make_unique<SimConnection>(network_, link));
  }

 private:
  SimNetwork& network_;
  SimScheduler& scheduler_;
  std::string host_;
};

SimNetwork::SimNetwork(SimEvents& events, std::uint64_t seed) : events_(events), random_(seed) {}
SimNetwork::~SimNetwork() = default;

std::unique_ptr<Transport> SimNetwork::transport(SimScheduler& scheduler, std::string host) {
  return std::make_unique<SimTransport>(*this, scheduler, std::move(host));
}

void SimNetwork::partition(const std::string& a, const std::string& b) {
  partitions_.insert(ordered(a, b));
}

void SimNetwork::heal(const std::string& a, const std::string& b) {
  partitions_.erase(ordered(a, b));
}

bool SimNetwork::is_cut(const std::string& a, const std::string& b) const {
  return partitions_.contains(ordered(a, b));
}

void SimNetwork::drop_host(const std::string& host) {
  const auto links = links_;
  for (const auto& [id, link] : links) {
    if (link->client_host == host) {
      // Unlike a closed connection, servers do not hear of it: they go on sending into the void.
      link->scheduler = nullptr;
      links_.erase(id);
    }
  }
  const auto listeners = listeners_;
  for (const auto& [address, listener] : listeners) {
    if (listener->host == host) {
      close_listener(listener);
    }
  }
}

void SimNetwork::close_link(const LinkPtr& link) {
  link->is_closed = link->scheduler != nullptr && link->scheduler->is_alive();
  link->scheduler = nullptr;
  link->handler = nullptr;
  links_.erase(link->id);
}

void SimNetwork::close_listener(const ListenerPtr& listener) {
  const auto it = listeners_.find(listener->address);
  if (it != listeners_.end() && it->second->id == listener->id) {
    listeners_.erase(it);
  }
  listener->scheduler = nullptr;
  listener->peers.clear();
}

Status SimNetwork::send_up(const LinkPtr& link, const Message& message) {
  if (link->up_in_flight >= faults_.in_flight_max) {
    return make_error(ErrorCode::kBusy, "too many messages in flight");
  }
  trace('u', link->id, message);
  route(link->last_up, [&](MonoTime when) {
    ++link->up_in_flight;
    events_.run_at(when, [this, link, copy = deep_copy(message)] { arrive_up(link, copy); });
  });
  return ok();
}

Status SimNetwork::send_down(const LinkPtr& link, std::uint64_t listener, const Message& message) {
  if (link->down_in_flight >= faults_.in_flight_max) {
    return make_error(ErrorCode::kBusy, "too many messages in flight");
  }
  trace('d', link->id, message);
  route(link->last_down, [&](MonoTime when) {
    ++link->down_in_flight;
    events_.run_at(when, [this, link, listener, copy = deep_copy(message)] {
      arrive_down(link, listener, copy);
    });
  });
  return ok();
}

void SimNetwork::route(MonoTime& last, const std::function<void(MonoTime)>& deliver_at) {
  const auto up_to = [&](Duration bound) {
    const auto count = static_cast<std::uint64_t>(bound.count());
    return Duration(static_cast<Duration::rep>(random_.below(count + 1)));
  };
  // Every decision is drawn for every message, so that a knob does not shift the others' luck.
  const bool is_lost = random_.chance(faults_.loss_per_million);
  const bool is_doubled = random_.chance(faults_.duplicate_per_million);
  const bool is_reordered = random_.chance(faults_.reorder_per_million);
  const MonoTime arrival = quantised(faults_.latency_base + up_to(faults_.latency_jitter));
  const MonoTime late = quantised(faults_.latency_base + up_to(faults_.late_max));
  if (is_lost) {
    ++lost_;
  } else if (is_reordered) {
    deliver_at(late);
  } else {
    last = std::max(last, arrival);
    deliver_at(last);
  }
  if (is_doubled) {
    deliver_at(std::max(late, last));
  }
}

MonoTime SimNetwork::quantised(Duration delay) const {
  const Duration at = (events_.now() + delay).time_since_epoch();
  const Duration::rep quanta = (at.count() + faults_.quantum.count() - 1) / faults_.quantum.count();
  return MonoTime(faults_.quantum * quanta);
}

void SimNetwork::arrive_up(const LinkPtr& link, Message message) {
  --link->up_in_flight;
  const auto it = listeners_.find(link->server);
  if (it == listeners_.end() || is_cut(link->client_host, link->server_host)) {
    ++lost_;
    return;
  }
  const ListenerPtr listener = it->second;
  if (link->listener != listener->id) {
    link->listener = listener->id;
    link->peer = PeerId{listener->next_peer++};
    listener->peers.emplace(link->peer, link);
  }
  ++delivered_;
  listener->scheduler->deliver([listener, peer = link->peer, message = std::move(message)] {
    if (listener->scheduler != nullptr) {
      listener->handler(peer, message);
    }
  });
}

void SimNetwork::arrive_down(const LinkPtr& link, std::uint64_t listener, Message message) {
  --link->down_in_flight;
  if (link->scheduler == nullptr || link->listener != listener ||
      is_cut(link->client_host, link->server_host)) {
    ++lost_;
    return;
  }
  ++delivered_;
  link->scheduler->deliver([link, message = std::move(message)] {
    if (link->scheduler != nullptr) {
      link->handler(message);
    }
  });
}

void SimNetwork::trace(char kind, std::uint64_t id, const Message& message) {
  events_.trace(static_cast<std::uint64_t>(kind) << 56 | id);
  events_.trace(static_cast<std::uint64_t>(crc32c(message.head.bytes())) << 32 |
                message.bulk.size());
}

}  // namespace dfs::sim
