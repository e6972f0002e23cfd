#include "fuse-client/core/lease_settler.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"

namespace dfs::client {

void LeaseSettler::give_back(const std::vector<LeaseChange>& changes, NoticeOutcome outcome) {
  const auto notice = notices_.emplace(notices_.end(), scheduler_);
  notice->outcome = std::move(outcome);
  // Pages are dropped for each file by itself: as soon as one has none, its reads wait.
  std::vector<LeaseChange> pages;
  std::vector<LeaseChange> others;
  for (const LeaseChange& change : changes) {
    const bool drops_pages = change.contents && !holds_reads(change.inode);
    if (change.contents || change.settle) {
      take(change, *notice);
    }
    if (drops_pages) {
      begin_dropping(change.inode);
      pages.push_back(change);
    }
    if (!change.settle && (!drops_pages || changes.size() > 1)) {
      others.push_back(change);
      others.back().contents = false;
    }
  }
  if (!notice->changed.empty()) {
    notice->held_up.start(kHeldUpTime, notice->outcome.held_up);
  }
  for (const LeaseChange& change : pages) {
    drop_kept({change}, lifetime_.guard([this, inode = change.inode] { pages_dropped(inode); }));
  }
  drop_kept(others, lifetime_.guard([this, notice] {
    notice->is_dropped = true;
    for (const InodeId inode : notice->files) {
      advance(inode);
    }
    end_notices();
  }));
}

void LeaseSettler::take(const LeaseChange& change, Notice& notice) {
  const auto [place, is_new] = files_.try_emplace(change.inode);
  File& file = place->second;
  ++file.notices;
  file.takes_contents |= change.contents;
  notice.files.push_back(change.inode);
  if (change.contents) {
    notice.changed.push_back(change.inode);
  }
  if (is_new) {
    leases_.begin_settling(change.inode);
  }
  if (change.settle && events_.asked_for) {
    events_.asked_for(change.inode);
  }
}

// Pages that were written to in the kernel come before they are dropped.
void LeaseSettler::begin_dropping(InodeId inode) {
  ++files_.at(inode).drops;
  // The master counts it as held, even if its answer was not kept here, and takes such pages.
  inodes_.keep_lease(inode);
  leases_.begin_writing_back(inode);
}

void LeaseSettler::pages_dropped(InodeId inode) {
  if (--files_.at(inode).drops == 0) {
    leases_.stop_writing_back(inode);
    advance(inode);
    end_notices();
  }
}

std::vector<LeaseChange> LeaseSettler::doubt(std::vector<LeaseChange> changes) {
  add_named(changes);
  for (const LeaseChange& change : changes) {
    inodes_.expire_if_known(change.inode);  // the master need not have told of it
  }
  drop_kept(changes, [] {});
  return changes;
}

// As far as they are kept: here, and by the kernel.
void LeaseSettler::drop_kept(const std::vector<LeaseChange>& changes,
                             std::function<void()> dropped) {
  for (const LeaseChange& change : changes) {
    for (const auto* names : {&change.names, &change.new_names}) {
      for (const std::string& name : *names) {
        names_.forget_name(change.inode, name);
        own_changes_.name_changes(change.inode, name);
      }
    }
    if (change.contents) {
      inodes_.begin_ending_lease(change.inode);
    } else {
      inodes_.expire_by_notice(change.inode);
    }
  }
  if (events_.drop_cached && !changes.empty()) {
    events_.drop_cached(changes, std::move(dropped));
  } else {
    scheduler_.post(lifetime_.guard(std::move(dropped)));
  }
}

// What the names stand for, as far as that is known.
void LeaseSettler::add_named(std::vector<LeaseChange>& changes) const {
  std::vector<LeaseChange> named;
  for (const LeaseChange& change : changes) {
    for (const std::string& name : change.names) {
      const auto [answer, inode] = names_.find(change.inode, name);
      if (answer == NameCache::Answer::kPresent) {
        named.push_back({.inode = inode, .contents = false, .names = {}, .new_names = {}});
      }
    }
  }
  changes.insert(changes.end(), named.begin(), named.end());
}

// --- Storing -------------------------------------------------------------------------------------

void LeaseSettler::advance(InodeId inode) {
  const auto place = files_.find(inode);
  if (place == files_.end()) {
    return;
  }
  File& file = place->second;
  if (file.drops > 0 || file.is_storing) {
    return;
  }
  const bool takes_time = !write_back_.is_settled(inode);
  file.is_storing = takes_time;
  // What is lost is told by fsync(2) and close(2).
  write_back_.settle(inode, lifetime_.guard([this, inode, takes_time](const Result<Unit>&) {
    if (takes_time) {
      files_.at(inode).is_storing = false;
      advance(inode);
      end_notices();
    }
  }));
}

bool LeaseSettler::is_ready(InodeId inode) const {
  const File& file = files_.at(inode);
  return file.drops == 0 && !file.is_storing;
}

// --- The end -------------------------------------------------------------------------------------

void LeaseSettler::end_notices() {
  for (auto notice = notices_.begin(); notice != notices_.end();) {
    const auto next = std::next(notice);
    const bool is_done =
        notice->is_dropped && std::all_of(notice->files.begin(), notice->files.end(),
                                          [this](InodeId inode) { return is_ready(inode); });
    if (is_done && !std::exchange(notice->is_ending, true)) {
      const Task end = lifetime_.guard([this, notice] { end_notice(notice); });
      if (events_.others_go_on && !notice->changed.empty()) {
        events_.others_go_on(std::vector<InodeId>(notice->changed), end);
      } else {
        end();
      }
    }
    notice = next;
  }
}

void LeaseSettler::end_notice(Notices::iterator notice) {
  Notices ended;
  ended.splice(ended.end(), notices_, notice);
  for (const InodeId inode : notice->files) {
    if (--files_.at(inode).notices == 0) {
      end(inode);
    }
  }
  notice->outcome.dropped();
}

void LeaseSettler::end(InodeId inode) {
  const File file = std::move(files_.at(inode));
  files_.erase(inode);
  if (file.takes_contents) {
    inodes_.end_lease(inode);
  }
  leases_.end_settling(inode, true);
  for (const Task& given_back : file.reads) {
    scheduler_.post(given_back);
  }
}

bool LeaseSettler::holds_reads(InodeId inode) const {
  const auto place = files_.find(inode);
  return place != files_.end() && place->second.takes_contents && place->second.drops == 0;
}

void LeaseSettler::when_given_back(InodeId inode, Task given_back) {
  DFS_ASSERT(holds_reads(inode));
  files_.at(inode).reads.push_back(std::move(given_back));
}

}  // namespace dfs::client
