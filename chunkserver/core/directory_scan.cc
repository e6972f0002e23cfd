#include "chunkserver/core/directory_scan.h"

#include <utility>

#include "chunkserver/core/open_chunk_scan.h"
#include "chunkserver/core/replica_store.h"
#include "common/assert.h"
#include "proto/block.h"

namespace dfs::chunkserver {

DirectoryScan::DirectoryScan(Disk& disk, DirectorySet& directories, ReplicaStore& store, Log& log,
                             std::size_t directory)
    : disk_(disk), directories_(directories), store_(store), log_(log), directory_(directory) {}

Status DirectoryScan::run() {
  DFS_TRY(const auto folders, disk_.list(directories_.chunks_path(directory_)));
  for (const std::string& name : folders) {
    DFS_CHECK_OK(scan_folder(name));
  }
  return ok();
}

Status DirectoryScan::scan_folder(const std::string& name) {
  const std::string path = directories_.chunks_path(directory_) + "/" + name;
  // Every id of a folder ends in its name; the parser of file names knows the digits.
  if (!parse_file_name("00000000000001" + name + ".open")) {
    log_.warning("Left alone: not a folder of chunks. path=" + path);
    return ok();
  }
  DFS_TRY(const auto files, disk_.list(path));
  for (const std::string& file : files) {
    DFS_CHECK_OK(scan_file(name, file));
  }
  return ok();
}

Status DirectoryScan::scan_file(const std::string& folder, const std::string& name) {
  const std::string path = directories_.chunks_path(directory_) + "/" + folder + "/" + name;
  const auto parsed = parse_file_name(name);
  if (!parsed || folder_name(folder_of(parsed->chunk)) != folder) {
    log_.warning("Left alone: not a file of a chunk. path=" + path);
    return ok();
  }
  switch (parsed->kind) {
    case FileKind::kSealed: return scan_sealed(parsed->chunk, path);
    case FileKind::kOpen: return scan_open(parsed->chunk, path);
    case FileKind::kFenceNew: return disk_.remove(path);
    case FileKind::kFence: break;
  }
  auto loaded = store_.fences_.load(parsed->chunk, directory_);
  if (!loaded && loaded.code() == ErrorCode::kCorrupt) {
    log_.error("Left alone: a fence that cannot be read. path=" + path);
    return ok();
  }
  return loaded;
}

Status DirectoryScan::scan_sealed(ChunkId chunk, const std::string& path) {
  DFS_TRY(const auto file, disk_.open(path, OpenMode::kRead));
  DFS_TRY(const std::uint64_t file_bytes, file->size_bytes());
  if (file_bytes <= kChunkHeaderBytes || file_bytes > kChunkBytesMax) {
    set_aside(chunk, path, "a sealed chunk of " + std::to_string(file_bytes) + " bytes");
    return ok();
  }
  auto replica = std::make_shared<Replica>();
  replica->chunk = chunk;
  replica->length_bytes = static_cast<std::uint32_t>(file_bytes);
  replica->directory = directory_;
  replica->sealed = true;
  if (replaces(*replica, path)) {
    store_.add(std::move(replica));
  }
  return ok();
}

Status DirectoryScan::scan_open(ChunkId chunk, const std::string& path) {
  DFS_TRY(const auto file, disk_.open(path, OpenMode::kReadWrite));
  auto scanned = scan_open_chunk(*file, chunk, directories_.identity().cluster_id);
  if (!scanned) {
    if (is_directory_failure(scanned.code()) || is_shortage(scanned.code())) {
      return std::move(scanned).error();
    }
    set_aside(chunk, path, scanned.error().detail);
    return ok();
  }
  if (scanned->valid_bytes == 0 && scanned->intact_behind) {
    set_aside(chunk, path, "an unsealed chunk whose first block is damaged");
    return ok();
  }
  if (scanned->valid_bytes == 0) {
    log_.info("Removed an unsealed chunk in which no block is whole. path=" + path +
              " bytes=" + std::to_string(scanned->file_bytes));
    return disk_.remove(path);
  }
  DFS_CHECK_OK(cut_tail(*file, path, *scanned));
  auto replica = std::make_shared<Replica>();
  replica->chunk = chunk;
  replica->epoch = scanned->epoch;
  replica->length_bytes = scanned->valid_bytes;
  replica->directory = directory_;
  replica->open = std::make_unique<OpenState>();
  replica->open->accepted_end = scanned->valid_bytes;
  for (const BlockMark& block : scanned->blocks) {
    if (!block.intact) {
      log_.error("Damaged block in an unsealed chunk. path=" + path +
                 " block=" + std::to_string(block.offset));
    }
  }
  replica->open->blocks = std::move(scanned->blocks);
  if (replaces(*replica, path)) {
    store_.add(std::move(replica));
  }
  return ok();
}

Status DirectoryScan::cut_tail(DiskFile& file, const std::string& path,
                               const OpenChunkScan& scanned) {
  if (scanned.file_bytes == scanned.valid_bytes) {
    return ok();
  }
  log_.warning("Cut back the torn tail of an unsealed chunk. path=" + path +
               " from_bytes=" + std::to_string(scanned.file_bytes) +
               " to_bytes=" + std::to_string(scanned.valid_bytes) +
               (scanned.intact_behind ? " with_whole_blocks_behind_the_tear=yes" : ""));
  return file.truncate_now(scanned.valid_bytes);
}

// One chunk twice on one server happens only when somebody copied files about: a sealed one is
// better than an open one, then a longer one.
bool DirectoryScan::replaces(const Replica& replica, const std::string& path) {
  const ReplicaPtr other = store_.find(replica.chunk);
  if (!other) {
    return true;
  }
  const bool is_better =
      replica.sealed != other->sealed ? replica.sealed : replica.length_bytes > other->length_bytes;
  const FileKind kind = other->sealed ? FileKind::kSealed : FileKind::kOpen;
  const std::string other_path = directories_.file_path(other->directory, other->chunk, kind);
  set_aside(replica.chunk, is_better ? other_path : path, "the chunk is here twice");
  if (is_better) {
    store_.forget(other);
  }
  return is_better;
}

void DirectoryScan::set_aside(ChunkId chunk, const std::string& path, const std::string& why) {
  log_.error("Left alone and not served: " + why + ". path=" + path);
  store_.set_aside_[chunk].push_back(path);
}

}  // namespace dfs::chunkserver
