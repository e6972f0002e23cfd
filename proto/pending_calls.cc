#include "proto/pending_calls.h"

#include <algorithm>

#include "common/assert.h"

namespace dfs {

void PendingCalls::add(CallId id, PendingCall call) {
  DFS_ASSERT(calls_.empty() || calls_.rbegin()->first < id);
  const MonoTime deadline = call.deadline;
  const auto at = calls_.emplace_hint(calls_.end(), id, std::move(call));
  queued_.insert(queued_.end(), id);
  set_due(id, at->second, deadline);
}

PendingCall* PendingCalls::find(CallId id) {
  const auto at = calls_.find(id);
  return at == calls_.end() ? nullptr : &at->second;
}

std::optional<PendingCall> PendingCalls::take(CallId id) {
  const auto at = calls_.find(id);
  if (at == calls_.end()) {
    return std::nullopt;
  }
  set_due(id, at->second, MonoTime::max());
  queued_.erase(id);
  PendingCall call = std::move(at->second);
  calls_.erase(at);
  return call;
}

std::optional<CallId> PendingCalls::first_queued() const {
  return queued_.empty() ? std::nullopt : std::optional(*queued_.begin());
}

void PendingCalls::mark_sent(CallId id, MonoTime now, Duration resend_in) {
  const auto at = calls_.find(id);
  DFS_ASSERT(at != calls_.end());
  PendingCall& call = at->second;
  DFS_ASSERT(call.is_sent != queued_.contains(id));
  queued_.erase(id);
  call.is_sent = true;
  call.resend_in = resend_in;
  set_due(id, call, std::min(call.deadline, now + resend_in));
}

void PendingCalls::requeue_all() {
  for (auto& [id, call] : calls_) {
    call.is_sent = false;
    queued_.insert(queued_.end(), id);
    set_due(id, call, call.deadline);
  }
}

std::optional<std::pair<MonoTime, CallId>> PendingCalls::first_due() const {
  return due_.empty() ? std::nullopt : std::optional(*due_.begin());
}

std::vector<CallId> PendingCalls::ids() const {
  std::vector<CallId> ids;
  ids.reserve(calls_.size());
  for (const auto& [id, call] : calls_) {
    ids.push_back(id);
  }
  return ids;
}

void PendingCalls::set_due(CallId id, PendingCall& call, MonoTime due) {
  if (call.due == due) {
    return;
  }
  if (call.due != MonoTime::max()) {
    due_.erase({call.due, id});
  }
  if (due != MonoTime::max()) {
    due_.emplace(due, id);
  }
  call.due = due;
}

}  // namespace dfs
