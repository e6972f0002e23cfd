#include "master/core/extent_editor.h"

#include <algorithm>
#include <utility>

#include "master/core/namespace_rows.h"
#include "master/core/session_table.h"

namespace dfs::master {

Result<InodeRow> require_file(OpContext& context, InodeId inode) {
  DFS_TRY(InodeRow row, require_inode(context, inode));
  if (!row.attributes.is_regular()) {
    return make_error(ErrorCode::kInvalidArgument, "not a regular file");
  }
  if (row.attributes.link_count > 0) {
    return row;
  }
  // Unlinked: it lives as long as somebody has it open; after that it is being taken apart.
  DFS_TRY(const auto orphans, context.store.scan_orphans(InodeId{inode.value - 1}, 1));
  if (orphans.empty() || orphans.front().inode != inode ||
      context.sessions.may_free(orphans.front())) {
    return make_error(ErrorCode::kStale, "the inode is being freed");
  }
  return row;
}

// Split at the borders of windows.
Status ExtentEditor::lay(const Extent& extent) {
  for (std::uint64_t begin = extent.file_offset; begin < extent.end();) {
    const std::uint64_t index = begin / kExtentWindowBytes;
    const std::uint64_t end = std::min(extent.end(), (index + 1) * kExtentWindowBytes);
    DFS_TRY(ExtentList * list, window(index));
    const std::vector<Extent> displaced = list->insert(clip(extent, begin, end));
    displaced_.insert(displaced_.end(), displaced.begin(), displaced.end());
    begin = end;
  }
  laid_.push_back(extent);
  return ok();
}

Status ExtentEditor::remove(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) {
    return ok();
  }
  const std::uint64_t last = (end - 1) / kExtentWindowBytes;
  DFS_CHECK_OK(load(begin / kExtentWindowBytes, last));
  for (auto at = windows_.lower_bound(begin / kExtentWindowBytes);
       at != windows_.end() && at->first <= last; ++at) {
    const std::vector<Extent> removed = at->second.remove(begin, end);
    displaced_.insert(displaced_.end(), removed.begin(), removed.end());
  }
  return ok();
}

// Those that exist and are not known yet.
Status ExtentEditor::load(std::uint64_t first, std::uint64_t last) {
  constexpr std::size_t kWindowsPerScan = 64;
  while (first <= last) {
    DFS_TRY(auto rows, context_.store.windows(inode_, first, last, kWindowsPerScan));
    for (WindowRow& row : rows) {
      windows_.try_emplace(row.window, std::move(row.extents));
      first = row.window + 1;
    }
    if (rows.size() < kWindowsPerScan) {
      return ok();
    }
  }
  return ok();
}

Result<ExtentList*> ExtentEditor::window(std::uint64_t index) {
  const auto known = windows_.find(index);
  if (known != windows_.end()) {
    return &known->second;
  }
  DFS_CHECK_OK(load(index, index));
  return &windows_.try_emplace(index).first->second;
}

std::uint32_t ExtentEditor::window_pieces_most() const {
  std::size_t most = 0;
  for (const auto& [index, list] : windows_) {
    most = std::max(most, list.size());
  }
  return static_cast<std::uint32_t>(most);
}

Status ExtentEditor::write(InodeRow& row, ChunkChanges& changes) const {
  for (const auto& [index, list] : windows_) {
    DFS_CHECK_OK(context_.store.put_window(inode_, {index, list.extents()}));
  }
  changes.add_live(laid_);
  changes.subtract_live(displaced_);
  std::uint64_t& used = row.attributes.used_bytes;
  for (const Extent& extent : laid_) {
    used += extent.length_bytes;
  }
  for (const Extent& extent : displaced_) {
    used -= std::min<std::uint64_t>(used, extent.length_bytes);
  }
  return ok();
}

}  // namespace dfs::master
