#include "master/core/lease_table.h"

#include <algorithm>

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

}  // namespace

// --- For operations ------------------------------------------------------------------------------

bool LeaseTable::grant(SessionId id, const Attributes& attributes) {
  const InodeId inode = attributes.inode;
  // A lease that is being taken back ends with the acknowledgement, whatever was told meanwhile.
  if (!id.is_set() || is_changing(inode) || has_yet_to_drop(id, inode)) {
    return false;
  }
  if (count_ >= leases_max_) {
    recall_some();
  }
  Session& session = session_of(id);
  if (hold(id, session, inode) && !attributes.is_directory()) {
    session.files.push_back(inode);
  }
  const auto holders = holders_.find(inode);
  return holders != holders_.end() &&
         std::find(holders->second.begin(), holders->second.end(), id) != holders->second.end();
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

// True if it is new.
bool LeaseTable::hold(SessionId id, Session& session, InodeId inode) {
  const auto known = holders_.find(inode);
  if (known != holders_.end() &&
      std::find(known->second.begin(), known->second.end(), id) != known->second.end()) {
    return false;
  }
  if (count_ >= leases_max_) {
    return false;
  }
  holders_[inode].push_back(id);
  ++session.count;
  ++count_;
  return true;
}

void LeaseTable::release(SessionId id, Session& session, InodeId inode) {
  const auto place = holders_.find(inode);
  if (place == holders_.end() || std::erase(place->second, id) == 0) {
    return;
  }
  DFS_ASSERT(session.count > 0 && count_ > 0);
  --session.count;
  --count_;
  if (place->second.empty()) {
    holders_.erase(place);
  }
}

void LeaseTable::erase(InodeId inode) {
  const auto place = holders_.find(inode);
  if (place == holders_.end()) {
    return;
  }
  for (const SessionId id : place->second) {
    --sessions_.at(id).count;
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
    const auto holders = holders_.find(inode);
    if (holders != holders_.end() && std::find(holders->second.begin(), holders->second.end(),
                                               most->first) != holders->second.end()) {
      changes.push_back({.inode = inode, .contents = true, .names = {}, .new_names = {}});
    }
  }
  if (!changes.empty()) {
    notify(most->first, session, std::move(changes));
  }
}

// --- For changes ---------------------------------------------------------------------------------

bool LeaseTable::is_anything_held_by_others(SessionId session) const {
  const auto own = sessions_.find(session);
  return count_ > (own == sessions_.end() ? 0 : own->second.count);
}

std::uint64_t LeaseTable::notify(SessionId id, Session& session, std::vector<LeaseChange> changes) {
  session.unhandled.push_back({++session.newest, std::move(changes)});
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
    for (const SessionId holder : holders->second) {
      if (holder != by && noticed.emplace(holder, change.inode).second) {
        for_session[holder].push_back(change);
      }
    }
  }
  for (auto& [holder, its_changes] : for_session) {
    awaited.push_back({holder, notify(holder, sessions_.at(holder), std::move(its_changes))});
  }
}

bool LeaseTable::is_acknowledged(const Awaited& awaited) const {
  const auto place = sessions_.find(awaited.session);
  return place == sessions_.end() || place->second.unhandled.empty() ||
         place->second.unhandled.front().number > awaited.number;
}

void LeaseTable::begin_waiting(const std::vector<LeaseChange>& changes) {
  for (const LeaseChange& change : changes) {
    ++changing_[change.inode];
  }
}

void LeaseTable::end_waiting(const std::vector<LeaseChange>& changes) {
  for (const LeaseChange& change : changes) {
    const auto place = changing_.find(change.inode);
    DFS_ASSERT(place != changing_.end() && place->second > 0);
    if (--place->second == 0) {
      changing_.erase(place);
    }
  }
}

bool LeaseTable::has_yet_to_drop(SessionId session, InodeId inode) const {
  const auto place = sessions_.find(session);
  return place != sessions_.end() &&
         std::any_of(place->second.unhandled.begin(), place->second.unhandled.end(),
                     [inode](const Notice& notice) { return concerns(notice.changes, inode); });
}

// --- For sessions --------------------------------------------------------------------------------

WaitForNoticesReply LeaseTable::notices(SessionId session, std::uint64_t received) const {
  WaitForNoticesReply reply;
  reply.number = received;
  const auto place = sessions_.find(session);
  if (place == sessions_.end()) {
    return reply;
  }
  for (const Notice& notice : place->second.unhandled) {
    if (notice.number <= received) {
      continue;
    }
    if (!reply.changes.empty() && reply.changes.size() + notice.changes.size() > kChangesPerReply) {
      break;
    }
    reply.number = notice.number;
    reply.changes.insert(reply.changes.end(), notice.changes.begin(), notice.changes.end());
  }
  return reply;
}

void LeaseTable::acknowledge(SessionId id, std::uint64_t handled) {
  const auto place = sessions_.find(id);
  if (place == sessions_.end()) {
    return;
  }
  Session& session = place->second;
  while (!session.unhandled.empty() && session.unhandled.front().number <= handled) {
    const Notice notice = std::move(session.unhandled.front());
    session.unhandled.pop_front();
    for (const LeaseChange& change : notice.changes) {
      if (change.contents) {
        release(id, session, change.inode);
      }
    }
  }
}

void LeaseTable::expect_reclaim(SessionId session) { reclaiming_.try_emplace(session); }

Status LeaseTable::reclaim(SessionId id, const ReclaimLeasesRequest& page) {
  if (page.pages == 0 || page.page >= page.pages || page.inodes.size() > kReclaimInodesMax) {
    return make_error(ErrorCode::kInvalidArgument, "not a page of reclaimed leases");
  }
  const auto expected = reclaiming_.find(id);
  if (expected == reclaiming_.end()) {
    return ok();
  }
  Session& session = session_of(id);
  for (const InodeId inode : page.inodes) {
    const auto known = holders_.find(inode);
    const bool is_held =
        known != holders_.end() &&
        std::find(known->second.begin(), known->second.end(), id) != known->second.end();
    if (!is_held) {
      // Whatever the limit says: the session does keep it.
      holders_[inode].push_back(id);
      ++session.count;
      ++count_;
    }
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
    for (auto holders = holders_.begin(); holders != holders_.end();) {
      std::erase(holders->second, id);
      holders = holders->second.empty() ? holders_.erase(holders) : std::next(holders);
    }
  }
  count_ -= place->second.count;
  sessions_.erase(place);
  unsent_.erase(id);
}

}  // namespace dfs::master
