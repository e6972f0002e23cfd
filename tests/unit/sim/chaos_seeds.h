// Which seeds a chaos test runs: a few, or those that somebody asks for by hand with
// DFS_CHAOS_FIRST=1000 DFS_CHAOS_COUNT=10000.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace dfs::sim {

struct ChaosSeeds {
  explicit ChaosSeeds(std::uint64_t usual_count)
      : first(number("DFS_CHAOS_FIRST", 1)), end(first + number("DFS_CHAOS_COUNT", usual_count)) {}

  std::uint64_t first = 1;
  std::uint64_t end = 1;  // behind the last

 private:
  static std::uint64_t number(const char* name, std::uint64_t usual) {
    const char* const given = std::getenv(name);
    return given == nullptr ? usual : std::stoull(given);
  }
};

}  // namespace dfs::sim
