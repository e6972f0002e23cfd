#include "fuse-client/core/read_ahead.h"

#include <algorithm>

#include "proto/limits.h"

namespace dfs::client {
namespace {

// How far a request of a sequential reader may stray from where the last one ended.
constexpr std::uint64_t kDisorderMax = 1u << 20;

}  // namespace

bool ReadAhead::is_sequential(std::uint64_t offset) const {
  if (!has_read_) {
    return offset == 0;
  }
  // Forward jumps count as sequential only when something was read in a row before them.
  const std::uint64_t ahead = window_ > 0 ? kDisorderMax : 0;
  return offset + (window_ > 0 ? kDisorderMax : 0) >= expected_ && offset <= expected_ + ahead;
}

ReadAhead::Advice ReadAhead::next(std::uint64_t offset, std::uint64_t size_bytes) {
  Advice advice;
  const std::uint64_t end = offset + size_bytes;
  if (!is_sequential(offset)) {
    has_read_ = true;
    window_ = 0;
    expected_ = end;
    ahead_until_ = end;
    // A large read wants all it asks for anyway.
    advice.unit_bytes = size_bytes >= kStartUnitBytes ? kStartUnitBytes : kRandomUnitBytes;
    return advice;
  }
  if (!has_read_) {
    has_read_ = true;
    expected_ = end;
    ahead_until_ = end;
    advice.unit_bytes = kStartUnitBytes;
    return advice;
  }
  window_ = std::min(std::max(kReadAheadMin, window_ * 2), window_max_);
  expected_ = std::max(expected_, end);
  advice.unit_bytes = kBlockPayloadBytesMax;
  ahead_until_ = std::max(ahead_until_, expected_);
  const std::uint64_t wanted = expected_ + window_;
  // In steps, so that a stream of small reads does not ask for a few kilobytes each time.
  if (wanted >= ahead_until_ + window_ / 4) {
    advice.ahead_begin = ahead_until_;
    advice.ahead_end = wanted;
    ahead_until_ = wanted;
  }
  return advice;
}

}  // namespace dfs::client
