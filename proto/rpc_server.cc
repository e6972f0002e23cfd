#include "proto/rpc_server.h"

#include <algorithm>
#include <utility>

#include "proto/all_messages.h"
#include "proto/limited_log.h"
#include "proto/limits.h"

namespace dfs {

class RpcServer::Impl {
 public:
  Impl(World world, std::uint64_t incarnation, Handler handler)
      : world_(world),
        incarnation_(incarnation),
        handler_(std::move(handler)),
        refusals_(world.log, world.scheduler) {}

  Status listen(const Address& address) {
    DFS_TRY(listener_,
            world_.transport.listen(address, [this, alive = std::weak_ptr<const Unit>(alive_)](
                                                 PeerId peer, Message message) {
              if (!alive.expired()) {
                receive(peer, std::move(message));
              }
            }));
    return ok();
  }

  Address address() const { return listener_->address(); }
  void set_cluster(ClusterTag cluster) { cluster_ = cluster; }

  void send(PeerId peer, Buffer head, Buffer bulk) {
    const auto sent = listener_->send(peer, Message{std::move(head), std::move(bulk)});
    if (!sent && world_.log.is_enabled(LogLevel::kDebug)) {
      world_.log.debug("reply dropped: " + sent.error().detail +
                       " peer=" + std::to_string(peer.value));
    }
  }

 private:
  void receive(PeerId peer, Message message);
  void hand_over(PeerId peer, DecodedHead decoded, Message message);
  void answer_stranger(PeerId peer, const Error& error);
  void refuse(PeerId peer, const std::string& reason) {
    refusals_.warning("message refused: " + reason + " peer=" + std::to_string(peer.value));
  }
  // For a request that was understood as far as its envelope: the sender is told.
  void refuse(const ReplyAddress& to, const Error& error) {
    refuse(to.peer, error.detail);
    send(to.peer, encode_failure(to, error), {});
  }

  World world_;
  std::uint64_t incarnation_;
  Handler handler_;
  ClusterTag cluster_;
  LimitedLog refusals_;
  std::unique_ptr<Listener> listener_;
  // Expires with this object: a message already on its way here then goes nowhere.
  std::shared_ptr<const Unit> alive_ = std::make_shared<const Unit>();
};

void RpcServer::Impl::receive(PeerId peer, Message message) {
  const auto head = message.head.bytes();
  // The envelope of a head over the limit is still read, so that an honest sender hears of it.
  auto decoded = decode_head(head.first(std::min(head.size(), kHeadBytesMax)));
  if (!decoded) {
    answer_stranger(peer, decoded.error());
    return;
  }
  if (decoded->envelope.kind != MessageKind::kRequest) {
    refuse(peer, "not a request");
    return;
  }
  const ReplyAddress to{peer, decoded->envelope.request_id, decoded->envelope.type};
  if (head.size() > kHeadBytesMax || message.bulk.size() > kBulkBytesMax) {
    refuse(to, make_error(ErrorCode::kTooLarge, "a message of " + std::to_string(head.size()) +
                                                    " and " + std::to_string(message.bulk.size()) +
                                                    " bytes"));
    return;
  }
  if (message_type_name(to.type) == nullptr) {
    refuse(to, make_error(
                   ErrorCode::kNotSupported,
                   "unknown request type " + std::to_string(static_cast<std::uint16_t>(to.type))));
    return;
  }
  if (to.type == MessageType::kPing) {
    send(peer, encode_reply(to, PingReply{incarnation_}), {});
    return;
  }
  const ClusterTag meant = decoded->envelope.cluster;
  if (meant.is_set() && cluster_.is_set() && meant != cluster_) {
    refuse(to, make_error(ErrorCode::kWrongCluster,
                          "meant for a server of another cluster, whose address this one has now"));
    return;
  }
  hand_over(peer, std::move(*decoded), std::move(message));
}

void RpcServer::Impl::hand_over(PeerId peer, DecodedHead decoded, Message message) {
  RpcRequest request;
  request.peer = peer;
  request.envelope = std::move(decoded.envelope);
  request.body = decoded.body;
  request.head = std::move(message.head);
  request.bulk = std::move(message.bulk);
  if (request.envelope.deadline_ms > 0) {
    request.deadline =
        world_.scheduler.now() + std::chrono::milliseconds(request.envelope.deadline_ms);
  }
  handler_(std::move(request));
}

void RpcServer::Impl::answer_stranger(PeerId peer, const Error& error) {
  refuse(peer, error.detail);
  if (error.code == ErrorCode::kVersionMismatch) {
    // Only the first element means the same in every version: it tells the sender ours.
    send(peer, encode_failure(ReplyAddress{.peer = peer}, error), {});
  }
}

Result<std::unique_ptr<RpcServer>> RpcServer::create(World world, const Address& address,
                                                     std::uint64_t incarnation, Handler handler) {
  std::unique_ptr<RpcServer> server(new RpcServer());
  server->impl_ = std::make_unique<Impl>(world, incarnation, std::move(handler));
  DFS_CHECK_OK(server->impl_->listen(address));
  return server;
}

RpcServer::RpcServer() = default;
RpcServer::~RpcServer() = default;

Address RpcServer::address() const { return impl_->address(); }

void RpcServer::set_cluster(ClusterTag cluster) { impl_->set_cluster(cluster); }

void RpcServer::fail(const ReplyAddress& to, const Error& error) {
  send(to.peer, encode_failure(to, error));
}

Buffer RpcServer::encode_failure(const ReplyAddress& to, const Error& error) {
  Envelope envelope = reply_envelope(to);
  envelope.code = error.code;
  envelope.detail = error.detail;
  return encode_error(envelope);
}

void RpcServer::send(PeerId peer, Buffer head, Buffer bulk) {
  impl_->send(peer, std::move(head), std::move(bulk));
}

Envelope RpcServer::reply_envelope(const ReplyAddress& to) {
  Envelope envelope;
  envelope.version = kProtocolVersion;
  envelope.kind = MessageKind::kReply;
  envelope.type = to.type;
  envelope.request_id = to.request_id;
  envelope.stamp = to.stamp;
  envelope.durable_index = to.durable_index;
  return envelope;
}

}  // namespace dfs
