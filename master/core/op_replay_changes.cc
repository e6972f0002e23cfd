#include <optional>

#include "master/core/operations.h"
#include "master/core/session_table.h"

namespace dfs::master {
namespace {

Result<ErrorCode> outcome(OpContext& context, std::uint64_t sequence) {
  DFS_TRY(const std::optional<std::string> kept,
          context.store.kept_reply(context.session, sequence));
  if (!kept) {
    return sequence <= context.sessions.acknowledged(context.session) ? ErrorCode::kOk
                                                                      : ErrorCode::kIo;
  }
  DFS_TRY(const DecodedHead head,
          decode_head(std::as_bytes(std::span(kept->data(), kept->size()))));
  return head.envelope.code;
}

}  // namespace

// Reached only after the grace period: until then the request is held. What became of each change
// is written in its kept answer, so a page that comes again is answered the same way.
Result<ReplayChangesReply> apply(OpContext& context, const ReplayChangesRequest& request) {
  ReplayChangesReply reply;
  for (const std::string& change : request.changes) {
    DFS_TRY(const DecodedHead head,
            decode_head(std::as_bytes(std::span(change.data(), change.size()))));
    DFS_TRY(const ErrorCode code, outcome(context, head.envelope.sequence));
    reply.codes.push_back(static_cast<std::uint16_t>(code));
  }
  DFS_TRY(reply.losses, context.store.counter(Counter::kLosses));
  context.durable = true;
  return reply;
}

}  // namespace dfs::master
