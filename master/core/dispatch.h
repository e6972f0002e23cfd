// From the type of a request to the operation that applies it.
#pragma once

#include <string_view>

#include "common/buffer.h"
#include "common/result.h"
#include "master/core/lease_changes.h"
#include "master/core/op_context.h"
#include "proto/rpc_server.h"

namespace dfs::master {

// How an operation may be repeated.
enum class Effect {
  kNone,        // changes nothing: repeated freely, skipped when its sender stopped waiting
  kRepeatable,  // changes something, and by its nature nothing more when it comes again
  kOnce,        // must carry a sequence; its answer is kept and sent again
};

struct Operation {
  MessageType type;
  Effect effect;
  bool needs_session;
  bool in_grace;  // answered in the grace period too: says nothing of names, sizes and contents

  // Decodes, applies and encodes the answer. Neither kept nor sent here; a refusal comes back as
  // the error it is. A body that cannot be decoded is kBadMessage. Empty: no answer, or a later
  // one.
  Result<Buffer> (*apply)(OpContext& context, const RpcRequest& request);
  // What it is about to change for other sessions; null: nothing they may keep. A body that cannot
  // be decoded changes nothing.
  Result<LeaseChanges> (*changes)(OpContext& context, const RpcRequest& request);
  // The file whose contents it tells, or 0; null for other requests.
  InodeId (*tells_contents)(const RpcRequest& request);
  // What it is about, for people; nothing if the body cannot be decoded.
  RequestSubject (*subject)(const RpcRequest& request);
  // A kept answer, as an answer to `to`. Fails with kInternal when it is of another type.
  Result<Buffer> (*readdress)(const ReplyAddress& to, std::string_view kept);
};

// Null for what a master does not answer.
const Operation* find_operation(MessageType type);

}  // namespace dfs::master
