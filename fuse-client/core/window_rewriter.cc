#include "fuse-client/core/window_rewriter.h"

#include <algorithm>
#include <utility>

namespace dfs::client {
namespace {

using Interval = std::pair<std::uint64_t, std::uint64_t>;

constexpr std::uint64_t kWindow = kExtentWindowBytes;

// What of `range` lies in none of the intervals.
void subtract(const DirtyRange& range, std::vector<Interval> intervals,
              std::vector<DirtyRange>& out) {
  std::sort(intervals.begin(), intervals.end());
  const std::uint64_t end = range.file_offset + range.data.size();
  std::uint64_t position = range.file_offset;
  const auto add = [&](std::uint64_t stop) {
    if (stop > position) {
      out.push_back({position, range.data.slice(position - range.file_offset, stop - position)});
    }
  };
  for (const auto& [from, to] : intervals) {
    add(std::min(from, end));
    position = std::max(position, to);
    if (position >= end) {
      return;
    }
  }
  add(end);
}

bool has_flight_in(const FileState& file, std::uint64_t window) {
  const auto& flight = file.dirty.flight();
  return std::any_of(flight.begin(), flight.end(), [&](const FlightBlockPtr& block) {
    return block->file_offset / kWindow == window;
  });
}

}  // namespace

WindowRewriter::WindowRewriter(FileTable& files, MemoryBudget& memory,
                               const WriteBackEvents& write_back, Events events)
    : files_(files), memory_(memory), write_back_(write_back), events_(std::move(events)) {}

void WindowRewriter::suggest(FileState& file, const std::vector<FlightBlockPtr>& blocks) {
  // While the file is being cut nothing may be read that the cut is to forget.
  if (!write_back_.read_committed || file.hold_count > 0) {
    return;
  }
  Job& job = jobs_[file.inode];
  for (const FlightBlockPtr& block : blocks) {
    if (job.windows.size() < kRewriteWindowsMax) {
      job.windows.insert(block->file_offset / kWindow);
    }
  }
}

void WindowRewriter::demand(FileState& file, const std::vector<FlightBlockPtr>& blocks) {
  DFS_ASSERT(write_back_.read_committed && !file.is_committing);
  Job& job = jobs_[file.inode];
  job.is_demanded = true;
  file.is_commit_held = true;
  // Which of them is too full is not known.
  for (const FlightBlockPtr& block : blocks) {
    job.windows.insert(block->file_offset / kWindow);
  }
}

void WindowRewriter::advance(FileState& file) {
  const auto at = jobs_.find(file.inode);
  if (at == jobs_.end() || at->second.is_reading) {
    return;
  }
  Job& job = at->second;
  if (job.windows.empty()) {
    end(file);
    return;
  }
  for (const std::uint64_t window : job.windows) {
    // What is in flight would be committed while the window is read. Not so if commits are held.
    if (job.is_demanded || !has_flight_in(file, window)) {
      start(file, job, window);
      return;
    }
  }
}

void WindowRewriter::start(FileState& file, Job& job, std::uint64_t window) {
  job.windows.erase(window);
  job.window = window;
  job.is_reading = true;
  job.token = next_token_++;
  job.newer.clear();
  // These may be committed before the answer comes, which is older then.
  for (const DirtyRange& range : file.dirty.ranges(window * kWindow, (window + 1) * kWindow)) {
    job.newer.emplace_back(range.file_offset, range.file_offset + range.data.size());
  }
  file.is_rewriting = true;
  write_back_.read_committed(file.inode, window * kWindow, kWindow,
                             lifetime_.guard([this, inode = file.inode, token = job.token](
                                                 Result<std::vector<DirtyRange>> contents) {
                               read(inode, token, std::move(contents));
                             }));
}

void WindowRewriter::wrote(InodeId inode, std::uint64_t begin, std::uint64_t end) {
  const auto at = jobs_.find(inode);
  if (at != jobs_.end() && at->second.is_reading) {
    at->second.newer.emplace_back(begin, end);
  }
}

void WindowRewriter::read(InodeId inode, std::uint64_t token,
                          Result<std::vector<DirtyRange>> contents) {
  const auto at = jobs_.find(inode);
  if (at == jobs_.end() || at->second.token != token || !at->second.is_reading) {
    return;  // cancelled meanwhile
  }
  Job& job = at->second;
  FileState& file = *files_.at(inode);
  job.is_reading = false;
  file.is_rewriting = false;
  if (!contents) {
    const bool was_demanded = job.is_demanded;
    end(file);
    if (was_demanded) {
      events_.failed(file, contents.error());
    }
    return;
  }
  std::vector<DirtyRange> older;
  for (const DirtyRange& range : *contents) {
    DFS_ASSERT(range.file_offset / kWindow == job.window);
    subtract(range, job.newer, older);
  }
  const bool is_filled = fill(file, job, older);
  if (job.windows.empty()) {
    end(file);
  }
  if (is_filled) {
    events_.filled(file);
  }
  advance(file);
}

bool WindowRewriter::fill(FileState& file, const Job& job,
                          const std::vector<DirtyRange>& contents) {
  std::vector<DirtyRange> all = contents;
  if (job.is_demanded) {
    withdraw_window(file, job.window * kWindow, all);
  }
  const std::uint64_t needed = file.dirty.memory_needed_to_fill(all);
  if (!memory_.try_reserve(MemoryBudget::Use::kDirty, needed)) {
    if (!job.is_demanded) {
      return false;  // suggested again by the next commit
    }
    memory_.reserve_anyway(MemoryBudget::Use::kDirty, needed);
  }
  std::uint64_t credit = needed;
  file.dirty.fill(all, credit);
  memory_.release(MemoryBudget::Use::kDirty, credit);
  return true;
}

// Blocks that were refused become dirty again, over what was read and under what was written since.
void WindowRewriter::withdraw_window(FileState& file, std::uint64_t begin,
                                     std::vector<DirtyRange>& contents) {
  std::vector<DirtyRange> refused = file.dirty.flight_ranges(begin, begin + kWindow);
  std::vector<Interval> covered;
  std::vector<FlightBlockPtr> blocks;
  for (const FlightBlockPtr& block : file.dirty.flight()) {
    if (block->file_offset / kWindow == begin / kWindow) {
      blocks.push_back(block);
      covered.emplace_back(block->file_offset, block->end());
    }
  }
  events_.drop(file, blocks);
  for (const DirtyRange& range : contents) {
    subtract(range, covered, refused);
  }
  contents = std::move(refused);
}

void WindowRewriter::cancel(InodeId inode) {
  const auto file = files_.find(inode);
  if (file != files_.end()) {
    end(*file->second);
  }
  jobs_.erase(inode);
}

void WindowRewriter::cancel_suggested(InodeId inode) {
  const auto at = jobs_.find(inode);
  if (at != jobs_.end() && !at->second.is_demanded) {
    cancel(inode);
  }
}

void WindowRewriter::end(FileState& file) {
  jobs_.erase(file.inode);
  file.is_rewriting = false;
  file.is_commit_held = false;
}

}  // namespace dfs::client
