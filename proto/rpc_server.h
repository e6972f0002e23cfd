// The answering side of RPC: checks what arrives, answers pings and strangers by itself, and hands
// well-formed requests to the owner.
//
// Garbage, oversized and wrong-version messages are refused with a logged reason (bounded: one line
// a second and a count) and never reach the owner. A wrong version is answered with
// kVersionMismatch in a form every version understands. Pings are answered whatever cluster they
// name.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/world.h"
#include "proto/codec.h"

namespace dfs {

// Where an answer goes. Copyable; may be kept as long as the answer takes.
struct ReplyAddress {
  PeerId peer;
  std::uint64_t request_id = 0;
  MessageType type = MessageType::kPing;
  // What the envelope of the answer says besides; see codec.h.
  ChangeStamp stamp = {};
  std::uint64_t durable_index = 0;
};

struct RpcRequest {
  PeerId peer;
  Envelope envelope;
  Buffer head;  // owns what `body` points into
  std::span<const std::byte> body;
  Buffer bulk;
  MonoTime deadline = MonoTime::max();  // when the sender will have stopped waiting

  ReplyAddress reply_address() const {
    return {.peer = peer, .request_id = envelope.request_id, .type = envelope.type};
  }
};

class RpcServer {
 public:
  using Handler = std::function<void(RpcRequest)>;

  // Starts to listen. `incarnation` is what pings are answered with. Fails as Transport::listen.
  static Result<std::unique_ptr<RpcServer>> create(World world, const Address& address,
                                                   std::uint64_t incarnation, Handler handler);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  Address address() const;
  // Whose server this is: requests that name another cluster fail with kWrongCluster. Until it is
  // known, all are taken.
  void set_cluster(ClusterTag cluster);

  // A reply that cannot be sent (peer gone, queue full) is dropped: the caller asks again.
  template <class Reply>
  void reply(const ReplyAddress& to, const Reply& body, Buffer bulk = {}) {
    send(to.peer, encode_message(reply_envelope(to), body), std::move(bulk));
  }
  void fail(const ReplyAddress& to, const Error& error);
  // For answers that are kept to be repeated: the encoded head of a reply or an error, and sending
  // such a head to whoever asks (again).
  template <class Reply>
  static Buffer encode_reply(const ReplyAddress& to, const Reply& body) {
    return encode_message(reply_envelope(to), body);
  }
  static Buffer encode_failure(const ReplyAddress& to, const Error& error);
  void send(PeerId peer, Buffer head, Buffer bulk = {});

 private:
  RpcServer();
  static Envelope reply_envelope(const ReplyAddress& to);

  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dfs
