#include "master/core/op_context.h"

#include "master/core/number_reserve.h"

namespace dfs::master {

Result<std::uint64_t> OpContext::take_number(Counter counter) {
  return take_reserved_number(store, counter, durable);
}

Status OpContext::add_to_counter(Counter counter, std::int64_t difference) {
  DFS_TRY(const std::uint64_t value, store.counter(counter));
  if (difference < 0 && value < static_cast<std::uint64_t>(-difference)) {
    // Only a damaged database gets here. These are figures for people: nothing hangs on them.
    return store.set_counter(counter, 0);
  }
  return store.set_counter(counter, value + static_cast<std::uint64_t>(difference));
}

}  // namespace dfs::master
