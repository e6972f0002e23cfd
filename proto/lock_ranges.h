// What one owner has locked of one file: disjoint ranges, each shared or exclusive.
//
// The rules of fcntl(2): setting a range replaces whatever the owner had there, which splits what
// lies over its borders; neighbours of one mode are one range. Used by the master for what it has
// granted and by clients for what they hold. Not bounded here: owners of this bound it.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "common/ids.h"

namespace dfs {

// Byte ranges, also of open file descriptions, and flock(2)s know nothing of each other.
enum class LockKind : std::uint8_t { kRange = 0, kFlock = 1 };
inline constexpr std::uint8_t kLockKindMax = 1;

enum class LockMode : std::uint8_t { kNone = 0, kShared = 1, kExclusive = 2 };
inline constexpr std::uint8_t kLockModeMax = 2;

// The last offset a file can have; a lock to the end of the file, however long it gets, ends here.
inline constexpr std::uint64_t kLockOffsetMax =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

// Both ends belong to it.
struct LockSpan {
  std::uint64_t start = 0;
  std::uint64_t end = kLockOffsetMax;
  friend bool operator==(const LockSpan&, const LockSpan&) = default;
  bool is_valid() const { return start <= end && end <= kLockOffsetMax; }
  bool overlaps(const LockSpan& other) const { return start <= other.end && other.start <= end; }
};

struct LockRange {
  LockSpan span;
  LockMode mode = LockMode::kNone;
  friend bool operator==(const LockRange&, const LockRange&) = default;
};

// What locks of one kind on one inode compete for.
struct LockFile {
  InodeId inode;
  LockKind kind = LockKind::kRange;
  friend auto operator<=>(const LockFile&, const LockFile&) = default;
};

class LockRanges {
 public:
  // Precondition: span.is_valid().
  void set(LockSpan span, LockMode mode);
  // As set() where that makes a lock weaker or ends it; nowhere stronger.
  void weaken(LockSpan span, LockMode mode);

  // The first of these ranges that forbids another owner `mode` on `span`.
  std::optional<LockRange> first_conflict(LockSpan span, LockMode mode) const;
  // What of `span` is locked, cut at its ends.
  std::vector<LockRange> within(LockSpan span) const;

  const std::vector<LockRange>& all() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  std::size_t count() const { return ranges_.size(); }
  friend bool operator==(const LockRanges&, const LockRanges&) = default;

 private:
  std::vector<LockRange> ranges_;  // by start
};

}  // namespace dfs
