// copy_file_range(2): the bytes stay where they are, and two files refer to them.
#include <algorithm>
#include <vector>

#include "master/core/extent_editor.h"
#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

Status validate(const CloneRangeRequest& request) {
  if (request.length_bytes > kRangeBytesMax) {
    return make_error(ErrorCode::kTooLarge, "too long a range to copy at once");
  }
  if (request.source_offset > kFileBytesMax ||
      request.destination_offset > kFileBytesMax - request.length_bytes) {
    return make_error(ErrorCode::kFileTooBig);
  }
  const std::uint64_t distance = request.source_offset > request.destination_offset
                                     ? request.source_offset - request.destination_offset
                                     : request.destination_offset - request.source_offset;
  if (request.source == request.destination && distance < request.length_bytes) {
    return make_error(ErrorCode::kInvalidArgument, "the ranges overlap");
  }
  return ok();
}

// What the source has in [begin, end), moved to where the destination gets it.
Result<std::vector<Extent>> moved_extents(OpContext& context, const CloneRangeRequest& request,
                                          std::uint64_t length_bytes) {
  const std::uint64_t begin = request.source_offset;
  const std::uint64_t end = begin + length_bytes;
  std::vector<Extent> moved;
  constexpr std::size_t kWindowsMax = kRangeBytesMax / kExtentWindowBytes + 1;
  DFS_TRY(const auto windows, context.store.windows(request.source, begin / kExtentWindowBytes,
                                                    (end - 1) / kExtentWindowBytes, kWindowsMax));
  for (const WindowRow& window : windows) {
    for (const Extent& extent : window.extents) {
      if (extent.end() <= begin || extent.file_offset >= end) {
        continue;
      }
      Extent piece = clip(extent, begin, end);
      piece.file_offset = piece.file_offset - begin + request.destination_offset;
      moved.push_back(piece);
    }
  }
  return moved;
}

Status share(OpContext& context, const CloneRangeRequest& request, std::uint64_t length_bytes,
             InodeRow& destination) {
  DFS_TRY(const std::vector<Extent> extents, moved_extents(context, request, length_bytes));
  ExtentEditor editor(context, request.destination);
  DFS_CHECK_OK(
      editor.remove(request.destination_offset, request.destination_offset + length_bytes));
  for (const Extent& extent : extents) {
    DFS_CHECK_OK(editor.lay(extent));
  }
  if (editor.window_pieces_most() > kWindowPiecesMax) {
    return make_error(ErrorCode::kTooManyExtents, "the file would be in too many pieces");
  }
  ChunkChanges changes;
  DFS_CHECK_OK(editor.write(destination, changes));
  return changes.apply(context);
}

}  // namespace

Result<CloneRangeReply> apply(OpContext& context, const CloneRangeRequest& request) {
  DFS_CHECK_OK(validate(request));
  DFS_TRY(const InodeRow source, require_file(context, request.source));
  DFS_TRY(InodeRow destination, require_file(context, request.destination));
  const std::uint64_t size = source.attributes.size_bytes;
  const std::uint64_t there = size > request.source_offset ? size - request.source_offset : 0;
  CloneRangeReply reply;
  reply.length_bytes = std::min(request.length_bytes, there);
  Attributes& attributes = destination.attributes;
  if (reply.length_bytes > 0) {
    DFS_CHECK_OK(share(context, request, reply.length_bytes, destination));
    attributes.size_bytes =
        std::max(attributes.size_bytes, request.destination_offset + reply.length_bytes);
    attributes.mtime = context.now;
    attributes.ctime = context.now;
    DFS_TRY(attributes.data_version, context.take_number(Counter::kDataVersion));
    DFS_CHECK_OK(context.store.put_inode(destination));
  }
  reply.attributes = attributes;
  context.grant(attributes);
  return reply;
}

}  // namespace dfs::master
