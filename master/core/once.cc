#include "master/core/once.h"

#include <optional>
#include <string>
#include <utility>

#include "common/assert.h"
#include "master/core/session_table.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

struct Answer {
  Buffer encoded;
  bool is_refused = false;
};

// Precondition: the context has the stamp of the change.
Result<Answer> apply_and_keep(OpContext& context, const RpcRequest& request,
                              const Operation& operation, bool is_withdrawn) {
  auto answer = is_withdrawn ? make_error(ErrorCode::kInterrupted, "withdrawn by the caller")
                             : operation.apply(context, request);
  context.stamp = {};
  if (!answer && (context.store.is_broken() || undoes_batch(answer.code()))) {
    return std::move(answer).error();
  }
  Answer made{.encoded = answer
                             ? std::move(*answer)
                             : RpcServer::encode_failure(request.reply_address(), answer.error()),
              .is_refused = !answer};
  DFS_CHECK_OK(context.store.keep_reply(request.envelope.session, request.envelope.sequence,
                                        std::string(made.encoded.text())));
  return made;
}

}  // namespace

bool undoes_batch(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kCorrupt || code == ErrorCode::kInternal;
}

Result<std::optional<Buffer>> answer_repeated(OpContext& context, const RpcRequest& request,
                                              const Operation& operation) {
  const Envelope& envelope = request.envelope;
  ReplyAddress to = request.reply_address();
  DFS_TRY(const std::optional<std::string> kept,
          context.store.kept_reply(envelope.session, envelope.sequence));
  if (kept) {
    // The first time may have been cut off between its commit and the sync it asked for.
    context.durable = true;
    to.durable_index = context.durable_with_batch();
    auto again = operation.readdress(to, *kept);
    return std::optional(again ? std::move(*again) : RpcServer::encode_failure(to, again.error()));
  }
  if (context.sessions.is_late(envelope.session, envelope.sequence)) {
    // A late duplicate: its sender has the answer, or asks no more, and takes no notice of this.
    // One that still waits has lost count of its changes, and goes on in another session.
    return std::optional(RpcServer::encode_failure(
        to, make_error(ErrorCode::kSessionExpired, "the answer to this change was dropped")));
  }
  if (envelope.sequence - context.sessions.acknowledged(envelope.session) > kKeptRepliesMax) {
    return std::optional(RpcServer::encode_failure(
        to, make_error(ErrorCode::kBusy, "too many answers are not acknowledged")));
  }
  return std::optional<Buffer>();
}

Result<Buffer> apply_once(OpContext& context, const RpcRequest& request, const Operation& operation,
                          bool is_withdrawn) {
  DFS_CHECK_OK(context.stamp_change());
  DFS_TRY(Answer made, apply_and_keep(context, request, operation, is_withdrawn));
  return std::move(made.encoded);
}

Result<ReplayOutcome> apply_replay(OpContext& context, const RpcRequest& request) {
  const Envelope& envelope = request.envelope;
  const Operation* operation = find_operation(envelope.type);
  DFS_ASSERT(operation != nullptr && operation->effect == Effect::kOnce);
  DFS_ASSERT(context.sessions.exists(envelope.session));
  DFS_TRY(const std::optional<std::string> kept,
          context.store.kept_reply(envelope.session, envelope.sequence));
  if (kept || envelope.sequence <= context.sessions.acknowledged(envelope.session)) {
    return ReplayOutcome::kWasThere;
  }
  const Timestamp now = std::exchange(context.now, envelope.stamp.time);
  context.session = envelope.session;
  context.stamp = envelope.stamp;
  context.is_replay = true;
  context.replayed_inode = envelope.stamp.inode;
  auto answer = apply_and_keep(context, request, *operation, false);
  context.is_replay = false;
  context.replayed_inode = {};
  context.session = {};
  context.now = now;
  DFS_CHECK_OK(answer);
  return answer->is_refused ? ReplayOutcome::kRefused : ReplayOutcome::kApplied;
}

}  // namespace dfs::master
