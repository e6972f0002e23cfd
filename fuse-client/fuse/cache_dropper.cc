#include "fuse-client/fuse/cache_dropper.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"

namespace dfs::fuse {
namespace {

// A file that is read all the time without end is given up after so many passes; what was read
// during the last one is dropped a moment late.
constexpr std::uint32_t kPassesMax = 16;
constexpr std::chrono::milliseconds kQuietDelay{1};
constexpr std::chrono::milliseconds kQuietWait{10};
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kNoEnd = ~std::uint64_t{0};

bool is_of_names(const LeaseChange& change) {
  return !change.names.empty() || !change.new_names.empty();
}

bool names(const std::vector<LeaseChange>& changes, const KernelName& name) {
  return std::any_of(changes.begin(), changes.end(), [&](const LeaseChange& change) {
    return change.inode == name.directory &&
           std::find(change.names.begin(), change.names.end(), name.name) != change.names.end();
  });
}

}  // namespace

Task CacheDropper::once(Task done) {
  return lifetime_.guard([waiting = std::make_shared<Task>(std::move(done))] {
    if (const Task task = std::exchange(*waiting, nullptr)) {
      task();
    }
  });
}

Task CacheDropper::at_latest(Duration limit, Task done) {
  Task done_once = once(std::move(done));
  scheduler_.run_after(limit, done_once);
  return done_once;
}

std::vector<InodeId> CacheDropper::note_suspects(const std::vector<LeaseChange>& changes) {
  std::vector<InodeId> suspects;
  for (const LeaseChange& change : changes) {
    if (!is_of_names(change) && hooks_.is_known(change.inode)) {
      suspects.push_back(change.inode);
    }
  }
  // A name that has yet to expire may stand for these by now: renames go on meanwhile.
  for (auto& [name, expiring] : expiring_) {
    if (!expiring.leads_astray) {
      continue;
    }
    for (const InodeId inode : suspects) {
      if (std::find(expiring.suspects.begin(), expiring.suspects.end(), inode) ==
          expiring.suspects.end()) {
        expiring.suspects.push_back(inode);
        ++suspects_[inode];
      }
    }
  }
  return suspects;
}

void CacheDropper::drop(const std::vector<LeaseChange>& changes, std::function<void()> dropped) {
  auto left = std::make_shared<std::size_t>(1);
  const Task one_done = [left, dropped = std::move(dropped)] {
    if (--*left == 0) {
      dropped();
    }
  };
  const auto one_more = [left, one_done] {
    ++*left;
    return one_done;
  };
  const std::vector<InodeId> suspects = note_suspects(changes);
  for (const LeaseChange& change : changes) {
    if (!hooks_.is_known(change.inode)) {
      continue;
    }
    const bool was_contended = contention_.changes(change.inode, scheduler_.now());
    const bool twice = !was_contended && hooks_.was_just_answered(change.inode);
    drop_inode(change, twice, one_more());
    for (const std::string& name : change.names) {
      if (!contention_.is_without_time(change.inode, name, scheduler_.now())) {
        expire_name(change.inode, name,
                    {.leads_astray = true,
                     .suspects = suspects,
                     .twice = true,
                     .waits = {name_wait(one_more())}});
      }
    }
    if (!is_of_names(change)) {
      expire_names_of(change.inode, changes, twice, one_more);
    }
  }
  scheduler_.post(lifetime_.guard(one_done));
}

void CacheDropper::drop_inode(const LeaseChange& change, bool twice, const Task& done) {
  const std::uint64_t inode = hooks_.to_kernel(change.inode);
  if (change.contents && hooks_.is_open(change.inode)) {
    const Task file_done = once(done);
    at_end_of_wait(change.inode, kDropWait, scheduler_.now() + kWriteBackWait, file_done);
    drop_file(change.inode, file_done);
  } else {
    // The pages of a file that is not open are dropped when it is opened.
    notifier_.drop_attributes(inode, at_latest(kDropWait, done));
  }
  if (twice) {
    const Task again =
        lifetime_.guard([this, inode] { notifier_.drop_attributes(inode, nullptr); });
    scheduler_.run_after(kAnswerTime, lifetime_.guard([this, id = change.inode, again] {
      when_quiet(id, kQuietWait, again);
    }));
  }
}

// What the kernel is asking meanwhile it would not believe.
void CacheDropper::when_quiet(InodeId inode, Duration left, const Task& task) {
  if (hooks_.is_quiet(inode) || left <= Duration::zero()) {
    task();
    return;
  }
  scheduler_.run_after(kQuietDelay, lifetime_.guard([this, inode, left, task] {
    when_quiet(inode, left - kQuietDelay, task);
  }));
}

bool CacheDropper::may_keep_attributes(InodeId inode) const {
  // A name that stands for a suspect no more would lead the kernel to them without a request.
  return !is_suspect(inode) && !contention_.is_contended(inode, scheduler_.now());
}

// --- Names ---------------------------------------------------------------------------------------

bool CacheDropper::may_keep_name(InodeId directory, const std::string& name) {
  const bool may_keep = !contention_.is_contended(directory, scheduler_.now());
  if (!may_keep) {
    contention_.note_without_time(directory, name, scheduler_.now());
  }
  return may_keep;
}

void CacheDropper::expire_names_of(InodeId inode, const std::vector<LeaseChange>& changes,
                                   bool twice, const std::function<Task()>& one_more) {
  for (const KernelName& name : hooks_.names(inode)) {
    if (name.has_time && !names(changes, name)) {
      expire_name(name.directory, name.name, {.twice = twice, .waits = {name_wait(one_more())}});
    }
  }
}

std::shared_ptr<CacheDropper::Wait> CacheDropper::name_wait(const Task& done) {
  return std::make_shared<Wait>(Wait{.left = 1, .done = at_latest(kNameWait, done)});
}

void CacheDropper::expire_name(InodeId directory, const std::string& name, Expiring expiring) {
  for (const InodeId inode : expiring.suspects) {
    ++suspects_[inode];
  }
  const auto place = expiring_.emplace(std::pair(directory, name), std::move(expiring));
  notifier_.expire_name(hooks_.to_kernel(directory), name,
                        lifetime_.guard([this, place] { expired(place); }));
}

void CacheDropper::expired(ExpiringNames::iterator place) {
  const auto [directory, name] = place->first;
  const Expiring expiring = std::move(place->second);
  expiring_.erase(place);
  for (const InodeId inode : expiring.suspects) {
    const auto suspect = suspects_.find(inode);
    if (--suspect->second == 0) {
      suspects_.erase(suspect);
    }
  }
  for (const std::shared_ptr<Wait>& wait : expiring.waits) {
    if (--wait->left == 0) {
      wait->done();
    }
  }
  if (expiring.twice) {
    expire_again(directory, name);
  }
}

void CacheDropper::expire_again(InodeId directory, const std::string& name) {
  scheduler_.run_after(kAnswerTime, lifetime_.guard([this, directory, name] {
    if (contention_.is_without_time(directory, name, scheduler_.now())) {
      return;  // it was given anew meanwhile
    }
    notifier_.expire_name(hooks_.to_kernel(directory), name,
                          lifetime_.guard([this, directory, name] {
                            contention_.note_without_time(directory, name, scheduler_.now());
                          }));
  }));
}

void CacheDropper::renamed(const KernelName& from, const KernelName& to) {
  contention_.renamed(from.directory, from.name, to.directory, to.name, scheduler_.now());
  const auto [first, last] = expiring_.equal_range(std::pair(from.directory, from.name));
  Expiring moved;
  for (auto place = first; place != last; ++place) {
    const Expiring& expiring = place->second;
    moved.leads_astray |= expiring.leads_astray;
    moved.twice |= expiring.twice;
    moved.suspects.insert(moved.suspects.end(), expiring.suspects.begin(), expiring.suspects.end());
    for (const std::shared_ptr<Wait>& wait : expiring.waits) {
      ++wait->left;
      moved.waits.push_back(wait);
    }
  }
  if (first != last) {
    expire_name(to.directory, to.name, std::move(moved));
  }
}

// --- Pages ---------------------------------------------------------------------------------------

void CacheDropper::drop_file(InodeId id, Task done) {
  File& file = files_[id];
  file.done.push_back(std::move(done));
  if (file.pass == 0) {
    begin_pass(id, file);
  } else {
    file.has_reads = true;  // the pass under way began before this change was known
  }
}

void CacheDropper::at_end_of_wait(InodeId id, Duration wait, MonoTime limit, const Task& done) {
  scheduler_.run_after(wait, lifetime_.guard([this, id, wait, limit, done] {
    if (is_written_back(id, wait) && scheduler_.now() < limit) {
      at_end_of_wait(id, wait, limit, done);
    } else {
      done();
    }
  }));
}

bool CacheDropper::is_written_back(InodeId id, Duration time) const {
  const auto file = files_.find(id);
  return writes_of_maps_.contains(id) ||
         (file != files_.end() && scheduler_.now() - time < file->second.written_back_at);
}

void CacheDropper::write_back_begins(InodeId id) { ++writes_of_maps_[id]; }

void CacheDropper::write_back_ends(InodeId id) {
  const auto place = writes_of_maps_.find(id);
  DFS_ASSERT(place != writes_of_maps_.end());
  if (--place->second == 0) {
    writes_of_maps_.erase(place);
  }
  if (const auto file = files_.find(id); file != files_.end()) {
    file->second.written_back_at = scheduler_.now();
  }
}

void CacheDropper::begin_pass(InodeId id, File& file) {
  ++file.passes;
  file.pass = next_pass_++;
  file.has_reads = false;
  hold_reads(file, id);
  drop_pages(id, lifetime_.guard([this, id, pass = file.pass] { pass_done(id, pass); }));
}

void CacheDropper::hold_reads(File& file, InodeId id) {
  file.is_holding = true;
  scheduler_.run_after(kHoldReads,
                       lifetime_.guard([this, id, pass = file.pass] { release_reads(id, pass); }));
}

// What lies between the writes under way, and these for a moment.
void CacheDropper::drop_pages(InodeId id, const Task& done) {
  std::vector<std::pair<std::uint64_t, Write*>> writes;
  if (const auto place = writes_.find(id); place != writes_.end()) {
    for (auto& [number, write] : place->second) {
      writes.emplace_back(number, &write);
    }
  }
  std::sort(writes.begin(), writes.end(), [](const auto& left, const auto& right) {
    return left.second->begin < right.second->begin;
  });
  auto left = std::make_shared<std::size_t>(2 * writes.size() + 1);
  const Task one_done = lifetime_.guard([left, done] {
    if (--*left == 0) {
      done();
    }
  });
  const std::uint64_t inode = hooks_.to_kernel(id);
  std::uint64_t at = 0;
  for (const auto& [number, write] : writes) {
    drop_written(id, number, *write, one_done);
    if (write->begin > at) {
      notifier_.drop_contents(inode, at, write->begin, one_done);
    } else {
      scheduler_.post(one_done);
    }
    at = std::max(at, write->end);
  }
  notifier_.drop_contents(inode, at, kNoEnd, one_done);
}

// Once at a time for each write: what waits for a page has a thread of the notifier.
void CacheDropper::drop_written(InodeId id, std::uint64_t number, Write& write, const Task& done) {
  if (std::exchange(write.is_dropping, true)) {
    scheduler_.post(done);
    return;
  }
  const Task done_once = once(done);
  at_end_of_wait(id, kWriteWait, scheduler_.now() + kDropWait, done_once);
  notifier_.drop_contents(hooks_.to_kernel(id), write.begin, write.end,
                          lifetime_.guard([this, id, number, done_once] {
                            const auto file = writes_.find(id);
                            if (file != writes_.end() && file->second.contains(number)) {
                              file->second.at(number).is_dropping = false;
                            }
                            done_once();
                          }));
}

std::uint64_t CacheDropper::write_begins(InodeId id, std::uint64_t offset,
                                         std::uint64_t size_bytes) {
  const std::uint64_t number = next_write_++;
  const Write write{.begin = offset / kPageBytes * kPageBytes,
                    .end = (offset + size_bytes + kPageBytes - 1) / kPageBytes * kPageBytes};
  writes_[id].emplace(number, write);
  // The pass under way may be waiting for it.
  if (const auto file = files_.find(id); file != files_.end()) {
    begin_pass(id, file->second);
  }
  return number;
}

// While a write waits for a lease its pages may be dropped, and read anew without it. (Not those
// that the kernel keeps locked for it: nobody can read them.)
void CacheDropper::write_ends(InodeId id, std::uint64_t number, Task ended) {
  const auto place = writes_.find(id);
  DFS_ASSERT(place != writes_.end());
  const Write write = place->second.extract(number).mapped();
  if (place->second.empty()) {
    writes_.erase(place);
  }
  if (!write.was_read) {
    ended();
    return;
  }
  notifier_.drop_contents(hooks_.to_kernel(id), write.begin, write.end,
                          at_latest(kDropWait, std::move(ended)));
}

void CacheDropper::drop_range(InodeId id, std::uint64_t offset, std::uint64_t size_bytes,
                              Task dropped) {
  notifier_.drop_contents(hooks_.to_kernel(id), offset, offset + size_bytes,
                          at_latest(kWriteWait, std::move(dropped)));
}

bool CacheDropper::holds_read(InodeId id, std::uint64_t offset, std::uint64_t size_bytes,
                              Task again) {
  if (const auto writes = writes_.find(id); writes != writes_.end()) {
    for (auto& [number, write] : writes->second) {
      write.was_read |= offset < write.end && write.begin < offset + size_bytes;
    }
  }
  const auto place = files_.find(id);
  if (place == files_.end()) {
    return false;
  }
  if (place->second.is_holding) {
    place->second.held.push_back(std::move(again));
    return true;
  }
  place->second.has_reads = true;
  return false;
}

// The notification may be waiting for a page that one of these holds. What they read is dropped in
// another pass, which takes the less time the fewer they are: so those that come next wait again.
void CacheDropper::release_reads(InodeId id, std::uint64_t pass) {
  const auto place = files_.find(id);
  if (place == files_.end() || place->second.pass != pass) {
    return;
  }
  for (const Task& again : stop_holding(place->second)) {
    again();
  }
  if (const auto file = files_.find(id); file != files_.end() && file->second.pass == pass) {
    hold_reads(file->second, id);
  }
}

std::vector<Task> CacheDropper::stop_holding(File& file) {
  file.is_holding = false;
  return std::exchange(file.held, {});
}

void CacheDropper::pass_done(InodeId id, std::uint64_t pass) {
  const auto place = files_.find(id);
  if (place == files_.end() || place->second.pass != pass) {
    return;
  }
  File& file = place->second;
  if (file.has_reads && file.passes < kPassesMax) {
    const std::vector<Task> held = stop_holding(file);
    when_quiet(id, kQuietWait, lifetime_.guard([this, id, pass] {
      const auto its = files_.find(id);
      if (its != files_.end() && its->second.pass == pass) {
        begin_pass(id, its->second);
      }
    }));
    for (const Task& again : held) {
      again();
    }
    return;
  }
  const bool may_be_old = file.has_reads;
  const File ended = std::move(file);
  files_.erase(place);
  for (const Task& done : ended.done) {
    done();
  }
  for (const Task& again : ended.held) {
    again();
  }
  if (may_be_old) {
    notifier_.drop_contents(hooks_.to_kernel(id), 0, kNoEnd, nullptr);
  }
}

}  // namespace dfs::fuse
