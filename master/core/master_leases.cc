// Master: leases. Requests that wait until others have dropped what they change, and the messages
// about that, which need no transaction and are answered at once.
#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "master/core/dispatch.h"
#include "master/core/master.h"
#include "proto/all_messages.h"

namespace dfs::master {

// --- Requests ------------------------------------------------------------------------------------

// Whether it was one, and is done with.
bool Master::take_lease_request(const RpcRequest& request) {
  const MessageType type = request.envelope.type;
  if (type != MessageType::kWaitForNotices && type != MessageType::kReclaimLeases &&
      type != MessageType::kWithdraw) {
    return false;
  }
  const SessionId session = request.envelope.session;
  if (!sessions_.exists(session)) {
    server_->fail(request.reply_address(),
                  make_error(ErrorCode::kSessionExpired, "the session is over"));
    return true;
  }
  sessions_.heard_from(session, request.envelope.acknowledged);
  if (type == MessageType::kWaitForNotices) {
    take_poll(request);
  } else if (type == MessageType::kReclaimLeases) {
    take_reclaim(request);
  } else {
    take_withdrawal(request);
  }
  return true;
}

void Master::take_poll(const RpcRequest& request) {
  const auto asked = decode_body<WaitForNoticesRequest>(request.body);
  if (!asked) {
    server_->fail(request.reply_address(), asked.error());
    return;
  }
  if (asked->incarnation != incarnation_) {
    server_->reply(request.reply_address(), WaitForNoticesReply{.incarnation = incarnation_});
    return;
  }
  const SessionId session = request.envelope.session;
  leases_.acknowledge(session, *asked);
  const auto before = polls_.find(session);
  if (before != polls_.end() && before->second.to.request_id != request.envelope.request_id) {
    server_->reply(before->second.to, WaitForNoticesReply{.incarnation = incarnation_});
  }
  polls_[session] = {request.reply_address(), asked->received};
  send_notices(session);
  wake_waiting();
}

void Master::take_reclaim(const RpcRequest& request) {
  const auto page = decode_body<ReclaimLeasesRequest>(request.body);
  Status taken = page ? ok() : Status(page.error());
  if (page && page->incarnation != incarnation_) {
    taken = make_error(ErrorCode::kInvalidArgument, "the leases are told to another master");
  } else if (page) {
    taken = leases_.reclaim(request.envelope.session, *page);
  }
  if (!taken) {
    server_->fail(request.reply_address(), taken.error());
    return;
  }
  server_->reply(request.reply_address(), ReclaimLeasesReply{.lease = leases_.first_number()});
  grace_.look();
}

void Master::take_withdrawal(const RpcRequest& request) {
  const auto asked = decode_body<WithdrawRequest>(request.body);
  if (!asked) {
    server_->fail(request.reply_address(), asked.error());
    return;
  }
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Item& item) {
    const Envelope& waiting = item.request.envelope;
    // Whatever else bears a number: it would be made without having waited.
    return waiting.session == request.envelope.session && waiting.sequence == asked->sequence &&
           find_operation(waiting.type)->effect == Effect::kOnce;
  });
  const bool was_waiting = asked->sequence != 0 && found != waiting_.end();
  if (was_waiting) {
    found->is_withdrawn = true;
    wake_waiting();
  }
  server_->reply(request.reply_address(), WithdrawReply{.was_waiting = was_waiting});
}

// --- Waiting -------------------------------------------------------------------------------------

// A request that came again while it waits: the newer one is answered.
bool Master::is_repeated_while_waiting(RpcRequest& request) {
  const Envelope& envelope = request.envelope;
  for (Item& item : waiting_) {
    const Envelope& known = item.request.envelope;
    const bool is_same = known.type == envelope.type && known.session == envelope.session &&
                         known.sequence == envelope.sequence &&
                         (envelope.sequence != 0 || known.request_id == envelope.request_id);
    if (is_same && (envelope.session.is_set() || item.request.peer == request.peer)) {
      item.request = std::move(request);
      return true;
    }
  }
  return false;
}

// Errors of the store.
Result<bool> Master::must_wait_for_leases(Item& item, OpContext& context) {
  const RpcRequest& request = item.request;
  const master::Operation* operation = find_operation(request.envelope.type);
  const SessionId session = request.envelope.session;
  LeaseWait& wait = item.wait;
  if (operation->tells_contents != nullptr) {
    const InodeId inode = operation->tells_contents(request);
    // Who has yet to drop the old bytes may see them once more; who has done so would keep them.
    const bool waits = leases_.is_changing(inode) && !leases_.has_yet_to_drop(session, inode);
    wait.until_calm = waits ? inode : InodeId{};
    return waits;
  }
  if (operation->changes == nullptr || item.is_withdrawn) {
    return false;
  }
  // A lease cannot begin while the session has yet to say that an older one ended.
  if (request.envelope.type == MessageType::kTakeWriteLease) {
    const auto asked = decode_body<TakeWriteLeaseRequest>(request.body);
    if (asked) {
      leases_.await_dropping(session, asked->inode, wait.awaited);
    }
  }
  if (wait.awaited.empty() && !leases_.is_anything_held_by_others(session)) {
    return false;
  }
  DFS_TRY(wait.changes, operation->changes(context, request));
  leases_.announce(session, wait.changes, wait.noticed, wait.awaited);
  note_cut(item);
  if (!waits_for_all(item)) {
    for (const LeaseTable::Awaited& passed : wait.awaited) {
      leases_.pass(passed, wait.cut);
    }
    return false;
  }
  leases_.begin_waiting(wait.changes);
  wait.is_marked = true;
  return true;
}

// The question was answered, but others may have written what is told: that answer does not count.
bool Master::must_wait_for_writers(Item& item, const OpContext& context) {
  if (context.unsettled.empty()) {
    return false;
  }
  LeaseWait& wait = item.wait;
  wait.changes.clear();
  for (const InodeId inode : context.unsettled) {
    wait.changes.push_back(
        {.inode = inode, .contents = false, .settle = true, .names = {}, .new_names = {}});
  }
  leases_.announce(context.session, wait.changes, wait.noticed, wait.awaited);
  return waits_for_all(item);
}

// Also forgets who need not be waited for any more, except for those it passes.
bool Master::waits_for_all(Item& item) {
  std::vector<LeaseTable::Awaited>& all = item.wait.awaited;
  std::erase_if(
      all, [this](const LeaseTable::Awaited& awaited) { return leases_.is_acknowledged(awaited); });
  return std::any_of(all.begin(), all.end(),
                     [&](const LeaseTable::Awaited& awaited) { return !may_pass(item, awaited); });
}

void Master::note_cut(Item& item) {
  if (item.request.envelope.type != MessageType::kSetAttributes) {
    return;
  }
  const auto change = decode_body<SetAttributesRequest>(item.request.body);
  if (change && change->size_bytes) {
    item.wait.cut = change->inode;
    item.wait.cut_bytes = *change->size_bytes;
  }
}

// While a file is truncated, the kernel that has asked for it gives up no page that a program has
// written to, and its client stores nothing behind the new end. So of two clients that truncate one
// file each would wait for what the other can give up only when it has been answered. Who is
// answered last stores last, but nothing behind its own end: that is to be the shortest.
bool Master::may_pass(const Item& item, const LeaseTable::Awaited& awaited) const {
  if (!item.wait.cut.is_set() || !leases_.is_held_up(awaited)) {
    return false;
  }
  const auto place = [](const Item& cut) {
    return std::tuple(~cut.wait.cut_bytes, cut.since, cut.request.envelope.session);
  };
  return std::any_of(waiting_.begin(), waiting_.end(), [&](const Item& other) {
    return other.request.envelope.session == awaited.session && other.wait.cut == item.wait.cut &&
           !other.is_withdrawn && place(item) < place(other);
  });
}

void Master::put_aside(Items items) {
  for (Item& item : items) {
    if (item.waits) {
      waiting_.push_back(std::move(item));
    }
  }
}

bool Master::is_ready(const Item& item) const {
  const InodeId read = item.wait.until_calm;
  // The next change may be waiting for the reader itself, which holds locked pages until then.
  const bool may_read =
      !leases_.is_changing(read) || leases_.has_yet_to_drop(item.request.envelope.session, read);
  return item.is_withdrawn ||
         (may_read && std::all_of(item.wait.awaited.begin(), item.wait.awaited.end(),
                                  [&](const LeaseTable::Awaited& awaited) {
                                    return leases_.is_acknowledged(awaited) ||
                                           may_pass(item, awaited);
                                  }));
}

void Master::wake_waiting() {
  if (waiting_.empty()) {
    return;
  }
  const auto ready = std::stable_partition(waiting_.begin(), waiting_.end(),
                                           [this](const Item& item) { return !is_ready(item); });
  if (ready == waiting_.end()) {
    return;
  }
  queue_.insert(queue_.begin(), std::make_move_iterator(ready),
                std::make_move_iterator(waiting_.end()));
  waiting_.erase(ready, waiting_.end());
  schedule_batch();
}

// --- Notices -------------------------------------------------------------------------------------

void Master::send_notices(SessionId session) {
  const auto poll = polls_.find(session);
  if (poll == polls_.end() || server_ == nullptr) {
    return;  // its next poll asks for them
  }
  const WaitForNoticesReply reply{.incarnation = incarnation_,
                                  .notices = leases_.notices(session, poll->second.received)};
  if (reply.notices.empty()) {
    return;
  }
  server_->reply(poll->second.to, reply);
  polls_.erase(poll);
}

// Behind the answers of the batch: they bear the number of the notices that are sent now.
void Master::send_all_notices() {
  for (const SessionId session : leases_.take_unsent()) {
    send_notices(session);
  }
  if (polls_.size() > sessions_.count()) {
    std::erase_if(polls_, [this](const auto& poll) { return !sessions_.exists(poll.first); });
  }
}

}  // namespace dfs::master
