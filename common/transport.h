// Port: messages between processes.
//
// Promises on purpose less than any real transport gives, so that nothing built on it leans on
// luck: a message may be lost, delayed or delivered twice; order holds only between two messages
// of one Connection's life that both arrive. Nothing is said about whether a peer is alive; the RPC
// layer finds out. All handlers run on the owner's Scheduler thread and may send, but must not
// destroy the object that called them (post a task for that).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/buffer.h"
#include "common/ids.h"
#include "common/result.h"

namespace dfs {

// What goes over the wire at once: a small encoded head, and bulk data as a frame of its own.
struct Message {
  Buffer head;
  Buffer bulk;  // empty: none
};

// A peer of a Listener, valid while its connection lives; never reused within one Listener.
using PeerId = StrongId<struct PeerTag, std::uint64_t>;

// "host:port", "[v6]:port". Port 0 on listen asks for any free one.
using Address = std::string;

class Listener {
 public:
  using Handler = std::function<void(PeerId, Message)>;
  virtual ~Listener() = default;
  virtual Address address() const = 0;  // with the real port
  // Fails with kBusy when the peer's queue is full, kUnavailable when the peer is known to be gone.
  virtual Status send(PeerId peer, Message message) = 0;
};

class Connection {
 public:
  using Handler = std::function<void(Message)>;
  virtual ~Connection() = default;
  // Fails with kBusy when the queue is full. Sent before the peer is up: queued, bounded.
  virtual Status send(Message message) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Fails with kInvalidArgument (not an address), kBusy (in use) or kUnavailable (not ours).
  virtual Result<std::unique_ptr<Listener>> listen(const Address& address,
                                                   Listener::Handler handler) = 0;
  // Returns at once; connects and reconnects in the background. Fails with kInvalidArgument.
  virtual Result<std::unique_ptr<Connection>> connect(const Address& address,
                                                      Connection::Handler handler) = 0;
};

}  // namespace dfs
