// The calls of one RpcClient that wait for an answer: which are sent, which are still queued, and
// when each needs attention next. Order is by id, which is the order they were made in.
//
// Bookkeeping only: it sends nothing and runs no callback.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "common/buffer.h"
#include "common/ids.h"
#include "proto/rpc_client.h"

namespace dfs {

struct PendingCall {
  MessageType type = MessageType::kPing;
  Buffer head;
  Buffer bulk;
  MonoTime deadline = MonoTime::max();
  std::function<void(Result<RpcClient::RawReply>)> done;
  // Kept by PendingCalls.
  bool is_sent = false;
  Duration resend_in{};
  MonoTime due = MonoTime::max();
};

class PendingCalls {
 public:
  // Queued, not sent. Precondition: `id` is greater than any before.
  void add(CallId id, PendingCall call);
  // The call with this id, or nullptr.
  PendingCall* find(CallId id);
  // Forgets the call and hands it over.
  std::optional<PendingCall> take(CallId id);

  // The longest waiting call that is not sent.
  std::optional<CallId> first_queued() const;
  // Sent at `now` for the first time, or again: due once more after `resend_in` or at its deadline.
  void mark_sent(CallId id, MonoTime now, Duration resend_in);
  // Back to the queue: the connection they were sent over is gone.
  void requeue_all();

  // The call that is due first.
  std::optional<std::pair<MonoTime, CallId>> first_due() const;

  std::vector<CallId> ids() const;
  std::size_t size() const { return calls_.size(); }
  bool empty() const { return calls_.empty(); }
  std::size_t sent_count() const { return calls_.size() - queued_.size(); }

 private:
  void set_due(CallId id, PendingCall& call, MonoTime due);

  std::map<CallId, PendingCall> calls_;
  std::set<CallId> queued_;
  std::set<std::pair<MonoTime, CallId>> due_;
};

}  // namespace dfs
