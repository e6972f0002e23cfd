// RPC over one connection: many calls in flight, each answered once or failed with a reason.
//
// While calls are pending the client pings; the server's RPC layer answers pings at once, so
// silence for `liveness_timeout` means the peer is down or stopped, however long its work may take.
// Bytes that are no message of this protocol are no sign of life.
// What happens to pending calls then is the policy: fail them (data servers: go to another replica)
// or keep them and send them again, in order, when the peer is back (the master). A call not
// answered for `resend_after` by a live peer is sent again under the same request id, and so are
// all calls when the peer turns out to have been started anew; so every request must be repeatable:
// by its nature, or by its sequence number.
//
// Callbacks run on the Scheduler thread, never inside call(). They may destroy the RpcClient only
// through a posted task.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/cluster_tag.h"
#include "common/world.h"
#include "proto/codec.h"
#include "proto/limits.h"

namespace dfs {

using CallId = StrongId<struct CallTag, std::uint64_t>;

template <class Body>
struct RpcReply {
  Body body;
  Buffer bulk;
  ChangeStamp stamp = {};  // as in the envelope
  std::uint64_t durable_index = 0;
};

struct CallOptions {
  Duration timeout =
      Duration::zero();  // zero: as long as the policy keeps the call; else kTimedOut
  SessionId session;
  std::uint64_t sequence = 0;
  std::uint64_t acknowledged = 0;
};

class RpcClient {
 public:
  enum class WhenDown { kFailCalls, kKeepCalls };
  struct Options {
    WhenDown when_down = WhenDown::kFailCalls;
    Duration liveness_timeout = kLivenessTimeout;
    Duration ping_interval = kPingInterval;
    Duration resend_after = std::chrono::seconds(2);
    std::size_t calls_in_flight_max = kCallsInFlightMax;
    std::size_t calls_queued_max = kCallsQueuedMax;
    // Named in each request; where a server of another one answers, the peer counts as away
    // (kUnavailable). 0: any cluster's will do.
    ClusterTag cluster = {};
  };

  // `peer_name` is for logs. An address that cannot be one makes every call fail with
  // kInvalidArgument.
  RpcClient(World world, Address address, std::string peer_name, Options options);
  ~RpcClient();  // pending callbacks never run
  RpcClient(const RpcClient&) = delete;
  RpcClient& operator=(const RpcClient&) = delete;

  // Errors: what the server answered, or kUnavailable (down, outcome unknown), kTimedOut (outcome
  // unknown), kBusy (queue full, not sent), kVersionMismatch, kBadMessage (the reply is garbage).
  template <class Request>
  CallId call(const Request& request, const CallOptions& options,
              std::function<void(Result<RpcReply<typename Request::Reply>>)> done,
              Buffer bulk = {}) {
    const Envelope envelope = request_envelope(Request::kType, options);
    const CallId id{envelope.request_id};
    start(envelope, encode_message(envelope, request), std::move(bulk), options.timeout,
          [done = std::move(done)](Result<RawReply> raw) {
            if (!raw) {
              done(std::move(raw).error());
              return;
            }
            auto body = decode_body<typename Request::Reply>(raw->body);
            if (!body) {
              done(std::move(body).error());
              return;
            }
            done(RpcReply<typename Request::Reply>{std::move(*body), std::move(raw->bulk),
                                                   raw->stamp, raw->durable_index});
          });
    return id;
  }

  // Forgets the call: its callback never runs. The request may still take effect.
  void cancel(CallId call);

  // Down after liveness_timeout of silence, up again with the first message. Told on change.
  bool is_up() const;
  void on_state_change(std::function<void(bool up)> handler);

  const Address& address() const;
  std::size_t calls_pending() const;

  struct RawReply {
    Buffer head;  // owns what `body` points into
    std::span<const std::byte> body;
    Buffer bulk;
    ChangeStamp stamp;
    std::uint64_t durable_index = 0;
  };

 private:
  using RawDone = std::function<void(Result<RawReply>)>;
  Envelope request_envelope(MessageType type, const CallOptions& options);
  void start(const Envelope& envelope, Buffer head, Buffer bulk, Duration timeout, RawDone done);

  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dfs
