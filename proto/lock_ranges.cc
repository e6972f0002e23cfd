#include "proto/lock_ranges.h"

#include <algorithm>

#include "common/assert.h"

namespace dfs {
namespace {

// Appends what lies behind the last range; neighbours of one mode become one.
void append(std::vector<LockRange>& ranges, const LockRange& range) {
  if (!ranges.empty()) {
    LockRange& last = ranges.back();
    DFS_ASSERT(last.span.end < range.span.start);
    if (last.mode == range.mode && last.span.end + 1 == range.span.start) {
      last.span.end = range.span.end;
      return;
    }
  }
  ranges.push_back(range);
}

}  // namespace

void LockRanges::set(LockSpan span, LockMode mode) {
  DFS_ASSERT(span.is_valid());
  std::vector<LockRange> next;
  next.reserve(ranges_.size() + 2);
  bool is_placed = mode == LockMode::kNone;
  const auto place = [&] {
    if (!is_placed) {
      append(next, {span, mode});
      is_placed = true;
    }
  };
  for (const LockRange& old : ranges_) {
    if (old.span.start < span.start) {
      append(next, {{old.span.start, std::min(old.span.end, span.start - 1)}, old.mode});
    }
    if (old.span.end > span.end) {
      place();
      append(next, {{std::max(old.span.start, span.end + 1), old.span.end}, old.mode});
    }
  }
  place();
  ranges_ = std::move(next);
}

void LockRanges::weaken(LockSpan span, LockMode mode) {
  for (const LockRange& held : within(span)) {
    if (held.mode > mode) {
      set(held.span, mode);
    }
  }
}

std::optional<LockRange> LockRanges::first_conflict(LockSpan span, LockMode mode) const {
  auto range = std::lower_bound(
      ranges_.begin(), ranges_.end(), span.start,
      [](const LockRange& each, std::uint64_t start) { return each.span.end < start; });
  for (; range != ranges_.end() && range->span.start <= span.end; ++range) {
    if (mode == LockMode::kExclusive || range->mode == LockMode::kExclusive) {
      return *range;
    }
  }
  return std::nullopt;
}

std::vector<LockRange> LockRanges::within(LockSpan span) const {
  std::vector<LockRange> found;
  for (const LockRange& range : ranges_) {
    if (range.span.overlaps(span)) {
      found.push_back({{std::max(range.span.start, span.start), std::min(range.span.end, span.end)},
                       range.mode});
    }
  }
  return found;
}

}  // namespace dfs
