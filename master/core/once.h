// Changes (Effect::kOnce): applied the first time they are seen, answered the same way every time.
#pragma once

#include "common/buffer.h"
#include "common/result.h"
#include "master/core/dispatch.h"
#include "master/core/op_context.h"
#include "proto/rpc_server.h"

namespace dfs::master {

// Errors that no operation finds while it validates: something may be half written, or the rows
// contradict each other. They undo the transaction, whether or not the store has noticed.
bool undoes_batch(ErrorCode code);

// What a change that is not to be applied is answered: the kept answer when it was applied, else a
// refusal. std::nullopt: it is to be applied. Errors are the store's. Preconditions: the session
// exists, the request has a sequence.
Result<std::optional<Buffer>> answer_repeated(OpContext& context, const RpcRequest& request,
                                              const Operation& operation);
// Applies the change of `request`. A refusal is an answer. With `is_withdrawn` it is refused with
// kInterrupted instead. Errors are the store's alone and undo the batch. Precondition:
// answer_repeated() knew nothing, in the same transaction.
Result<Buffer> apply_once(OpContext& context, const RpcRequest& request, const Operation& operation,
                          bool is_withdrawn);

enum class ReplayOutcome { kWasThere, kApplied, kRefused };

// The same for a change that was answered before a loss and bears its stamp: with the time and the
// inode it had then. Its answer is kept like any other and sent to nobody. Precondition: as Replays
// gives it; the session exists.
Result<ReplayOutcome> apply_replay(OpContext& context, const RpcRequest& request);

}  // namespace dfs::master
