#include "fuse-client/core/memory_budget.h"

#include <algorithm>

namespace dfs::client {

// Dirty bytes and bytes in flight each have half, so neither can keep the other waiting for ever:
// a flush needs memory in flight to get rid of dirty bytes. The cache has what is left.
std::uint64_t MemoryBudget::share(Use use) const {
  switch (use) {
    case Use::kDirty: return cap_bytes_ / 2;
    case Use::kInFlight: return cap_bytes_ - cap_bytes_ / 2;
    case Use::kCache:
    case Use::kWaiting: return cap_bytes_;
  }
  return 0;
}

bool MemoryBudget::try_reserve(Use use, std::uint64_t bytes) {
  std::uint64_t& held = used_[static_cast<int>(use)];
  const bool is_oversized = bytes > share(use) && use != Use::kCache;
  const bool fits_share =
      is_oversized ? held == 0 : bytes <= share(use) && held <= share(use) - bytes;
  if (fits_share) {
    if (use != Use::kCache) {
      evict_for(bytes);
    }
    const std::uint64_t waiting = use == Use::kCache ? 0 : used(Use::kWaiting);
    if (is_oversized || total() - waiting + bytes <= cap_bytes_) {
      held += bytes;
      return true;
    }
  }
  // A cache that is refused has nobody waiting.
  refused_ = refused_ || use != Use::kCache;
  return false;
}

void MemoryBudget::reserve_anyway(Use use, std::uint64_t bytes) {
  evict_for(bytes);
  used_[static_cast<int>(use)] += bytes;
}

// What is freed here is spoken for: nobody is woken for it.
void MemoryBudget::evict_for(std::uint64_t bytes) {
  if (total() + bytes > cap_bytes_ && used(Use::kCache) > 0 && evictor_) {
    is_evicting_ = true;
    evictor_(total() + bytes - cap_bytes_);
    is_evicting_ = false;
  }
}

void MemoryBudget::release(Use use, std::uint64_t bytes) {
  std::uint64_t& held = used_[static_cast<int>(use)];
  DFS_ASSERT(held >= bytes);
  held -= bytes;
  if (refused_ && bytes > 0 && !is_evicting_ && use != Use::kWaiting) {
    wake();
  }
}

void MemoryBudget::wake() {
  refused_ = false;
  for (const auto& waiter : waiters_) {
    waiter();
  }
}

std::uint64_t MemoryBudget::total() const { return used_[0] + used_[1] + used_[2] + used_[3]; }

}  // namespace dfs::client
