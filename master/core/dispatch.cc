#include "master/core/dispatch.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <type_traits>

#include "common/assert.h"
#include "master/core/operations.h"
#include "proto/codec.h"

namespace dfs::master {
namespace {

template <class Request>
Result<Buffer> apply_request(OpContext& context, const RpcRequest& message) {
  DFS_TRY(const Request request, decode_body<Request>(message.body));
  context.begin_reply();
  DFS_TRY(typename Request::Reply reply, apply(context, request));
  if constexpr (requires { reply.lease; }) {
    reply.lease = context.lease();
  }
  ReplyAddress to = message.reply_address();
  to.stamp = context.stamp;
  to.durable_index = context.durable_with_batch();
  return RpcServer::encode_reply(to, reply);
}

template <class Request>
Result<LeaseChanges> changes_of(OpContext& context, const RpcRequest& message) {
  const auto request = decode_body<Request>(message.body);
  return request ? lease_changes(context, *request) : LeaseChanges{};
}

template <class Request>
InodeId contents_told(const RpcRequest& message) {
  const auto request = decode_body<Request>(message.body);
  return request ? request->inode : InodeId{};
}

template <class Request>
RequestSubject subject_of(const RpcRequest& message) {
  const auto request = decode_body<Request>(message.body);
  if (!request) {
    return {};
  }
  if constexpr (requires { request->parent; }) {
    return {request->parent, request->name};
  } else if constexpr (requires { request->files; }) {
    return {request->files.empty() ? InodeId{} : request->files.front().inode, {}};
  } else if constexpr (requires { request->destination; }) {
    return {request->destination, {}};
  } else if constexpr (requires { request->inode; }) {
    return {request->inode, {}};
  } else {
    return {};
  }
}

template <class Request>
Result<Buffer> readdress_reply(const ReplyAddress& asked, std::string_view kept) {
  const auto bytes = std::as_bytes(std::span(kept.data(), kept.size()));
  DFS_TRY(const DecodedHead head, decode_head(bytes));
  if (head.envelope.type != Request::kType || head.envelope.kind != MessageKind::kReply) {
    return make_error(ErrorCode::kInternal, "the sequence number was used for another request");
  }
  ReplyAddress to = asked;
  to.stamp = head.envelope.stamp;
  if (head.envelope.code != ErrorCode::kOk) {
    return RpcServer::encode_failure(to, {head.envelope.code, head.envelope.detail});
  }
  DFS_TRY(typename Request::Reply reply, decode_body<typename Request::Reply>(head.body));
  if constexpr (requires { reply.lease; }) {
    reply.lease = 0;  // much may have changed since
  }
  if constexpr (std::is_same_v<Request, CommitExtentsRequest>) {
    for (FileCommitResult& result : reply.results) {
      result.lease = 0;
    }
  }
  return RpcServer::encode_reply(to, reply);
}

// Of operations that may answer later, or not at all: an empty answer is none.
template <class Request>
Result<Buffer> apply_patient_request(OpContext& context, const RpcRequest& message) {
  DFS_TRY(const Request request, decode_body<Request>(message.body));
  ReplyAddress to = message.reply_address();
  DFS_TRY(const std::optional<typename Request::Reply> reply, apply(context, request, to));
  if (!reply) {
    return Buffer();
  }
  to.durable_index = context.durable_with_batch();
  return RpcServer::encode_reply(to, *reply);
}

enum class Needs { kSession, kNothing };
enum class InGrace { kWaits, kAnswered };

template <class Request>
constexpr auto changes_function() -> decltype(Operation::changes) {
  if constexpr (requires(OpContext & context, const Request& request) {
                  lease_changes(context, request);
                }) {
    return &changes_of<Request>;
  } else {
    return nullptr;
  }
}

template <class Request>
constexpr auto contents_function() -> decltype(Operation::tells_contents) {
  if constexpr (std::is_same_v<Request, GetExtentsRequest> ||
                std::is_same_v<Request, SeekRequest>) {
    return &contents_told<Request>;
  } else {
    return nullptr;
  }
}

template <class Request>
constexpr Operation operation(Effect effect, Needs needs, InGrace in_grace = InGrace::kWaits) {
  return {.type = Request::kType,
          .effect = effect,
          .needs_session = needs == Needs::kSession,
          .in_grace = in_grace == InGrace::kAnswered,
          .apply = &apply_request<Request>,
          .changes = changes_function<Request>(),
          .tells_contents = contents_function<Request>(),
          .subject = &subject_of<Request>,
          .readdress = &readdress_reply<Request>};
}

// Locks: nothing of the store, and with a grace period of their own (lock_service.h).
template <class Request>
constexpr Operation lock_operation(Effect effect) {
  return {.type = Request::kType,
          .effect = effect,
          .needs_session = true,
          .in_grace = true,
          .apply = &apply_patient_request<Request>,
          .changes = nullptr,
          .tells_contents = nullptr,
          .subject = &subject_of<Request>,
          .readdress = &readdress_reply<Request>};
}

// By type.
constexpr Operation kOperations[] = {
    operation<OpenSessionRequest>(Effect::kRepeatable, Needs::kNothing, InGrace::kAnswered),
    operation<KeepAliveRequest>(Effect::kRepeatable, Needs::kSession, InGrace::kAnswered),
    operation<CloseSessionRequest>(Effect::kRepeatable, Needs::kSession),
    operation<ReplayChangesRequest>(Effect::kRepeatable, Needs::kSession),
    operation<TakeWriteLeaseRequest>(Effect::kRepeatable, Needs::kSession),
    operation<ReleaseWriteLeasesRequest>(Effect::kRepeatable, Needs::kSession),

    operation<LookupRequest>(Effect::kNone, Needs::kNothing),
    operation<GetAttributesRequest>(Effect::kNone, Needs::kNothing),
    operation<SetAttributesRequest>(Effect::kOnce, Needs::kSession),
    operation<CreateRequest>(Effect::kOnce, Needs::kSession),
    operation<UnlinkRequest>(Effect::kOnce, Needs::kSession),
    operation<RemoveDirectoryRequest>(Effect::kOnce, Needs::kSession),
    operation<RenameRequest>(Effect::kOnce, Needs::kSession),
    operation<LinkRequest>(Effect::kOnce, Needs::kSession),
    operation<ReadLinkRequest>(Effect::kNone, Needs::kNothing),
    operation<ReadDirectoryRequest>(Effect::kNone, Needs::kNothing),
    operation<StatFilesystemRequest>(Effect::kNone, Needs::kNothing),
    operation<GetXattrRequest>(Effect::kNone, Needs::kNothing),
    operation<SetXattrRequest>(Effect::kOnce, Needs::kSession),
    operation<ListXattrsRequest>(Effect::kNone, Needs::kNothing),
    operation<RemoveXattrRequest>(Effect::kOnce, Needs::kSession),

    operation<GetExtentsRequest>(Effect::kNone, Needs::kNothing),
    operation<CommitExtentsRequest>(Effect::kOnce, Needs::kSession),
    operation<OpenChunkRequest>(Effect::kOnce, Needs::kSession),
    operation<SealChunkRequest>(Effect::kRepeatable, Needs::kSession),
    operation<ReportBadReplicaRequest>(Effect::kRepeatable, Needs::kSession),
    operation<SyncMetadataRequest>(Effect::kNone, Needs::kNothing),
    operation<SeekRequest>(Effect::kNone, Needs::kNothing),
    operation<AllocateRequest>(Effect::kOnce, Needs::kSession),
    operation<CloneRangeRequest>(Effect::kOnce, Needs::kSession),

    lock_operation<SetLockRequest>(Effect::kRepeatable),
    lock_operation<TestLockRequest>(Effect::kNone),
    lock_operation<AwaitLocksRequest>(Effect::kRepeatable),
    lock_operation<ReclaimLocksRequest>(Effect::kRepeatable),

    operation<RegisterNodeRequest>(Effect::kRepeatable, Needs::kNothing, InGrace::kAnswered),
    operation<HeartbeatRequest>(Effect::kRepeatable, Needs::kNothing, InGrace::kAnswered),
    operation<ReportInventoryRequest>(Effect::kRepeatable, Needs::kNothing, InGrace::kAnswered),
    operation<ReportReplicasRequest>(Effect::kRepeatable, Needs::kNothing, InGrace::kAnswered),

    operation<ClusterStatusRequest>(Effect::kNone, Needs::kNothing, InGrace::kAnswered),
    operation<ListNodesRequest>(Effect::kNone, Needs::kNothing, InGrace::kAnswered),
    operation<DescribeChunksRequest>(Effect::kNone, Needs::kNothing),
    operation<SetPolicyRequest>(Effect::kRepeatable, Needs::kNothing),
    operation<ListChunksRequest>(Effect::kNone, Needs::kNothing),
    operation<CheckMetadataRequest>(Effect::kNone, Needs::kNothing),
    operation<ListWaitsRequest>(Effect::kNone, Needs::kNothing, InGrace::kAnswered),
};

static_assert(std::is_sorted(std::begin(kOperations), std::end(kOperations),
                             [](const Operation& left, const Operation& right) {
                               return left.type < right.type;
                             }));

}  // namespace

const Operation* find_operation(MessageType type) {
  const auto* found = std::lower_bound(
      std::begin(kOperations), std::end(kOperations), type,
      [](const Operation& operation, MessageType wanted) { return operation.type < wanted; });
  return found != std::end(kOperations) && found->type == type ? found : nullptr;
}

}  // namespace dfs::master
