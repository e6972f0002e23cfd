// MasterLink: what is answered and not durable yet is kept, and told again to a master that may
// have lost it.
#include "fuse-client/core/master_link.h"
#include "proto/all_messages.h"

namespace dfs::client {
namespace {

constexpr std::chrono::seconds kSyncRetryDelay{1};

}  // namespace

// --- Keeping -------------------------------------------------------------------------------------

void MasterLink::keep(const Call& call, const ChangeStamp& stamp) {
  kept_.add({.sequence = call.sequence,
             .stamp = stamp,
             .answered = world_.scheduler.now(),
             .request = call.request});
  if (kept_.count() >= kKeptChangesSync || unsettled_bytes_ >= kKeptBytesSync) {
    ask_to_sync();
  } else if (!kept_timer_.is_armed()) {
    kept_timer_.start(kKeptChangeAge, [this] { kept_for_long(); });
  }
}

void MasterLink::kept_for_long() {
  if (kept_.empty()) {
    return;
  }
  const MonoTime due = kept_.oldest() + kKeptChangeAge;
  if (due <= world_.scheduler.now()) {
    ask_to_sync();
  } else {
    kept_timer_.start(due - world_.scheduler.now(), [this] { kept_for_long(); });
  }
}

void MasterLink::ask_to_sync() {
  if (sync_.is_set() || state_ != State::kOpen || is_replaying_) {
    return;  // what ends these leaves nothing kept, or comes here again
  }
  CallOptions options;
  options.session = session_;
  options.acknowledged = acknowledged();
  sync_ = rpc_.call(SyncMetadataRequest{}, options, [this](Result<RpcReply<EmptyReply>> reply) {
    sync_ = CallId{};
    if (reply) {
      note_durable(reply->durable_index);
    } else if (reply.code() == ErrorCode::kSessionExpired) {
      session_lost(session_);
      return;
    }
    if (!kept_.empty()) {
      kept_timer_.start(reply ? Duration(kKeptChangeAge) : Duration(kSyncRetryDelay),
                        [this] { kept_for_long(); });
    }
    if (!held_.empty()) {
      pump();
    }
  });
}

void MasterLink::note_durable(std::uint64_t index) {
  if (kept_.empty() || is_replaying_) {
    return;
  }
  for (const std::uint64_t sequence : kept_.settle(index)) {
    settle_sequence(sequence);
  }
}

// --- Replay --------------------------------------------------------------------------------------

void MasterLink::begin_replay(std::uint64_t incarnation) {
  if (is_replaying_ && replay_incarnation_ == incarnation) {
    return;  // it has not come yet
  }
  end_replay();
  is_replaying_ = true;
  replay_incarnation_ = incarnation;
  world_.log.warning(
      "The master may have lost changes and is told them again; calls wait. "
      "session=" +
      std::to_string(session_.value) + " changes=" + std::to_string(kept_.count()));
  leases_.lose();  // its answers may be older than what it said before
  hold_all();
  for (KeptChanges::Page& page : kept_.pages(session_, incarnation)) {
    CallOptions options;
    options.session = session_;
    options.acknowledged = acknowledged();
    const std::uint32_t number = page.request.page;
    replay_pages_[number] = rpc_.call(
        page.request, options,
        [this, number, changes = page.changes](const Result<RpcReply<ReplayChangesReply>>& reply) {
          page_answered(number, changes, reply);
        });
  }
}

// The master would hold them, and they would hold up what it waits for.
void MasterLink::hold_all() {
  if (sync_.is_set()) {
    rpc_.cancel(std::exchange(sync_, CallId{}));
  }
  std::vector<CallId> interrupted;
  // Newest first: else each one withdrawn would make room to send another.
  for (auto call = calls_.rbegin(); call != calls_.rend(); ++call) {
    if (call->second.rpc.is_set()) {
      rpc_.cancel(std::exchange(call->second.rpc, CallId{}));
      held_.insert(call->first);
      if (call->second.interrupted) {
        interrupted.push_back(call->first);
      }
    }
  }
  for (const CallId id : interrupted) {
    give_up(calls_.find(id), make_error(ErrorCode::kInterrupted));
  }
}

void MasterLink::page_answered(std::uint32_t page, const std::vector<KeptChange>& changes,
                               const Result<RpcReply<ReplayChangesReply>>& reply) {
  replay_pages_.erase(page);
  if (reply.code() == ErrorCode::kSessionExpired) {
    session_lost(session_);
    return;
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const bool has_code = reply && i < reply->body.codes.size();
    const ErrorCode code = has_code ? error_code_from_wire(reply->body.codes[i])
                                    : (reply ? ErrorCode::kBadMessage : reply.code());
    if (code != ErrorCode::kOk) {
      report_lost(changes[i], code);
    }
  }
  if (reply) {
    losses_ = reply->body.losses;
  }
  if (!replay_pages_.empty()) {
    return;
  }
  for (const KeptChange& change : kept_.all()) {
    settle_sequence(change.sequence);
  }
  kept_.clear();
  world_.log.info("The master has all changes again; calls go on. session=" +
                  std::to_string(session_.value));
  end_replay();
  pump();
}

void MasterLink::end_replay() {
  for (const auto& [page, call] : replay_pages_) {
    rpc_.cancel(call);
  }
  replay_pages_.clear();
  is_replaying_ = false;
}

void MasterLink::session_replaced(std::uint64_t losses) {
  end_replay();
  if (sync_.is_set()) {
    rpc_.cancel(std::exchange(sync_, CallId{}));
  }
  // The new session is durable, and with it all before it that was not lost till then.
  if (losses != losses_) {
    for (const KeptChange& change : kept_.all()) {
      report_lost(change, ErrorCode::kSessionExpired);
    }
  }
  kept_.clear();
  unsettled_.clear();
  leases_.forget_given_up();
  unsettled_bytes_ = 0;
}

void MasterLink::report_lost(const KeptChange& change, ErrorCode code) {
  const std::vector<InodeId> inodes = change.request->inodes(change.stamp);
  std::string names;
  for (const InodeId inode : inodes) {
    names += " inode=" + std::to_string(inode.value);
  }
  world_.log.error(std::string("A change is lost with the power of the master's machine. type=") +
                   message_type_name(change.request->type()) + names + " index=" +
                   std::to_string(change.stamp.index) + " reason=" + error_code_name(code));
  if (lost_change_) {
    lost_change_(inodes);
  }
}

}  // namespace dfs::client
