#include "common/real/zmq_socket.h"

#include <sys/epoll.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <utility>

#include "common/assert.h"

namespace dfs::real {
namespace {

using std::chrono::milliseconds;

// ZeroMQ reads and writes the socket in batches of this size: a smaller received frame shares its
// batch's memory, a smaller sent one is copied into a batch anyway.
constexpr std::size_t kCopiedBytesMax = 8192;

constexpr int kLingerMs = 0;  // what matters was answered; a dead peer must not hold up an exit
constexpr int kReconnectMs = 50;
constexpr int kReconnectMsMax = 500;
constexpr int kConnectTimeoutMs = 2000;  // else the kernel's back-off decides when a host is back
constexpr int kHeartbeatMs = 2000;
constexpr int kHeartbeatTimeoutMs = 6000;
constexpr int kBacklog = 1024;
constexpr std::chrono::seconds kDropLineInterval{1};

// Runs in ZeroMQ's I/O thread or in ours, whichever drops the last reference.
void release_buffer(void* /*data*/, void* hint) noexcept {
  const std::unique_ptr<Buffer> released(static_cast<Buffer*>(hint));
}

void set_options(zmq::socket_t& socket, const ZmqOptions& options) {
  socket.set(zmq::sockopt::linger, kLingerMs);
  socket.set(zmq::sockopt::ipv6, true);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options.frame_bytes_max));
  socket.set(zmq::sockopt::sndhwm, options.send_queue_max);
  socket.set(zmq::sockopt::rcvhwm, options.receive_queue_max);
  socket.set(zmq::sockopt::reconnect_ivl, kReconnectMs);
  socket.set(zmq::sockopt::reconnect_ivl_max, kReconnectMsMax);
  socket.set(zmq::sockopt::connect_timeout, kConnectTimeoutMs);
  socket.set(zmq::sockopt::heartbeat_ivl, kHeartbeatMs);
  socket.set(zmq::sockopt::heartbeat_timeout, kHeartbeatTimeoutMs);
  socket.set(zmq::sockopt::heartbeat_ttl, kHeartbeatTimeoutMs);
  socket.set(zmq::sockopt::backlog, kBacklog);
  if (socket.get(zmq::sockopt::type) == static_cast<int>(zmq::socket_type::router)) {
    socket.set(zmq::sockopt::router_mandatory, true);
  }
}

}  // namespace

zmq::message_t frame_of(Buffer buffer) {
  if (buffer.size() <= kCopiedBytesMax) {
    return zmq::message_t(buffer.data(), buffer.size());
  }
  auto held = std::make_unique<Buffer>(std::move(buffer));
  // ZeroMQ takes a pointer to mutable bytes but only reads what is sent.
  void* const data = const_cast<std::byte*>(held->data());
  const std::size_t size = held->size();
  return zmq::message_t(data, size, release_buffer, held.release());
}

Buffer buffer_of(zmq::message_t frame) {
  if (frame.size() <= kCopiedBytesMax) {
    return Buffer::copy_of(std::span(frame.data<std::byte>(), frame.size()));
  }
  // The bytes of a short message live inside message_t, so the address is taken after the move.
  const auto owner = std::make_shared<zmq::message_t>(std::move(frame));
  return Buffer(owner, owner->data<std::byte>(), owner->size());
}

Result<std::unique_ptr<ZmqSocket>> ZmqSocket::open(const Place& place, zmq::socket_type type,
                                                   Handler handler) {
  try {
    zmq::socket_t socket(*place.context, type);
    set_options(socket, place.options);
    std::unique_ptr<ZmqSocket> opened(new ZmqSocket(place, std::move(socket), std::move(handler)));
    DFS_CHECK_OK(opened->watch());
    return opened;
  } catch (const zmq::error_t& error) {
    return make_error(ErrorCode::kUnavailable, std::string("open a socket: ") + error.what());
  }
}

ZmqSocket::ZmqSocket(const Place& place, zmq::socket_t socket, Handler handler)
    : loop_(place.loop),
      log_(place.log),
      frame_bytes_max_(place.options.frame_bytes_max),
      context_(place.context),
      socket_(std::move(socket)),
      handler_(std::move(handler)) {}

ZmqSocket::~ZmqSocket() {
  loop_.forget(*this);
  if (watched_fd_ >= 0) {
    loop_.unwatch_fd(watched_fd_);
  }
}

Status ZmqSocket::watch() {
  const int fd = socket_.get(zmq::sockopt::fd);
  DFS_CHECK_OK(loop_.watch_fd(fd, EPOLLIN, [this](std::uint32_t) { loop_.wake(*this); }));
  watched_fd_ = fd;
  return ok();
}

Status ZmqSocket::send(std::span<zmq::message_t> frames) {
  for (const zmq::message_t& frame : frames) {
    if (frame.size() > frame_bytes_max_) {
      return make_error(ErrorCode::kTooLarge,
                        "a frame of " + std::to_string(frame.size()) + " bytes is over the limit");
    }
  }
  loop_.wake(*this);
  try {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const bool is_last = i + 1 == frames.size();
      const auto flags = is_last ? zmq::send_flags::dontwait
                                 : zmq::send_flags::dontwait | zmq::send_flags::sndmore;
      // ZeroMQ decides at the first frame: it refuses that one or takes (or drops) the whole
      // message. A refusal later on withdraws the frames before it.
      if (!socket_.send(frames[i], flags)) {
        return make_error(ErrorCode::kBusy, "the peer's send queue is full");
      }
    }
    return ok();
  } catch (const zmq::error_t& error) {
    return make_error(ErrorCode::kUnavailable, error.what());
  }
}

void ZmqSocket::log_dropped(const std::string& why) {
  ++dropped_count_;
  const MonoTime now = loop_.now();
  if (now >= next_drop_line_) {
    next_drop_line_ = now + kDropLineInterval;
    log_.warning("dropped a message: " + why + " dropped_total=" + std::to_string(dropped_count_));
  }
}

bool ZmqSocket::drain(std::size_t budget) {
  Frames frames;
  for (std::size_t i = 0; i < budget; ++i) {
    const std::size_t frame_count = receive(frames);
    if (frame_count == 0) {
      return false;
    }
    handler_(frames, frame_count);
  }
  return true;
}

// The frames of the next message, or 0. Frames past the array are counted and let go.
std::size_t ZmqSocket::receive(Frames& frames) {
  std::size_t count = 0;
  try {
    bool more = true;
    while (more) {
      zmq::message_t frame;
      if (!socket_.recv(frame, zmq::recv_flags::dontwait)) {
        DFS_ASSERT(count == 0);  // the frames of a message arrive together
        return 0;
      }
      more = frame.more();
      if (count < frames.size()) {
        frames[count] = std::move(frame);
      }
      ++count;
    }
  } catch (const zmq::error_t& error) {
    // EINTR is the only one a live socket can give, and then nothing was taken.
    DFS_ASSERT_MSG(error.num() == EINTR && count == 0, std::string(error.what()));
    loop_.wake(*this);
    return 0;
  }
  return count;
}

}  // namespace dfs::real
