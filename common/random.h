// Port: random numbers for choices that need spreading (jitter, placement, ids). Seeded and
// reproducible in simulation; never used for key material.
#pragma once

#include <cstdint>

#include "common/assert.h"

namespace dfs {

class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next_u64() = 0;

  // Uniform enough in [0, bound): the bias of the modulo is below 2^-32 for bounds below 2^32.
  // Precondition: bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    DFS_ASSERT(bound > 0);
    return next_u64() % bound;
  }
};

}  // namespace dfs
