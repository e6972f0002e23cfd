#include "master/core/number_reserve.h"

#include <algorithm>
#include <array>

#include "common/assert.h"

namespace dfs::master {
namespace {

struct Reserve {
  Counter next;
  Counter reserved;
  std::uint64_t first;  // 0 is "none" for every id; inode 1 is the root
  std::uint64_t step;   // numbers a restart may skip, and how rarely a commit must be synced
};

constexpr std::array<Reserve, 4> kReserves{{
    {Counter::kNextInode, Counter::kReservedInode, kRootInode.value + 1, 65536},
    {Counter::kNextChunk, Counter::kReservedChunk, 1, 1024},
    // Servers are few and their ids have 32 bits: each registration is durable by itself.
    {Counter::kNextNode, Counter::kReservedNode, 1, 1},
    // A reused data version would make a client's stale cache look fresh.
    {Counter::kDataVersion, Counter::kReservedDataVersion, 1, std::uint64_t{1} << 20},
}};

const Reserve& reserve_of(Counter counter) {
  const auto found = std::find_if(kReserves.begin(), kReserves.end(),
                                  [&](const Reserve& reserve) { return reserve.next == counter; });
  DFS_ASSERT(found != kReserves.end());
  return *found;
}

}  // namespace

Result<std::uint64_t> take_reserved_number(Store& store, Counter counter, bool& durable) {
  const Reserve& reserve = reserve_of(counter);
  DFS_TRY(const std::uint64_t stored, store.counter(reserve.next));
  DFS_TRY(const std::uint64_t bound, store.counter(reserve.reserved));
  const std::uint64_t number = std::max(stored, reserve.first);
  if (number >= bound) {
    DFS_CHECK_OK(store.set_counter(reserve.reserved, number + reserve.step));
    durable = true;
  }
  DFS_CHECK_OK(store.set_counter(reserve.next, number + 1));
  return number;
}

Status skip_reserved_numbers(Store& store) {
  for (const Reserve& reserve : kReserves) {
    DFS_TRY(const std::uint64_t next, store.counter(reserve.next));
    DFS_TRY(const std::uint64_t bound, store.counter(reserve.reserved));
    if (next < bound) {
      DFS_CHECK_OK(store.set_counter(reserve.next, bound));
    }
  }
  return ok();
}

}  // namespace dfs::master
