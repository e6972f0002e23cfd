// Master: the requests that wait, for people.
#include <algorithm>
#include <utility>

#include "master/core/dispatch.h"
#include "master/core/master.h"

namespace dfs::master {
namespace {

void add_once(std::vector<SessionId>& sessions, SessionId session) {
  if (std::find(sessions.begin(), sessions.end(), session) == sessions.end()) {
    sessions.push_back(session);
  }
}

}  // namespace

std::vector<ParkedRequest> Master::parked(Duration age_min) const {
  const MonoTime newest = world_.scheduler.now() - age_min;
  std::vector<ParkedRequest> parked;
  for (const Item& item : waiting_) {
    if (item.since <= newest && !is_ready(item)) {
      parked.push_back(describe_parked(item));
      note_awaited(item, parked.back());
    }
  }
  for (const Item& item : held_) {
    if (item.since <= newest) {
      parked.push_back(describe_parked(item));
      parked.back().cause = WaitCause::kStart;
      parked.back().awaited = not_told_yet();
    }
  }
  return parked;
}

ParkedRequest Master::describe_parked(const Item& item) const {
  const Envelope& envelope = item.request.envelope;
  ParkedRequest parked;
  parked.type = envelope.type;
  parked.session = envelope.session;
  parked.request_id = envelope.request_id;
  parked.since = item.since;
  if (const master::Operation* operation = find_operation(envelope.type)) {
    parked.subject = operation->subject(item.request);
  }
  for (const LeaseChange& change : item.wait.changes) {
    parked.changes.push_back(change.inode);
  }
  return parked;
}

// For whom, and for what of them.
void Master::note_awaited(const Item& item, ParkedRequest& parked) const {
  const auto add = [&](const LeaseWait& wait) {
    for (const LeaseTable::Awaited& awaited : wait.awaited) {
      if (leases_.is_acknowledged(awaited)) {
        continue;
      }
      add_once(parked.awaited, awaited.session);
      const bool writes =
          std::any_of(wait.changes.begin(), wait.changes.end(), [&](const LeaseChange& change) {
            return leases_.write_epoch(awaited.session, change.inode) != 0;
          });
      parked.cause = writes ? WaitCause::kWriter : parked.cause;
    }
  };
  add(item.wait);
  if (!parked.awaited.empty() || !item.wait.until_calm.is_set()) {
    return;
  }
  // A change of what it asks for waits: whom that waits for is whom this waits for.
  for (const Item& other : waiting_) {
    const LeaseChanges& changes = other.wait.changes;
    const bool is_it = std::any_of(changes.begin(), changes.end(), [&](const LeaseChange& change) {
      return change.inode == item.wait.until_calm && !change.settle;
    });
    if (is_it) {
      add(other.wait);
    }
  }
  parked.cause = WaitCause::kChange;
}

std::vector<SessionId> Master::not_told_yet() const {
  std::vector<SessionId> sessions = leases_.reclaiming();
  for (const SessionId session : sessions_.not_told_yet()) {
    add_once(sessions, session);
  }
  return sessions;
}

}  // namespace dfs::master
