// Random numbers from a seed: the only source of chance in a simulation (splitmix64).
#pragma once

#include <cstdint>

#include "common/random.h"

namespace dfs::sim {

class SimRandom final : public Random {
 public:
  explicit SimRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next_u64() override {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }

  // True in `per_million` of a million cases.
  bool chance(std::uint32_t per_million) { return below(1'000'000) < per_million; }

  // A generator whose numbers have nothing to do with this one's later ones.
  SimRandom fork() { return SimRandom(next_u64()); }

 private:
  std::uint64_t state_;
};

}  // namespace dfs::sim
