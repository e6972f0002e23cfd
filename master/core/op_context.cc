#include "master/core/op_context.h"

#include <string>
#include <utility>

#include "master/core/lease_table.h"
#include "master/core/number_reserve.h"

namespace dfs::master {

void OpContext::tell(InodeId inode) {
  if (session.is_set() && leases.is_written_by_other(session, inode)) {
    unsettled.push_back(inode);
  }
}

void OpContext::grant(const Attributes& attributes) {
  tell(attributes.inode);
  const bool is_granted = leases.grant(session, attributes);
  if (!is_granted) {
    granted = Granted::kNotAll;
  } else if (granted == Granted::kNothing) {
    granted = Granted::kAll;
  }
}

std::uint64_t OpContext::lease() const {
  return granted == Granted::kAll ? leases.number(session) : 0;
}

Status OpContext::stamp_change() {
  ++index;
  if (index >= index_bound) {
    index_bound = index + kChangeIndexStep;
    DFS_CHECK_OK(store.set_counter(Counter::kReservedChange, index_bound));
    durable = true;
  }
  stamp = {.index = index, .time = now, .inode = {}};
  return ok();
}

Result<std::uint64_t> OpContext::take_number(Counter counter) {
  if (counter == Counter::kNextInode && replayed_inode.is_set()) {
    return take_replayed_inode();
  }
  DFS_TRY(const std::uint64_t number, take_reserved_number(store, counter, durable));
  if (counter == Counter::kNextInode) {
    stamp.inode = InodeId{number};  // no change takes two
  }
  return number;
}

Result<std::uint64_t> OpContext::take_replayed_inode() {
  const InodeId inode = std::exchange(replayed_inode, InodeId{});
  DFS_TRY(const std::uint64_t next, store.counter(Counter::kNextInode));
  DFS_TRY(const auto row, store.inode(inode));
  DFS_TRY(const auto orphans, store.scan_orphans(InodeId{inode.value - 1}, 1));
  const bool is_orphan = !orphans.empty() && orphans.front().inode == inode;
  if (inode.value >= next || row || is_orphan) {
    return make_error(ErrorCode::kCorrupt, "a replayed change says it made inode " +
                                               std::to_string(inode.value) +
                                               ", which is another or was never given");
  }
  return inode.value;
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
