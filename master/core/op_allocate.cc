// fallocate(2): making room, holes and zeros.
#include <algorithm>

#include "master/core/extent_editor.h"
#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

Status validate(const AllocateRequest& request) {
  if (request.length_bytes == 0) {
    return make_error(ErrorCode::kInvalidArgument, "an empty range");
  }
  if (request.offset > kFileBytesMax || request.length_bytes > kFileBytesMax - request.offset) {
    return make_error(ErrorCode::kFileTooBig);
  }
  if (request.remove && request.length_bytes > kRangeBytesMax) {
    return make_error(ErrorCode::kTooLarge, "too long a range to remove at once");
  }
  return ok();
}

Status remove_range(OpContext& context, const AllocateRequest& request, InodeRow& row) {
  ExtentEditor editor(context, request.inode);
  DFS_CHECK_OK(editor.remove(request.offset, request.offset + request.length_bytes));
  // Cutting an extent in two makes one piece more.
  if (editor.window_pieces_most() > kWindowPiecesMax) {
    return make_error(ErrorCode::kTooManyExtents, "the file is in too many pieces");
  }
  ChunkChanges changes;
  DFS_CHECK_OK(editor.write(row, changes));
  return changes.apply(context);
}

}  // namespace

Result<AttributesReply> apply(OpContext& context, const AllocateRequest& request) {
  DFS_CHECK_OK(validate(request));
  DFS_TRY(InodeRow row, require_file(context, request.inode));
  Attributes& attributes = row.attributes;
  const std::uint64_t version_before = attributes.data_version;
  if (request.remove) {
    DFS_CHECK_OK(remove_range(context, request, row));
  }
  const std::uint64_t end = request.offset + request.length_bytes;
  if (!request.keep_size) {
    attributes.size_bytes = std::max(attributes.size_bytes, end);
  }
  attributes.mtime = context.now;
  attributes.ctime = context.now;
  DFS_TRY(attributes.data_version, context.take_number(Counter::kDataVersion));
  DFS_CHECK_OK(context.store.put_inode(row));
  context.grant(attributes);
  return AttributesReply{.attributes = attributes, .data_version_before = version_before};
}

}  // namespace dfs::master
