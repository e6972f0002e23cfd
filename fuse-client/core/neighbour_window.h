// How much of a chunk behind a small block is fetched along with it.
//
// Files written together lie together, so the blocks behind the one that is read are often read
// next: a tree of small files then takes one round trip for dozens of files. Whether that is so
// shows in use: each block that came along and was read widens the window, each request narrows it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dfs::client {

// Blocks up to this size have neighbours fetched.
inline constexpr std::uint32_t kNeighbourBlockBytesMax = 64u << 10;

class NeighbourWindow {
 public:
  std::uint32_t bytes() const { return bytes_; }
  // A request goes out with the window as it is.
  void asked() { bytes_ = std::max(kBytesMin, bytes_ - bytes_ / 4); }
  // A block that came along is read for the first time.
  void used() { bytes_ = std::min(kBytesMax, bytes_ + kBytesForUse); }

 private:
  static constexpr std::uint32_t kBytesMin = 16u << 10;
  static constexpr std::uint32_t kBytesMax = 256u << 10;
  static constexpr std::uint32_t kBytesForUse = 8u << 10;
  std::uint32_t bytes_ = 64u << 10;
};

}  // namespace dfs::client
