// SEEK_DATA and SEEK_HOLE of lseek(2).
#include <algorithm>
#include <limits>
#include <vector>

#include "master/core/extent_editor.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kLastWindow = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kWindowsPerScan = 64;
// Of one answer; a longer search is asked for in parts.
constexpr std::size_t kWindowsPerAnswer = 1024;

Result<SeekReply> find_data(OpContext& context, InodeId inode, std::uint64_t offset) {
  std::uint64_t next = offset / kExtentWindowBytes;
  // The first window may have all its extents before the offset, the next one there is has not.
  DFS_TRY(const auto windows, context.store.windows(inode, next, kLastWindow, 2));
  for (const WindowRow& window : windows) {
    for (const Extent& extent : window.extents) {
      if (extent.end() > offset) {
        return SeekReply{.offset = std::max(offset, extent.file_offset), .found = true};
      }
    }
  }
  return make_error(ErrorCode::kNoData, "no data behind the offset");
}

Result<SeekReply> find_hole(OpContext& context, const Attributes& file, std::uint64_t offset) {
  if (file.used_bytes >= file.size_bytes) {
    return SeekReply{.offset = file.size_bytes, .found = true};  // extents cover it all
  }
  std::uint64_t next = offset / kExtentWindowBytes;
  for (std::size_t seen = 0; seen < kWindowsPerAnswer;) {
    DFS_TRY(const auto windows,
            context.store.windows(file.inode, next, kLastWindow, kWindowsPerScan));
    for (const WindowRow& window : windows) {
      for (const Extent& extent : window.extents) {
        if (extent.file_offset > offset) {
          return SeekReply{.offset = offset, .found = true};
        }
        offset = std::max(offset, extent.end());
      }
      next = window.window + 1;
    }
    if (windows.size() < kWindowsPerScan) {
      return SeekReply{.offset = std::min(offset, file.size_bytes), .found = true};
    }
    seen += windows.size();
  }
  return SeekReply{.offset = offset, .found = offset >= file.size_bytes};
}

}  // namespace

Result<SeekReply> apply(OpContext& context, const SeekRequest& request) {
  if (request.kind > kSeekKindMax) {
    return make_error(ErrorCode::kInvalidArgument, "neither data nor a hole is sought");
  }
  DFS_TRY(const InodeRow row, require_file(context, request.inode));
  context.tell(request.inode);
  if (request.offset >= row.attributes.size_bytes) {
    return make_error(ErrorCode::kNoData, "the offset is not within the file");
  }
  return static_cast<SeekKind>(request.kind) == SeekKind::kData
             ? find_data(context, request.inode, request.offset)
             : find_hole(context, row.attributes, request.offset);
}

}  // namespace dfs::master
