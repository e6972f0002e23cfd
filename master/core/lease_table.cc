#include "master/core/lease_table.h"

#include <algorithm>
#include <numeric>

#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

constexpr std::size_t kChangesPerReply = 512;
// Recalled at once: a notice for each lease would cost a round trip for each.
constexpr std::size_t kRecallStep = 256;

bool concerns(const std::vector<LeaseChange>& changes, InodeId inode) {
  return std::any_of(changes.begin(), changes.end(),
                     [inode](const LeaseChange& change) { return change.inode == inode; });
}

// Whether there is something new in it.
bool note(LeaseTable::Noticed& noticed, SessionId holder, std::uint64_t serial,
          const LeaseChange& change) {
  const auto is_new = [&](const std::string& name) {
    return std::exchange(noticed[{holder, change.inode, name}], serial) != serial;
  };
  bool is_any_new = is_new(std::string());
  for (const std::string& name : change.names) {
    is_any_new |= is_new(name);
  }
  return is_any_new;
}

// Who keeps a name need not hold a lease on what it stands for, but must know it: the kernel may
// come to that by the name for a moment longer.
void add_what_names_stood_for(const std::vector<LeaseChange>& changes,
                              std::vector<LeaseChange>& its_changes) {
  const bool has_names =
      std::any_of(its_changes.begin(), its_changes.end(),
                  [](const LeaseChange& change) { return !change.names.empty(); });
  for (const LeaseChange& change : changes) {
    const bool is_directory = !change.names.empty() || !change.new_names.empty();
    if (has_names && !is_directory && !change.settle && !concerns(its_changes, change.inode)) {
      its_changes.push_back(change);
    }
  }
}

}  // namespace

// --- For operations ------------------------------------------------------------------------------

bool LeaseTable::grant(SessionId id, const Attributes& attributes) {
  const InodeId inode = attributes.inode;
  // A lease that is being taken back ends with the acknowledgement, whatever was told meanwhile.
  if (!id.is_set() || is_changing(inode) || is_written_by_other(id, inode) ||
      has_yet_to_drop(id, inode)) {
    return false;
  }
  if (count_ >= leases_max_) {
    recall_some();
  }
  Session& session = session_of(id);
  if (hold(id, session, inode) && !attributes.is_directory()) {
    session.files.push_back(inode);
  }
  return find(id, inode) != nullptr;
}

bool LeaseTable::is_written_by_other(SessionId session, InodeId inode) const {
  const auto writer = writers_.find(inode);
  return writer != writers_.end() && writer->second.session != session;
}

SessionId LeaseTable::writer(InodeId inode) const {
  const auto writer = writers_.find(inode);
  return writer == writers_.end() ? SessionId{} : writer->second.session;
}

std::uint64_t LeaseTable::write_epoch(SessionId session, InodeId inode) const {
  const auto writer = writers_.find(inode);
  return writer != writers_.end() && writer->second.session == session ? writer->second.epoch : 0;
}

bool LeaseTable::may_store(SessionId session, InodeId inode, std::uint64_t epoch) const {
  if (epoch != 0) {
    return epoch == write_epoch(session, inode);
  }
  return find(session, inode) != nullptr && newest_taking(session, inode) != 0;
}

std::uint64_t LeaseTable::newest_taking(SessionId session, InodeId inode) const {
  const auto place = sessions_.find(session);
  if (place == sessions_.end()) {
    return 0;
  }
  const auto takes = [inode](const auto& notice) {
    const std::vector<LeaseChange>& changes = notice.second.changes;
    return std::any_of(changes.begin(), changes.end(), [inode](const LeaseChange& change) {
      return change.inode == inode && change.contents;
    });
  };
  const auto& unhandled = place->second.unhandled;
  const auto newest = std::find_if(unhandled.rbegin(), unhandled.rend(), takes);
  return newest == unhandled.rend() ? 0 : newest->first;
}

std::uint64_t LeaseTable::begin_writing(SessionId id, InodeId inode) {
  DFS_ASSERT(!is_held_by_others(id, inode) && !has_yet_to_drop(id, inode));
  if (count_ >= leases_max_) {
    recall_some();
  }
  Session& session = session_of(id);
  if (find(id, inode) == nullptr) {
    hold_anyway(id, session, inode);
    session.files.push_back(inode);
  } else {
    // As if given anew: a change that waits, and was acknowledged for the old one, announces itself
    // to the writer again.
    holders_.at(inode).front().serial = next_serial_++;
  }
  // It may be a late copy of the question that was answered with this one.
  const auto [writer, is_new] =
      writers_.try_emplace(inode, Writer{.session = id, .epoch = next_epoch_});
  next_epoch_ += is_new ? 1 : 0;
  DFS_ASSERT(writer->second.session == id);
  return writer->second.epoch;
}

void LeaseTable::end_writing(SessionId session, InodeId inode) {
  if (write_epoch(session, inode) != 0) {
    writers_.erase(inode);
  }
}

bool LeaseTable::is_held_by_others(SessionId session, InodeId inode) const {
  const auto holders = holders_.find(inode);
  return holders != holders_.end() &&
         std::any_of(holders->second.begin(), holders->second.end(),
                     [session](const Holder& holder) { return holder.session != session; });
}

std::uint64_t LeaseTable::number(SessionId session) const {
  const auto place = sessions_.find(session);
  return place == sessions_.end() ? first_number_ : place->second.newest;
}

LeaseTable::Session& LeaseTable::session_of(SessionId session) {
  const auto [place, is_new] = sessions_.try_emplace(session);
  if (is_new) {
    place->second.newest = first_number_;
  }
  return place->second;
}

const LeaseTable::Holder* LeaseTable::find(SessionId session, InodeId inode) const {
  const auto holders = holders_.find(inode);
  if (holders == holders_.end()) {
    return nullptr;
  }
  const auto place =
      std::find_if(holders->second.begin(), holders->second.end(),
                   [session](const Holder& holder) { return holder.session == session; });
  return place == holders->second.end() ? nullptr : &*place;
}

// True if it is new.
bool LeaseTable::hold(SessionId id, Session& session, InodeId inode) {
  if (count_ >= leases_max_ || find(id, inode) != nullptr) {
    return false;
  }
  hold_anyway(id, session, inode);
  return true;
}

void LeaseTable::hold_anyway(SessionId id, Session& session, InodeId inode) {
  holders_[inode].push_back({id, next_serial_++});
  ++session.count;
  ++count_;
}

void LeaseTable::release(SessionId id, Session& session, InodeId inode) {
  const auto place = holders_.find(inode);
  const auto is_its = [id](const Holder& holder) { return holder.session == id; };
  if (place == holders_.end() || std::erase_if(place->second, is_its) == 0) {
    return;
  }
  DFS_ASSERT(session.count > 0 && count_ > 0);
  --session.count;
  --count_;
  end_writing(id, inode);
  if (place->second.empty()) {
    holders_.erase(place);
  }
}

void LeaseTable::erase(InodeId inode) {
  writers_.erase(inode);
  const auto place = holders_.find(inode);
  if (place == holders_.end()) {
    return;
  }
  for (const Holder& holder : place->second) {
    --sessions_.at(holder.session).count;
    --count_;
  }
  holders_.erase(place);
}

void LeaseTable::recall_some() {
  const auto most = std::max_element(
      sessions_.begin(), sessions_.end(),
      [](const auto& left, const auto& right) { return left.second.count < right.second.count; });
  if (most == sessions_.end()) {
    return;
  }
  Session& session = most->second;
  std::vector<LeaseChange> changes;
  while (changes.size() < kRecallStep && !session.files.empty()) {
    const InodeId inode = session.files.front();
    session.files.pop_front();
    if (find(most->first, inode) != nullptr) {
      changes.push_back({.inode = inode, .contents = true, .names = {}, .new_names = {}});
    }
  }
  if (!changes.empty()) {
    recalled_ += changes.size();
    notify(most->first, session, std::move(changes));
  }
}

// --- For changes ---------------------------------------------------------------------------------

bool LeaseTable::is_anything_held_by_others(SessionId session) const {
  const auto own = sessions_.find(session);
  return count_ > (own == sessions_.end() ? 0 : own->second.count);
}

std::uint64_t LeaseTable::notify(SessionId id, Session& session, std::vector<LeaseChange> changes) {
  Notice& notice = session.unhandled[++session.newest];
  notice.changes = std::move(changes);
  notice.made = scheduler_.now();
  unsent_.insert(id);
  return session.newest;
}

void LeaseTable::announce(SessionId by, const std::vector<LeaseChange>& changes, Noticed& noticed,
                          std::vector<Awaited>& awaited) {
  std::map<SessionId, std::vector<LeaseChange>> for_session;
  for (const LeaseChange& change : changes) {
    const auto holders = holders_.find(change.inode);
    if (holders == holders_.end()) {
      continue;
    }
    for (const Holder& holder : holders->second) {
      const bool is_writer = write_epoch(holder.session, change.inode) != 0;
      const bool is_new = note(noticed, holder.session, holder.serial, change);
      if (holder.session == by || (change.settle && !is_writer)) {
        continue;
      }
      if (!is_new) {
        // It was told of another change before it acknowledged this one, and keeps the lease.
        if (const std::uint64_t taking = newest_taking(holder.session, change.inode);
            change.contents && taking != 0) {
          awaited.push_back({holder.session, taking});
        }
        continue;
      }
      LeaseChange told = change;
      told.contents = told.contents || (is_writer && !change.settle);
      for_session[holder.session].push_back(std::move(told));
    }
  }
#ifdef DFS_CANARY_NOBODY_IS_TOLD
  for_session.clear();
#endif
#ifdef DFS_CANARY_NAMES_ARE_NOT_TOLD
  for (auto& entry : for_session) {
    std::erase_if(entry.second, [](const LeaseChange& change) { return !change.names.empty(); });
  }
  std::erase_if(for_session, [](const auto& entry) { return entry.second.empty(); });
#endif
  for (auto& [holder, its_changes] : for_session) {
    add_what_names_stood_for(changes, its_changes);
    const std::uint64_t number = notify(holder, sessions_.at(holder), std::move(its_changes));
    awaited.push_back({holder, number});
  }
}

bool LeaseTable::is_acknowledged(const Awaited& awaited) const {
  const auto place = sessions_.find(awaited.session);
  return place == sessions_.end() || !place->second.unhandled.contains(awaited.number);
}

bool LeaseTable::is_held_up(const Awaited& awaited) const {
  const auto place = sessions_.find(awaited.session);
  if (place == sessions_.end()) {
    return false;
  }
  const auto notice = place->second.unhandled.find(awaited.number);
  return notice != place->second.unhandled.end() && notice->second.is_held_up;
}

void LeaseTable::pass(const Awaited& awaited, InodeId inode) {
  Notice& notice = sessions_.at(awaited.session).unhandled.at(awaited.number);
  if (notice.passed.insert(inode).second) {
    ++changing_[inode];
  }
}

void LeaseTable::begin_waiting(const std::vector<LeaseChange>& changes) {
  for (const LeaseChange& change : changes) {
    if (!change.settle) {
      ++changing_[change.inode];
    }
  }
}

void LeaseTable::end_waiting(const std::vector<LeaseChange>& changes) {
  for (const LeaseChange& change : changes) {
    if (!change.settle) {
      end_changing(change.inode);
    }
  }
}

void LeaseTable::end_changing(InodeId inode) {
  const auto place = changing_.find(inode);
  DFS_ASSERT(place != changing_.end() && place->second > 0);
  if (--place->second == 0) {
    changing_.erase(place);
  }
}

bool LeaseTable::has_yet_to_drop(SessionId session, InodeId inode) const {
  std::vector<Awaited> awaited;
  await_dropping(session, inode, awaited);
  return !awaited.empty();
}

void LeaseTable::await_dropping(SessionId session, InodeId inode,
                                std::vector<Awaited>& awaited) const {
  const auto place = sessions_.find(session);
  if (place == sessions_.end()) {
    return;
  }
  for (const auto& [number, notice] : place->second.unhandled) {
    if (concerns(notice.changes, inode)) {
      awaited.push_back({session, number});
    }
  }
}

std::size_t LeaseTable::unhandled_count() const {
  return std::accumulate(
      sessions_.begin(), sessions_.end(), std::size_t{0},
      [](std::size_t sum, const auto& entry) { return sum + entry.second.unhandled.size(); });
}

Duration LeaseTable::oldest_unhandled() const {
  Duration oldest = Duration::zero();
  for (const auto& [id, session] : sessions_) {
    if (!session.unhandled.empty()) {
      oldest = std::max(oldest, scheduler_.now() - session.unhandled.begin()->second.made);
    }
  }
  return oldest;
}

std::vector<SessionId> LeaseTable::reclaiming() const {
  std::vector<SessionId> sessions;
  for (const auto& [id, pages] : reclaiming_) {
    sessions.push_back(id);
  }
  return sessions;
}

// --- For sessions --------------------------------------------------------------------------------

std::vector<LeaseNotice> LeaseTable::notices(SessionId session, std::uint64_t received) const {
  std::vector<LeaseNotice> notices;
  const auto place = sessions_.find(session);
  if (place == sessions_.end()) {
    return notices;
  }
  const auto& unhandled = place->second.unhandled;
  std::size_t changes = 0;
  for (auto next = unhandled.upper_bound(received); next != unhandled.end(); ++next) {
    changes += next->second.changes.size();
    if (!notices.empty() && changes > kChangesPerReply) {
      break;
    }
    notices.push_back({.number = next->first, .changes = next->second.changes});
  }
  return notices;
}

void LeaseTable::acknowledge(SessionId id, const WaitForNoticesRequest& request) {
  const auto place = sessions_.find(id);
  if (place == sessions_.end()) {
    return;
  }
  Session& session = place->second;
  while (!session.unhandled.empty() && session.unhandled.begin()->first <= request.handled) {
    handled(id, session, session.unhandled.extract(session.unhandled.begin()).mapped());
  }
  for (const std::uint64_t number : request.also_handled) {
    if (auto notice = session.unhandled.extract(number)) {
      handled(id, session, notice.mapped());
    }
  }
  for (const std::uint64_t number : request.held_up) {
    if (const auto notice = session.unhandled.find(number); notice != session.unhandled.end()) {
      notice->second.is_held_up = true;
    }
  }
}

void LeaseTable::handled(SessionId id, Session& session, const Notice& notice) {
  for (const InodeId inode : notice.passed) {
    end_changing(inode);
  }
  for (const LeaseChange& change : notice.changes) {
    if (change.contents && newest_taking(id, change.inode) == 0) {
      release(id, session, change.inode);
    } else if (change.contents || change.settle) {
      end_writing(id, change.inode);
    }
  }
}

void LeaseTable::expect_reclaim(SessionId session) { reclaiming_.try_emplace(session); }

Status LeaseTable::reclaim(SessionId id, const ReclaimLeasesRequest& page) {
  if (page.pages == 0 || page.page >= page.pages || page.epochs.size() != page.written.size() ||
      page.inodes.size() + page.written.size() > kReclaimInodesMax) {
    return make_error(ErrorCode::kInvalidArgument, "not a page of reclaimed leases");
  }
  const auto expected = reclaiming_.find(id);
  if (expected == reclaiming_.end()) {
    return ok();
  }
  Session& session = session_of(id);
  // Whatever the limit says: the session does keep it.
  for (const InodeId inode : page.inodes) {
    if (find(id, inode) == nullptr) {
      hold_anyway(id, session, inode);
    }
  }
  for (std::size_t i = 0; i < page.written.size(); ++i) {
    const InodeId inode = page.written[i];
    if (find(id, inode) == nullptr) {
      hold_anyway(id, session, inode);
    }
    writers_.try_emplace(inode, Writer{.session = id, .epoch = page.epochs[i]});
  }
  expected->second.insert(page.page);
  if (expected->second.size() == page.pages) {
    reclaiming_.erase(expected);
  }
  return ok();
}

void LeaseTable::forget(SessionId id) {
  reclaiming_.erase(id);
  const auto place = sessions_.find(id);
  if (place == sessions_.end()) {
    return;
  }
  if (place->second.count > 0) {
    std::erase_if(writers_, [id](const auto& entry) { return entry.second.session == id; });
    for (auto holders = holders_.begin(); holders != holders_.end();) {
      std::erase_if(holders->second, [id](const Holder& holder) { return holder.session == id; });
      holders = holders->second.empty() ? holders_.erase(holders) : std::next(holders);
    }
  }
  for (const auto& [number, notice] : place->second.unhandled) {
    for (const InodeId inode : notice.passed) {
      end_changing(inode);
    }
  }
  count_ -= place->second.count;
  sessions_.erase(place);
  unsent_.erase(id);
}

}  // namespace dfs::master
