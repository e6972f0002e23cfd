// The real Transport: ZeroMQ over TCP, IPv4 and IPv6.
//
// A Listener is a ROUTER, a Connection a DEALER. A message is one frame (head) or two (head, bulk);
// anything else is dropped and logged, one line a second at most. Large frames are not copied:
// sending shares the Buffer's owner with ZeroMQ's I/O thread, which may be the one to release it;
// received Buffers own what ZeroMQ read into. Small ones are copied, so that a kept Buffer never
// pins more memory than it shows.
//
// Bounded: frames by frame_bytes_max (a peer that sends more is disconnected), queues of each peer
// by message counts. Half-open connections die by ZeroMQ's heartbeats, in about 6 s.
//
// Names are resolved by ZeroMQ at each connection attempt; a name that stands for an IPv4 and an
// IPv6 host is tried both ways. An unknown or refusing host is not an error here: it is tried
// again, every 50 ms to 500 ms, and the RPC layer sees silence.
#pragma once

#include <cstddef>
#include <memory>

#include "common/log.h"
#include "common/real/event_loop.h"
#include "common/transport.h"

namespace dfs::real {

struct ZmqOptions {
  std::size_t frame_bytes_max = 8u << 20;  // above proto's kHeadBytesMax and kBulkBytesMax
  int send_queue_max = 2048;               // messages of one peer; then kBusy
  int receive_queue_max = 512;             // messages of one peer; then TCP pushes back
};

class ZmqTransport final : public Transport {
 public:
  // The loop and the log must outlive the transport. Make it after any fork(): it has threads.
  ZmqTransport(EventLoop& loop, Log& log, ZmqOptions options = {});
  // Its threads end with the last listener or connection. What those had queued is dropped.
  ~ZmqTransport() override;

  // As the port says. To listen, the host must be an IP address of this machine, or "*" for all of
  // IPv4 and IPv6.
  Result<std::unique_ptr<Listener>> listen(const Address& address,
                                           Listener::Handler handler) override;
  Result<std::unique_ptr<Connection>> connect(const Address& address,
                                              Connection::Handler handler) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dfs::real
