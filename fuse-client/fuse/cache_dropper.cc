#include "fuse-client/fuse/cache_dropper.h"

#include <utility>

namespace dfs::fuse {
namespace {

// A file that is read all the time without end is given up after so many passes; what was read
// during the last one is dropped a moment late.
constexpr std::uint32_t kPassesMax = 16;

}  // namespace

Task CacheDropper::at_latest(Duration limit, Task done) {
  auto waiting = std::make_shared<Task>(std::move(done));
  Task once = lifetime_.guard([waiting] {
    if (const Task task = std::exchange(*waiting, nullptr)) {
      task();
    }
  });
  scheduler_.run_after(limit, once);
  return once;
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
  for (const LeaseChange& change : changes) {
    if (!hooks_.is_known(change.inode)) {
      continue;
    }
    ++*left;
    if (change.contents && hooks_.is_open(change.inode)) {
      drop_file(change.inode, at_latest(kDropWait, one_done));
    } else {
      // The pages of a file that is not open are dropped when it is opened.
      notifier_.drop_attributes(hooks_.to_kernel(change.inode), at_latest(kDropWait, one_done));
    }
    if (!change.names.empty()) {
      *left += change.names.size();
      expire_names(change.inode, change.names, suspects, one_done);
    }
  }
  scheduler_.post(lifetime_.guard(one_done));
}

// --- Names ---------------------------------------------------------------------------------------

void CacheDropper::expire_names(InodeId directory, const std::vector<std::string>& names,
                                const std::vector<InodeId>& suspects, const Task& done) {
  for (const std::string& name : names) {
    for (const InodeId inode : suspects) {
      ++suspects_[inode];
    }
    const Task counted = at_latest(kNameWait, done);
    notifier_.expire_name(hooks_.to_kernel(directory), name,
                          lifetime_.guard([this, suspects, counted] {
                            for (const InodeId inode : suspects) {
                              const auto place = suspects_.find(inode);
                              if (--place->second == 0) {
                                suspects_.erase(place);
                              }
                            }
                            counted();
                          }));
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

void CacheDropper::begin_pass(InodeId id, File& file) {
  ++file.passes;
  file.pass = next_pass_++;
  file.has_reads = false;
  file.is_holding = true;
  const std::uint64_t pass = file.pass;
  scheduler_.run_after(kHoldReads, lifetime_.guard([this, id, pass] { release_reads(id, pass); }));
  notifier_.drop_contents(hooks_.to_kernel(id),
                          lifetime_.guard([this, id, pass] { pass_done(id, pass); }));
}

bool CacheDropper::holds_read(InodeId id, Task again) {
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

// The notification may be waiting for a page that one of these holds.
void CacheDropper::release_reads(InodeId id, std::uint64_t pass) {
  const auto place = files_.find(id);
  if (place == files_.end() || place->second.pass != pass) {
    return;
  }
  place->second.is_holding = false;
  for (const Task& again : std::exchange(place->second.held, {})) {
    again();
  }
}

void CacheDropper::pass_done(InodeId id, std::uint64_t pass) {
  const auto place = files_.find(id);
  if (place == files_.end() || place->second.pass != pass) {
    return;
  }
  File& file = place->second;
  if (file.has_reads && file.passes < kPassesMax) {
    begin_pass(id, file);
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
    notifier_.drop_contents(hooks_.to_kernel(id), nullptr);
  }
}

}  // namespace dfs::fuse
