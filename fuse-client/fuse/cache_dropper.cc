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

void CacheDropper::drop(const std::vector<LeaseChange>& changes, std::function<void()> dropped) {
  auto left = std::make_shared<std::size_t>(1);
  const Task one_done = [left, dropped = std::move(dropped)] {
    if (--*left == 0) {
      dropped();
    }
  };
  std::vector<InodeId> suspects;
  for (const LeaseChange& change : changes) {
    const bool is_directory = !change.names.empty() || !change.new_names.empty();
    if (!is_directory && hooks_.is_known(change.inode)) {
      suspects.push_back(change.inode);
    }
  }
  // A name that has yet to expire may stand for these by now: renames go on meanwhile.
  for (auto& [name, its_suspects] : expiring_) {
    for (const InodeId inode : suspects) {
      if (std::find(its_suspects.begin(), its_suspects.end(), inode) == its_suspects.end()) {
        its_suspects.push_back(inode);
        ++suspects_[inode];
      }
    }
  }
  for (const LeaseChange& change : changes) {
    if (!hooks_.is_known(change.inode)) {
      continue;
    }
    const bool was_contended = contention_.changes(change.inode, scheduler_.now());
    const std::uint64_t inode = hooks_.to_kernel(change.inode);
    ++*left;
    if (change.contents && hooks_.is_open(change.inode)) {
      const Task file_done = once(one_done);
      at_end_of_wait(change.inode, kDropWait, scheduler_.now() + kWriteBackWait, file_done);
      drop_file(change.inode, file_done);
    } else {
      // The pages of a file that is not open are dropped when it is opened.
      notifier_.drop_attributes(inode, at_latest(kDropWait, one_done));
    }
    if (!was_contended) {
      const Task again =
          lifetime_.guard([this, inode] { notifier_.drop_attributes(inode, nullptr); });
      scheduler_.run_after(kAnswerTime, lifetime_.guard([this, id = change.inode, again] {
        when_quiet(id, kQuietWait, again);
      }));
    }
    for (const std::string& name : change.names) {
      if (!contention_.is_without_time(change.inode, name, scheduler_.now())) {
        ++*left;
        expire_name(change.inode, name, suspects, one_done);
      }
    }
  }
  scheduler_.post(lifetime_.guard(one_done));
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

void CacheDropper::expire_name(InodeId directory, const std::string& name,
                               const std::vector<InodeId>& suspects, const Task& done) {
  for (const InodeId inode : suspects) {
    ++suspects_[inode];
  }
  const Task counted = at_latest(kNameWait, done);
  const auto expiring = expiring_.emplace(std::pair(directory, name), suspects);
  notifier_.expire_name(hooks_.to_kernel(directory), name,
                        lifetime_.guard([this, expiring, directory, name, counted] {
                          for (const InodeId inode : expiring->second) {
                            const auto place = suspects_.find(inode);
                            if (--place->second == 0) {
                              suspects_.erase(place);
                            }
                          }
                          expiring_.erase(expiring);
                          counted();
                          expire_again(directory, name);
                        }));
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

void CacheDropper::renamed(InodeId directory, const std::string& name, InodeId new_directory,
                           const std::string& new_name) {
  contention_.renamed(directory, name, new_directory, new_name, scheduler_.now());
  const auto [first, last] = expiring_.equal_range(std::pair(directory, name));
  std::vector<InodeId> suspects;
  for (auto expiring = first; expiring != last; ++expiring) {
    suspects.insert(suspects.end(), expiring->second.begin(), expiring->second.end());
  }
  if (first != last) {
    expire_name(new_directory, new_name, suspects, [] {});
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
