#include "master/core/usable_space.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/sim/sim_random.h"

namespace dfs::master {
namespace {

// Puts one byte after another on the servers that have most room: that never does worse than
// another choice.
std::uint64_t by_filling(std::vector<std::uint64_t> room, std::uint32_t copies) {
  if (room.size() < copies) {
    return 0;
  }
  for (std::uint64_t bytes = 0;; ++bytes) {
    std::sort(room.begin(), room.end(), std::greater<>());
    if (room[copies - 1] == 0) {
      return bytes;
    }
    for (std::uint32_t i = 0; i < copies; ++i) {
      --room[i];
    }
  }
}

TEST(UsableSpace, examples) {
  EXPECT_EQ(usable_bytes({10, 10, 10}, 2), 15u);
  EXPECT_EQ(usable_bytes({100, 10, 10}, 2), 20u);
  EXPECT_EQ(usable_bytes({100, 10, 0}, 3), 0u);
  EXPECT_EQ(usable_bytes({100}, 2), 0u);
  EXPECT_EQ(usable_bytes({100}, 1), 100u);
}

TEST(UsableSpace, equals_what_filling_the_servers_byte_by_byte_gives) {
  sim::SimRandom random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::uint64_t> room;
    for (auto count = random.below(7); count > 0; --count) {
      room.push_back(random.below(30));
    }
    const auto copies = static_cast<std::uint32_t>(1 + random.below(4));
    EXPECT_EQ(usable_bytes(room, copies), by_filling(room, copies));
  }
}

}  // namespace
}  // namespace dfs::master
