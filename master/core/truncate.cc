#include "master/core/truncate.h"

#include <limits>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "proto/extent.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kLastWindow = std::numeric_limits<std::uint64_t>::max();
// Windows freed within the operation itself.
constexpr std::size_t kWindowsAtOnceMax = 4;

std::uint64_t covered_bytes(const std::vector<Extent>& extents) {
  std::uint64_t bytes = 0;
  for (const Extent& extent : extents) {
    bytes += extent.length_bytes;
  }
  return bytes;
}

// A damaged figure must not wrap around.
void subtract_used(InodeRow& inode, std::uint64_t bytes) {
  std::uint64_t& used = inode.attributes.used_bytes;
  used = used > bytes ? used - bytes : 0;
}

// The window in which the new end lies keeps what is before it.
Status cut_boundary_window(OpContext& context, InodeRow& inode, std::uint64_t size_bytes) {
  const InodeId id = inode.attributes.inode;
  const std::uint64_t window = size_bytes / kExtentWindowBytes;
  DFS_TRY(std::vector<WindowRow> rows, context.store.windows(id, window, window, 1));
  if (rows.empty()) {
    return ok();
  }
  ExtentList list(std::move(rows.front().extents));
  const std::vector<Extent> removed = list.remove(size_bytes, (window + 1) * kExtentWindowBytes);
  if (removed.empty()) {
    return ok();
  }
  DFS_CHECK_OK(context.store.put_window(id, {.window = window, .extents = list.extents()}));
  subtract_used(inode, covered_bytes(removed));
  return context.chunks.subtract_live(context, removed);
}

}  // namespace

Status cut_extents(OpContext& context, InodeRow& inode, std::uint64_t size_bytes) {
  const InodeId id = inode.attributes.inode;
  std::uint64_t first = size_bytes / kExtentWindowBytes;
  if (size_bytes % kExtentWindowBytes != 0) {
    DFS_CHECK_OK(cut_boundary_window(context, inode, size_bytes));
    ++first;
  }
  DFS_TRY(const std::vector<WindowRow> rows,
          context.store.windows(id, first, kLastWindow, kWindowsAtOnceMax + 1));
  if (rows.size() <= kWindowsAtOnceMax) {
    for (const WindowRow& row : rows) {
      DFS_CHECK_OK(context.store.erase_window(id, row.window));
      subtract_used(inode, covered_bytes(row.extents));
      DFS_CHECK_OK(context.chunks.subtract_live(context, row.extents));
    }
    return ok();
  }
  DFS_TRY(const std::uint64_t number, context.take_number(Counter::kNextInode));
  DFS_TRY(const std::uint64_t moved, context.store.move_windows(id, InodeId{number}, first));
  subtract_used(inode, moved);
  DFS_CHECK_OK(context.store.put_orphan(
      {.inode = InodeId{number}, .since = context.now, .unlinked_by = context.session}));
  context.chunks.wake_reclaimer();
  return ok();
}

}  // namespace dfs::master
