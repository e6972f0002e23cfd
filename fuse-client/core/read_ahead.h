// Decides for one open file how much to fetch: recognises reading from front to back.
//
// The kernel reads ahead itself with several requests at once, so requests of a sequential reader
// may come a little out of order. The window doubles with every sequential read up to its maximum.
#pragma once

#include <cstdint>

namespace dfs::client {

inline constexpr std::uint32_t kRandomUnitBytes = 16 * 1024;
inline constexpr std::uint32_t kStartUnitBytes = 256 * 1024;
inline constexpr std::uint64_t kReadAheadMin = 512 * 1024;
inline constexpr std::uint64_t kReadAheadMax = 8u << 20;

class ReadAhead {
 public:
  struct Advice {
    std::uint32_t unit_bytes = kRandomUnitBytes;  // to fetch around what is missing
    std::uint64_t ahead_begin = 0;                // to prefetch; empty: nothing
    std::uint64_t ahead_end = 0;
  };

  explicit ReadAhead(std::uint64_t window_max) : window_max_(window_max) {}

  Advice next(std::uint64_t offset, std::uint64_t size_bytes);
  std::uint64_t window() const { return window_; }

 private:
  bool is_sequential(std::uint64_t offset) const;

  std::uint64_t window_max_;
  std::uint64_t window_ = 0;
  std::uint64_t expected_ = 0;     // the end of what was read
  std::uint64_t ahead_until_ = 0;  // asked for
  bool has_read_ = false;
};

}  // namespace dfs::client
