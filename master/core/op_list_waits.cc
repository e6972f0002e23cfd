// The calls that wait now: requests that wait here, waits for locks, and what clients tell of
// theirs. A client's call that waits for a request here is one call: the client knows who called
// and how long ago, the master whom it waits for.
#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>
#include <set>
#include <utility>

#include "master/core/lock_service.h"
#include "master/core/operations.h"
#include "master/core/path_finder.h"
#include "master/core/session_table.h"
#include "proto/all_messages.h"

namespace dfs::master {
namespace {

std::uint64_t ms_of(Duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

// "TakeWriteLease" → "take write lease".
std::string words_of(MessageType type) {
  std::string words;
  for (const char* letter = message_type_name(type); letter != nullptr && *letter != 0; ++letter) {
    if (std::isupper(static_cast<unsigned char>(*letter)) != 0 && !words.empty()) {
      words += ' ';
    }
    words += static_cast<char>(std::tolower(static_cast<unsigned char>(*letter)));
  }
  return words;
}

// A wait on its way into the answer, before paths are looked for.
struct Wait {
  ListedWait listed;
  std::string name;              // in listed.inode
  std::vector<InodeId> changes;  // concerned, too
};

void set_others(ListedWait& wait, const std::vector<SessionId>& others) {
  const std::size_t told = std::min(others.size(), kListedOthersMax);
  wait.others.assign(others.begin(), others.begin() + static_cast<std::ptrdiff_t>(told));
  wait.others_total = static_cast<std::uint32_t>(others.size());
}

class WaitList {
 public:
  explicit WaitList(OpContext& context) : context_(context), paths_(context) {}

  void collect();
  // Those in `waits_` that do not concern the inode or what lies below it go.
  Status keep_only(InodeId inode);
  Result<ListWaitsReply> page(std::uint64_t skipped);

 private:
  // What waits here is known by the session and the number of what it waits for.
  enum class Asked { kRequest, kLock };
  using Key = std::pair<SessionId, std::pair<Asked, std::uint64_t>>;

  void add_parked(const ParkedRequest& parked);
  void add_lock(const LockService::Waiting& waiting);
  void add_told(const SessionTable::ToldWaits& told);
  Status find_path(Wait& wait);
  Result<bool> concerns(Wait& wait, InodeId inode, const std::string& below);

  OpContext& context_;
  PathFinder paths_;
  std::map<Key, Wait> here_;
  std::set<Key> told_;  // of these, by their clients
  std::vector<Wait> waits_;
  std::uint64_t unlisted_ = 0;
};

void WaitList::add_parked(const ParkedRequest& parked) {
  Wait wait;
  wait.listed.operation = words_of(parked.type);
  wait.listed.inode = parked.subject.inode;
  wait.listed.session = parked.session;
  wait.listed.waited_ms = ms_of(context_.mono_now - parked.since);
  wait.listed.cause = static_cast<std::uint8_t>(parked.cause);
  set_others(wait.listed, parked.awaited);
  wait.name = parked.subject.name;
  wait.changes = parked.changes;
  here_.emplace(Key{parked.session, {Asked::kRequest, parked.request_id}}, std::move(wait));
}

void WaitList::add_lock(const LockService::Waiting& waiting) {
  const bool is_queued = waiting.wait != 0;
  Wait wait;
  wait.listed.operation = "lock";
  wait.listed.inode = waiting.inode;
  wait.listed.session = waiting.session;
  wait.listed.waited_ms = ms_of(context_.mono_now - waiting.since);
  wait.listed.cause = static_cast<std::uint8_t>(is_queued ? WaitCause::kLock : WaitCause::kStart);
  set_others(wait.listed, waiting.others);
  const Key key{waiting.session, is_queued ? std::pair{Asked::kLock, waiting.wait}
                                           : std::pair{Asked::kRequest, waiting.request}};
  here_.emplace(key, std::move(wait));
}

void WaitList::add_told(const SessionTable::ToldWaits& told) {
  unlisted_ += told.untold;
  for (const ClientWait& client : *told.waits) {
    Wait wait;
    wait.listed.cause = std::min(client.cause, kWaitCauseMax);
    if (client.asked != 0) {
      const bool is_lock = client.cause == static_cast<std::uint8_t>(WaitCause::kLock);
      const Key key{told.session, {is_lock ? Asked::kLock : Asked::kRequest, client.asked}};
      const auto here = here_.find(key);
      if (here == here_.end()) {
        continue;  // answered since
      }
      told_.insert(key);
      wait = here->second;
    }
    wait.listed.operation = client.operation;
    wait.listed.inode = wait.name.empty() ? client.inode : wait.listed.inode;
    wait.listed.session = told.session;
    wait.listed.pid = client.pid;
    wait.listed.told_ms_ago = ms_of(told.age);
    wait.listed.waited_ms =
        std::max(wait.listed.waited_ms, client.waited_ms + wait.listed.told_ms_ago);
    wait.listed.server = client.server;
    wait.listed.ends_in_ms = client.ends_in_ms - std::min(client.ends_in_ms, ms_of(told.age));
    waits_.push_back(std::move(wait));
  }
}

void WaitList::collect() {
  for (const ParkedRequest& parked : context_.parked(kWaitNoted)) {
    add_parked(parked);
  }
  for (const LockService::Waiting& waiting : context_.locks.waiting()) {
    if (context_.mono_now - waiting.since >= kWaitNoted) {
      add_lock(waiting);
    }
  }
  for (const SessionTable::ToldWaits& told : context_.sessions.told_waits()) {
    add_told(told);
  }
  for (auto& [key, wait] : here_) {
    if (!told_.contains(key)) {
      waits_.push_back(std::move(wait));
    }
  }
  std::stable_sort(waits_.begin(), waits_.end(), [](const Wait& left, const Wait& right) {
    return left.listed.waited_ms > right.listed.waited_ms;
  });
}

Status WaitList::find_path(Wait& wait) {
  if (!wait.listed.inode.is_set() || !wait.listed.path.empty()) {
    return ok();
  }
  DFS_TRY(const PathFinder::Found found, paths_.find(wait.listed.inode));
  wait.listed.path = found.path;
  wait.listed.is_removed = found.is_removed;
  if (!wait.name.empty() && !found.path.empty()) {
    wait.listed.path += (found.path == "/" ? "" : "/") + wait.name;
  }
  return ok();
}

Result<bool> WaitList::concerns(Wait& wait, InodeId inode, const std::string& below) {
  const bool changes =
      std::find(wait.changes.begin(), wait.changes.end(), inode) != wait.changes.end();
  if (wait.listed.inode == inode || changes || !wait.listed.inode.is_set()) {
    return true;
  }
  DFS_CHECK_OK(find_path(wait));
  return !below.empty() && wait.listed.path.starts_with(below);
}

Status WaitList::keep_only(InodeId inode) {
  DFS_TRY(const auto row, context_.store.inode(inode));
  std::string below;
  if (row && row->attributes.is_directory()) {
    DFS_TRY(const PathFinder::Found found, paths_.find(inode));
    below = found.path.ends_with('/') ? found.path : found.path + "/";
  }
  std::vector<Wait> kept;
  for (Wait& wait : waits_) {
    DFS_TRY(const bool is_kept, concerns(wait, inode, below));
    if (is_kept) {
      kept.push_back(std::move(wait));
    }
  }
  waits_ = std::move(kept);
  return ok();
}

Result<ListWaitsReply> WaitList::page(std::uint64_t skipped) {
  ListWaitsReply reply;
  reply.total = waits_.size();
  reply.unlisted = unlisted_;
  const std::size_t first = std::min<std::uint64_t>(skipped, waits_.size());
  const std::size_t last = std::min(first + kListedWaitsMax, waits_.size());
  reply.end = last == waits_.size();
  std::set<SessionId> sessions;
  for (std::size_t index = first; index < last; ++index) {
    DFS_CHECK_OK(find_path(waits_[index]));
    ListedWait& listed = waits_[index].listed;
    sessions.insert(listed.session);
    sessions.insert(listed.others.begin(), listed.others.end());
    reply.waits.push_back(std::move(listed));
  }
  for (const SessionId session : sessions) {
    if (auto client = context_.sessions.describe(session)) {
      reply.clients.push_back(std::move(*client));
    }
  }
  return reply;
}

}  // namespace

Result<ListWaitsReply> apply(OpContext& context, const ListWaitsRequest& request) {
  WaitList list(context);
  list.collect();
  if (!request.path.empty()) {
    DFS_TRY(const InodeId inode, PathFinder(context).resolve(request.path));
    DFS_CHECK_OK(list.keep_only(inode));
  }
  return list.page(request.skipped);
}

}  // namespace dfs::master
