// One ZeroMQ socket in an EventLoop: frames in and out. Shared by listeners and connections; the
// only place, with zmq_transport.cc, that sees zmq.hpp.
//
// ZMQ_FD announces changes of state, not input, and sending may swallow the announcement of input.
// So whoever sends wakes the socket as a Source, and drain() reads until ZeroMQ has nothing more.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <zmq.hpp>

#include "common/buffer.h"
#include "common/log.h"
#include "common/real/event_loop.h"
#include "common/real/zmq_transport.h"
#include "common/result.h"

namespace dfs::real {

// A frame that shares the buffer's owner, or a copy of a small one.
zmq::message_t frame_of(Buffer buffer);
// The bytes of a received frame, moved or, when few, copied.
Buffer buffer_of(zmq::message_t frame);

class ZmqSocket final : public EventLoop::Source {
 public:
  static constexpr std::size_t kFramesMax = 3;  // routing id, head, bulk
  // `frame_count` may be larger than what was kept in `frames`; the handler must refuse that.
  using Frames = std::array<zmq::message_t, kFramesMax>;
  using Handler = std::function<void(Frames& frames, std::size_t frame_count)>;

  struct Place {
    EventLoop& loop;
    Log& log;
    std::shared_ptr<zmq::context_t> context;
    const ZmqOptions& options;
  };

  // Fails with kUnavailable when the process is out of descriptors or sockets.
  static Result<std::unique_ptr<ZmqSocket>> open(const Place& place, zmq::socket_type type,
                                                 Handler handler);
  ~ZmqSocket() override;
  ZmqSocket(const ZmqSocket&) = delete;
  ZmqSocket& operator=(const ZmqSocket&) = delete;

  // For options, bind and connect, whose exceptions are the caller's.
  zmq::socket_t& raw() { return socket_; }

  // Sends all frames as one message or none. kBusy when the peer's queue is full, kUnavailable when
  // a ROUTER does not know the peer, kTooLarge for a frame the peer would refuse.
  Status send(std::span<zmq::message_t> frames);

  // Counts a message that was refused and logs it, at most once a second.
  void log_dropped(const std::string& why);

  bool drain(std::size_t budget) override;

 private:
  ZmqSocket(const Place& place, zmq::socket_t socket, Handler handler);
  Status watch();
  std::size_t receive(Frames& frames);

  EventLoop& loop_;
  Log& log_;
  const std::size_t frame_bytes_max_;
  // Ends with the last that uses it: ending it waits for its sockets.
  const std::shared_ptr<zmq::context_t> context_;
  zmq::socket_t socket_;
  Handler handler_;
  int watched_fd_ = -1;
  MonoTime next_drop_line_{};
  std::uint64_t dropped_count_ = 0;
};

}  // namespace dfs::real
