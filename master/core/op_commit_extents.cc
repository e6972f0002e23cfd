#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "master/core/chunk_changes.h"
#include "master/core/extent_editor.h"
#include "master/core/lease_table.h"
#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
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
  Status write(const FileCommit& file, const ExtentEditor& editor);
  void set_attributes(const FileCommit& file);

  OpContext& context_;
  ChunkChanges& changes_;
  std::map<ChunkId, std::optional<ChunkRow>>& chunks_;  // of the whole request
  InodeRow inode_;
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
  FileCommitResult result;
  result.data_version_before = inode_.attributes.data_version;
  ExtentEditor editor(context_, file.inode);
  for (const Extent& extent : file.extents) {
    DFS_CHECK_OK(editor.lay(extent));
  }
  result.window_pieces_most = editor.window_pieces_most();
  if (result.window_pieces_most > kWindowPiecesMax) {
    return refusal(ErrorCode::kTooManyExtents);
  }
  DFS_CHECK_OK(write(file, editor));
  result.attributes = inode_.attributes;
  return result;
}

Result<ErrorCode> FileCommitter::check(const FileCommit& file) {
  DFS_TRY(ErrorCode code, check_inode(file.inode));
  // What is told again was taken then, and its lease may have been given up since.
  if (code == ErrorCode::kOk && !context_.is_replay &&
      !context_.leases.may_store(context_.session, file.inode, file.write_epoch)) {
    code = ErrorCode::kLeaseLost;
  }
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
  auto row = require_file(context_, inode);
  if (row) {
    inode_ = std::move(*row);
    return ErrorCode::kOk;
  }
  const bool is_refusal =
      row.code() == ErrorCode::kStale || row.code() == ErrorCode::kInvalidArgument;
  return is_refusal ? Result<ErrorCode>(row.code()) : std::move(row).error();
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

Status FileCommitter::write(const FileCommit& file, const ExtentEditor& editor) {
  DFS_CHECK_OK(editor.write(inode_, changes_));
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
  attributes.mtime = file.mtime;
  attributes.ctime = std::max(attributes.ctime, file.ctime);
  if (file.clear_set_id) {
    clear_set_id(attributes);
  }
}

void tell_leases(OpContext& context, const FileCommit& file, FileCommitResult& result) {
  if (file.is_last) {
    context.leases.end_writing(context.session, file.inode);
  }
  if (context.leases.grant(context.session, result.attributes)) {
    result.lease = context.leases.number(context.session);
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
    if (result.code == 0 && !context.is_replay) {  // leases are as they were reclaimed
      tell_leases(context, file, result);
    }
    reply.results.push_back(std::move(result));
  }
  DFS_CHECK_OK(changes.apply(context));
  context.durable = context.durable || request.durable;
  return reply;
}

}  // namespace dfs::master
