#include <algorithm>
#include <map>
#include <optional>

#include "common/assert.h"
#include "master/core/chunk_changes.h"
#include "master/core/chunk_manager.h"
#include "master/core/operations.h"
#include "master/core/session_table.h"
#include "proto/block.h"

namespace dfs::master {
namespace {

// One file's commit: everything is checked and worked out first, then written.
class FileCommitter {
 public:
  FileCommitter(OpContext& context, ChunkChanges& changes,
                std::map<ChunkId, std::optional<ChunkRow>>& chunks)
      : context_(context), changes_(changes), chunks_(chunks) {}

  // Errors of the store only; a refusal is a result.
  Result<FileCommitResult> commit(const FileCommit& file);

 private:
  Result<ErrorCode> check_inode(InodeId inode);
  Result<ErrorCode> check_extent(const Extent& extent);
  Result<ErrorCode> check(const FileCommit& file);
  Status lay(const Extent& extent);
  Result<ExtentList*> window(std::uint64_t index);
  Status write(const FileCommit& file);
  void set_attributes(const FileCommit& file);

  OpContext& context_;
  ChunkChanges& changes_;
  std::map<ChunkId, std::optional<ChunkRow>>& chunks_;  // of the whole request
  InodeRow inode_;
  std::map<std::uint64_t, ExtentList> windows_;  // those touched, as they will be
  std::vector<Extent> displaced_;
  std::uint64_t added_bytes_ = 0;
  std::uint64_t data_version_before_ = 0;
};

FileCommitResult refusal(ErrorCode code) {
  FileCommitResult result;
  result.code = static_cast<std::uint16_t>(code);
  return result;
}

Result<FileCommitResult> FileCommitter::commit(const FileCommit& file) {
  DFS_TRY(const ErrorCode refused, check(file));
  if (refused != ErrorCode::kOk) {
    return refusal(refused);
  }
  data_version_before_ = inode_.attributes.data_version;
  for (const Extent& extent : file.extents) {
    DFS_CHECK_OK(lay(extent));
  }
  FileCommitResult result;
  for (const auto& [index, list] : windows_) {
    result.window_pieces_most =
        std::max(result.window_pieces_most, static_cast<std::uint32_t>(list.size()));
  }
  if (result.window_pieces_most > kWindowPiecesMax) {
    return refusal(ErrorCode::kTooManyExtents);
  }
  DFS_CHECK_OK(write(file));
  result.attributes = inode_.attributes;
  result.data_version_before = data_version_before_;
  return result;
}

Result<ErrorCode> FileCommitter::check(const FileCommit& file) {
  DFS_TRY(ErrorCode code, check_inode(file.inode));
  if (code == ErrorCode::kOk && file.size_bytes_min > kFileBytesMax) {
    code = ErrorCode::kFileTooBig;
  }
  for (const Extent& extent : file.extents) {
    if (code != ErrorCode::kOk) {
      break;
    }
    DFS_TRY(code, check_extent(extent));
  }
  return code;
}

Result<ErrorCode> FileCommitter::check_inode(InodeId inode) {
  DFS_TRY(auto row, context_.store.inode(inode));
  if (!row) {
    return ErrorCode::kStale;
  }
  if (!row->attributes.is_regular()) {
    return ErrorCode::kInvalidArgument;
  }
  if (row->attributes.link_count == 0) {
    // Unlinked: it lives as long as somebody has it open; after that it is being taken apart.
    DFS_TRY(const auto orphans, context_.store.scan_orphans(InodeId{inode.value - 1}, 1));
    if (orphans.empty() || orphans.front().inode != inode ||
        context_.sessions.may_free(orphans.front(), context_.now)) {
      return ErrorCode::kStale;
    }
  }
  inode_ = std::move(*row);
  return ErrorCode::kOk;
}

Result<ErrorCode> FileCommitter::check_extent(const Extent& extent) {
  if (extent.file_offset > kFileBytesMax - extent.length_bytes) {
    return ErrorCode::kFileTooBig;
  }
  if (!validate(extent)) {
    return ErrorCode::kInvalidArgument;
  }
  auto known = chunks_.find(extent.chunk);
  if (known == chunks_.end()) {
    DFS_TRY(auto row, context_.store.chunk(extent.chunk));
    known = chunks_.emplace(extent.chunk, std::move(row)).first;
  }
  const std::optional<ChunkRow>& chunk = known->second;
  if (!chunk || chunk->owner != context_.session) {
    return ErrorCode::kNoSuchChunk;
  }
  // While the chunk is being sealed, what is on all replicas is below any length it can get, and a
  // commit promises just that. After, the length is what counts.
  const std::uint32_t limit =
      chunk->state == ChunkState::kSealed ? chunk->length_bytes : chunk->capacity_bytes;
  return block_end(extent) <= limit ? ErrorCode::kOk : ErrorCode::kNoSuchChunk;
}

// Lays the extent into the windows it touches, split at their borders.
Status FileCommitter::lay(const Extent& extent) {
  for (std::uint64_t begin = extent.file_offset; begin < extent.end();) {
    const std::uint64_t index = begin / kExtentWindowBytes;
    const std::uint64_t end = std::min(extent.end(), (index + 1) * kExtentWindowBytes);
    DFS_TRY(ExtentList * list, window(index));
    const std::vector<Extent> displaced = list->insert(clip(extent, begin, end));
    displaced_.insert(displaced_.end(), displaced.begin(), displaced.end());
    begin = end;
  }
  added_bytes_ += extent.length_bytes;
  return ok();
}

Result<ExtentList*> FileCommitter::window(std::uint64_t index) {
  const auto known = windows_.find(index);
  if (known != windows_.end()) {
    return &known->second;
  }
  DFS_TRY(auto rows, context_.store.windows(inode_.attributes.inode, index, index, 1));
  ExtentList list = rows.empty() ? ExtentList{} : ExtentList{std::move(rows.front().extents)};
  return &windows_.emplace(index, std::move(list)).first->second;
}

Status FileCommitter::write(const FileCommit& file) {
  for (const auto& [index, list] : windows_) {
    DFS_ASSERT(!list.empty());
    DFS_CHECK_OK(context_.store.put_window(inode_.attributes.inode, {index, list.extents()}));
  }
  changes_.add_live(file.extents);
  changes_.subtract_live(displaced_);
  for (const Extent& extent : file.extents) {
    changes_.extend_to(extent);
  }
  set_attributes(file);
  DFS_TRY(inode_.attributes.data_version, context_.take_number(Counter::kDataVersion));
  return context_.store.put_inode(inode_);
}

void FileCommitter::set_attributes(const FileCommit& file) {
  Attributes& attributes = inode_.attributes;
  // Extents never lie beyond the end, whatever the sender says of the size.
  attributes.size_bytes = std::max(attributes.size_bytes, file.size_bytes_min);
  for (const Extent& extent : file.extents) {
    attributes.size_bytes = std::max(attributes.size_bytes, extent.end());
  }
  attributes.used_bytes += added_bytes_;
  for (const Extent& extent : displaced_) {
    attributes.used_bytes -= std::min<std::uint64_t>(attributes.used_bytes, extent.length_bytes);
  }
  attributes.mtime = file.mtime;
  attributes.ctime = std::max(attributes.ctime, file.ctime);
  if (file.clear_set_id) {
    constexpr std::uint32_t kGroupExecute = 010;
    attributes.mode &= ~kModeSetUid;
    if ((attributes.mode & kGroupExecute) != 0) {
      attributes.mode &= ~kModeSetGid;
    }
  }
}

}  // namespace

Result<CommitExtentsReply> apply(OpContext& context, const CommitExtentsRequest& request) {
  std::size_t extents = 0;
  for (const FileCommit& file : request.files) {
    extents += file.extents.size();
  }
  if (request.files.size() > kCommitFilesMax || extents > kCommitExtentsMax) {
    return make_error(ErrorCode::kTooLarge, "a commit of too many files or extents");
  }
  ChunkChanges changes;
  std::map<ChunkId, std::optional<ChunkRow>> chunks;
  CommitExtentsReply reply;
  reply.results.reserve(request.files.size());
  for (const FileCommit& file : request.files) {
    FileCommitter committer(context, changes, chunks);
    DFS_TRY(FileCommitResult result, committer.commit(file));
    reply.results.push_back(std::move(result));
  }
  DFS_CHECK_OK(changes.apply(context));
  context.durable = context.durable || request.durable;
  return reply;
}

}  // namespace dfs::master
