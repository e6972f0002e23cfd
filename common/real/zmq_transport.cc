#include "common/real/zmq_transport.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "common/assert.h"
#include "common/real/address.h"
#include "common/real/zmq_socket.h"

namespace dfs::real {
namespace {

constexpr int kSocketsMax = 8192;  // of a process; beyond it connect fails with kUnavailable
// Resolving a name blocks the I/O thread it is done in, so names have a thread of their own.
constexpr int kIoThreads = 2;
constexpr std::uint64_t kNumericHostsThread = 1u << 0;
constexpr std::uint64_t kNamedHostsThread = 1u << 1;
constexpr std::chrono::seconds kTryOtherFamilyAfter{1};

// ROUTER names peers that do not name themselves by a zero byte and a 32-bit number.
constexpr std::size_t kRoutingIdBytes = 5;
using RoutingId = std::array<unsigned char, kRoutingIdBytes>;

std::optional<PeerId> peer_of(const zmq::message_t& frame) {
  if (frame.size() != kRoutingIdBytes || frame.data<unsigned char>()[0] != 0) {
    return std::nullopt;
  }
  std::uint64_t number = 0;
  for (std::size_t i = 1; i < kRoutingIdBytes; ++i) {
    number = number << 8 | frame.data<unsigned char>()[i];
  }
  return PeerId{number + 1};  // PeerId 0 is "none"
}

RoutingId routing_id_of(PeerId peer) {
  RoutingId id{};
  std::uint64_t number = peer.value - 1;
  for (std::size_t i = kRoutingIdBytes - 1; i > 0; --i) {
    id[i] = static_cast<unsigned char>(number & 0xff);
    number >>= 8;
  }
  DFS_ASSERT(number == 0);
  return id;
}

// Frames from `first` on are [head] or [head][bulk]; the caller checked their number.
Message message_of(ZmqSocket::Frames& frames, std::size_t first, std::size_t frame_count) {
  Message message;
  message.head = buffer_of(std::move(frames[first]));
  if (first + 1 < frame_count) {
    message.bulk = buffer_of(std::move(frames[first + 1]));
  }
  return message;
}

Error listen_error(const Address& address, const zmq::error_t& error) {
  const std::string detail = "listen on " + address + ": " + error.what();
  switch (error.num()) {
    case EADDRINUSE: return make_error(ErrorCode::kBusy, detail);
    case EINVAL: return make_error(ErrorCode::kInvalidArgument, detail);
    default: return make_error(ErrorCode::kUnavailable, detail);
  }
}

class ZmqListener final : public Listener {
 public:
  static Result<std::unique_ptr<Listener>> open(const ZmqSocket::Place& place, HostPort where,
                                                Handler handler) {
    std::unique_ptr<ZmqListener> listener(new ZmqListener(std::move(handler)));
    ZmqListener* const self = listener.get();
    DFS_TRY(listener->socket_,
            ZmqSocket::open(place, zmq::socket_type::router,
                            [self](ZmqSocket::Frames& frames, std::size_t frame_count) {
                              self->receive(frames, frame_count);
                            }));
    try {
      zmq::socket_t& socket = listener->socket_->raw();
      socket.set(zmq::sockopt::affinity, kNumericHostsThread);
      socket.bind("tcp://" + where.text());
      // The host is kept as it was asked for: ZeroMQ shows IPv4 addresses in their IPv6 form.
      const std::string endpoint = socket.get(zmq::sockopt::last_endpoint);
      where.port = static_cast<std::uint16_t>(std::stoul(endpoint.substr(endpoint.rfind(':') + 1)));
    } catch (const zmq::error_t& error) {
      return listen_error(where.text(), error);
    }
    listener->address_ = where.text();
    return std::unique_ptr<Listener>(std::move(listener));
  }

  Address address() const override { return address_; }

  Status send(PeerId peer, Message message) override {
    const RoutingId id = routing_id_of(peer);
    std::array<zmq::message_t, ZmqSocket::kFramesMax> frames;
    frames[0] = zmq::message_t(id.data(), id.size());
    frames[1] = frame_of(std::move(message.head));
    if (message.bulk.empty()) {
      return socket_->send(std::span(frames).first(2));
    }
    frames[2] = frame_of(std::move(message.bulk));
    return socket_->send(frames);
  }

 private:
  explicit ZmqListener(Handler handler) : handler_(std::move(handler)) {}

  void receive(ZmqSocket::Frames& frames, std::size_t frame_count) {
    if (frame_count < 2 || frame_count > 3) {
      socket_->log_dropped("frames=" + std::to_string(frame_count - 1) + " listener=" + address_);
      return;
    }
    const std::optional<PeerId> peer = peer_of(frames[0]);
    if (!peer) {
      socket_->log_dropped("the peer names itself listener=" + address_);
      return;
    }
    handler_(*peer, message_of(frames, 1, frame_count));
  }

  Handler handler_;
  Address address_;
  std::unique_ptr<ZmqSocket> socket_;
};

class ZmqConnection final : public Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const ZmqSocket::Place& place,
                                                  const HostPort& where, Handler handler) {
    std::unique_ptr<ZmqConnection> connection(
        new ZmqConnection(place.loop, where.text(), std::move(handler)));
    ZmqConnection* const self = connection.get();
    DFS_TRY(connection->socket_,
            ZmqSocket::open(place, zmq::socket_type::dealer,
                            [self](ZmqSocket::Frames& frames, std::size_t frame_count) {
                              self->receive(frames, frame_count);
                            }));
    try {
      zmq::socket_t& socket = connection->socket_->raw();
      socket.set(zmq::sockopt::affinity,
                 where.is_numeric ? kNumericHostsThread : kNamedHostsThread);
      socket.set(zmq::sockopt::ipv6, where.is_numeric);
      socket.connect(connection->endpoint_);
    } catch (const zmq::error_t& error) {
      return make_error(ErrorCode::kInvalidArgument,
                        "connect to " + where.text() + ": " + error.what());
    }
    if (!where.is_numeric) {
      connection->schedule_other_family();
    }
    return std::unique_ptr<Connection>(std::move(connection));
  }

  Status send(Message message) override {
    std::array<zmq::message_t, 2> frames;
    frames[0] = frame_of(std::move(message.head));
    if (message.bulk.empty()) {
      return socket_->send(std::span(frames).first(1));
    }
    frames[1] = frame_of(std::move(message.bulk));
    return socket_->send(frames);
  }

 private:
  ZmqConnection(EventLoop& loop, const Address& address, Handler handler)
      : endpoint_("tcp://" + address), handler_(std::move(handler)), other_family_(loop) {}

  void receive(ZmqSocket::Frames& frames, std::size_t frame_count) {
    other_family_.stop();
    if (frame_count > 2) {
      socket_->log_dropped("frames=" + std::to_string(frame_count) + " from=" + endpoint_);
      return;
    }
    handler_(message_of(frames, 0, frame_count));
  }

  // ZeroMQ takes one address of a name, of the IPv6 kind if there is one. A host that listens on
  // the other kind only ("localhost", often) would never be reached, so both are tried in turn
  // until one answers. What was queued is lost with each try, as the port allows.
  void schedule_other_family() {
    other_family_.start(kTryOtherFamilyAfter, [this] {
      try {
        zmq::socket_t& socket = socket_->raw();
        socket.disconnect(endpoint_);
        socket.set(zmq::sockopt::ipv6, !socket.get(zmq::sockopt::ipv6));
        socket.connect(endpoint_);
      } catch (const zmq::error_t& error) {
        socket_->log_dropped(std::string("cannot connect again: ") + error.what());
      }
      schedule_other_family();
    });
  }

  const std::string endpoint_;
  Handler handler_;
  std::unique_ptr<ZmqSocket> socket_;
  Timer other_family_;
};

}  // namespace

struct ZmqTransport::Impl {
  Impl(EventLoop& l, Log& g, ZmqOptions o) : loop(l), log(g), options(o) {
    context->set(zmq::ctxopt::max_sockets, kSocketsMax);
  }
  ZmqSocket::Place place() { return {loop, log, context, options}; }

  EventLoop& loop;
  Log& log;
  const ZmqOptions options;
  const std::shared_ptr<zmq::context_t> context = std::make_shared<zmq::context_t>(kIoThreads);
};

ZmqTransport::ZmqTransport(EventLoop& loop, Log& log, ZmqOptions options)
    : impl_(std::make_unique<Impl>(loop, log, options)) {}

ZmqTransport::~ZmqTransport() = default;

Result<std::unique_ptr<Listener>> ZmqTransport::listen(const Address& address,
                                                       Listener::Handler handler) {
  DFS_TRY(HostPort where, parse_listen_address(address));
  return ZmqListener::open(impl_->place(), std::move(where), std::move(handler));
}

Result<std::unique_ptr<Connection>> ZmqTransport::connect(const Address& address,
                                                          Connection::Handler handler) {
  DFS_TRY(const HostPort where, parse_connect_address(address));
  return ZmqConnection::open(impl_->place(), where, std::move(handler));
}

}  // namespace dfs::real
