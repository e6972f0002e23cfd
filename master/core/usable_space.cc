#include "master/core/usable_space.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "common/assert.h"

namespace dfs::master {

std::uint64_t usable_bytes(std::vector<std::uint64_t> room_bytes, std::uint32_t copies) {
  DFS_ASSERT(copies > 0);
  if (room_bytes.size() < copies) {
    return 0;
  }
  std::sort(room_bytes.begin(), room_bytes.end(), std::greater<>());
  std::uint64_t rest = std::accumulate(room_bytes.begin(), room_bytes.end(), std::uint64_t{0});
  std::uint64_t usable = rest / copies;
  for (std::uint32_t larger = 1; larger < copies; ++larger) {
    rest -= room_bytes[larger - 1];
    usable = std::min(usable, rest / (copies - larger));
  }
  return usable;
}

}  // namespace dfs::master
