// The real Random: numbers of the kernel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/random.h"

namespace dfs::real {

class SystemRandom final : public Random {
 public:
  std::uint64_t next_u64() override;

 private:
  void refill();

  std::array<std::uint64_t, 32> numbers_{};  // 256 bytes: what getrandom never gives in part
  std::size_t used_ = numbers_.size();
};

}  // namespace dfs::real
