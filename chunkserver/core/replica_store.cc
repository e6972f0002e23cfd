#include "chunkserver/core/replica_store.h"

#include <algorithm>
#include <utility>

#include "chunkserver/core/directory_scan.h"
#include "common/assert.h"
#include "proto/block.h"

namespace dfs::chunkserver {

ReplicaStore::ReplicaStore(Disk& disk, DirectorySet& directories, Log& log, const Bounds& bounds)
    : disk_(disk),
      directories_(directories),
      log_(log),
      fences_(disk, directories),
      files_(bounds.open_files_max),
      deleted_(bounds.deleted_chunks_kept) {}

// A waiter keeps its replica, and the replica keeps its waiters: one of them must let go.
ReplicaStore::~ReplicaStore() {
  for (const auto& [chunk, replica] : replicas_) {
    if (replica->open != nullptr) {
      const auto waiters = std::exchange(replica->open->waiters, {});
      const auto idle_waiters = std::exchange(replica->open->idle_waiters, {});
    }
  }
}

Status ReplicaStore::scan() {
  for (std::size_t i = 0; i < directories_.count(); ++i) {
    if (!directories_.is_usable(i)) {
      continue;
    }
    auto scanned = DirectoryScan(disk_, directories_, *this, log_, i).run();
    if (!scanned && is_shortage(scanned.code())) {
      return scanned;
    }
    if (!scanned) {
      directories_.fail(i, scanned.error());
      drop_directory(i);
    }
  }
  return ok();
}

ReplicaPtr ReplicaStore::find(ChunkId chunk) const {
  const auto found = replicas_.find(chunk);
  return found == replicas_.end() ? nullptr : found->second;
}

std::vector<ReplicaInfo> ReplicaStore::page(ChunkId after, std::size_t replicas_max) const {
  std::vector<ReplicaInfo> infos;
  for (auto at = replicas_.upper_bound(after); at != replicas_.end(); ++at) {
    if (infos.size() == replicas_max) {
      break;
    }
    ReplicaInfo info = at->second->info();
    info.epoch = epoch(at->first);
    infos.push_back(info);
  }
  return infos;
}

std::vector<ReplicaPtr> ReplicaStore::open_replicas() const {
  std::vector<ReplicaPtr> open;
  for (const auto& [chunk, replica] : replicas_) {
    if (!replica->sealed) {
      open.push_back(replica);
    }
  }
  return open;
}

Epoch ReplicaStore::epoch(ChunkId chunk) const {
  const ReplicaPtr replica = find(chunk);
  return std::max(replica ? replica->epoch : Epoch{}, fences_.epoch(chunk));
}

Result<ReplicaPtr> ReplicaStore::create(ChunkId chunk, Epoch epoch, std::size_t* failed_directory) {
  DFS_ASSERT(!find(chunk));
  DFS_TRY(const std::size_t directory, directories_.choose_for_new_chunk());
  auto file =
      disk_.open(directories_.file_path(directory, chunk, FileKind::kOpen), OpenMode::kCreate);
  if (!file) {
    *failed_directory = directory;
    return std::move(file).error();
  }
  auto replica = std::make_shared<Replica>();
  replica->chunk = chunk;
  replica->epoch = epoch;
  replica->directory = directory;
  replica->open = std::make_unique<OpenState>();
  replica->open->file = std::move(*file);
  add(replica);
  return replica;
}

Buffer ReplicaStore::chunk_header(ChunkId chunk) const {
  return Buffer::adopt(encode_chunk_header({chunk, directories_.identity().cluster_id}));
}

Result<std::shared_ptr<DiskFile>> ReplicaStore::file(const ReplicaPtr& replica) {
  if (replica->open && replica->open->file) {
    return replica->open->file;
  }
  if (const auto* cached = files_.find(replica->chunk)) {
    return *cached;
  }
  const FileKind kind = replica->sealed ? FileKind::kSealed : FileKind::kOpen;
  DFS_TRY(std::shared_ptr<DiskFile> file,
          disk_.open(directories_.file_path(replica->directory, replica->chunk, kind),
                     OpenMode::kRead));
  files_.put(replica->chunk, file);
  return file;
}

Status ReplicaStore::open_for_writing(Replica& replica) {
  DFS_ASSERT(replica.open);
  if (!replica.open->file) {
    DFS_TRY(replica.open->file,
            disk_.open(directories_.file_path(replica.directory, replica.chunk, FileKind::kOpen),
                       OpenMode::kReadWrite));
  }
  return ok();
}

Status ReplicaStore::rename_sealed(const ReplicaPtr& replica) {
  OpenState& open = *replica->open;
  DFS_ASSERT(open.writes.empty() && open.waiters.empty() && !open.sync_running);
  const std::size_t directory = replica->directory;
  DFS_CHECK_OK(disk_.rename(directories_.file_path(directory, replica->chunk, FileKind::kOpen),
                            directories_.file_path(directory, replica->chunk, FileKind::kSealed)));
  // A file that was open for writing goes on to serve reads.
  if (open.file) {
    files_.put(replica->chunk, open.file);
  }
  replica->sealed = true;
  replica->open.reset();
  directories_.count_open_chunk(directory, false);
  return ok();
}

std::string ReplicaStore::folder_path(const Replica& replica) const {
  return directories_.folder_path(replica.directory, replica.chunk);
}

ReplicaPtr ReplicaStore::remove(ChunkId chunk) {
  const auto aside = set_aside_.find(chunk);
  if (aside != set_aside_.end()) {
    for (const std::string& path : aside->second) {
      (void)disk_.remove(path);
    }
    set_aside_.erase(aside);
  }
  fences_.forget(chunk);
  deleted_.put(chunk, '\0');
  ReplicaPtr replica = find(chunk);
  if (!replica) {
    return nullptr;
  }
  // A file that cannot be removed shows up again at the next start, and the master, which does not
  // know it then, says so.
  const FileKind kind = replica->sealed ? FileKind::kSealed : FileKind::kOpen;
  auto removed = disk_.remove(directories_.file_path(replica->directory, chunk, kind));
  if (!removed && removed.code() != ErrorCode::kNotFound) {
    log_.warning("A deleted chunk's file cannot be removed. chunk=" + chunk_text(chunk) +
                 " reason=" + removed.error().detail);
  }
  forget(replica);
  return replica;
}

std::vector<ReplicaPtr> ReplicaStore::drop_directory(std::size_t directory) {
  std::vector<ReplicaPtr> dropped;
  for (const auto& [chunk, replica] : replicas_) {
    if (replica->directory == directory) {
      dropped.push_back(replica);
    }
  }
  for (const ReplicaPtr& replica : dropped) {
    forget(replica);
  }
  fences_.drop_directory(directory);
  return dropped;
}

void ReplicaStore::drop(const ReplicaPtr& replica) { forget(replica); }

void ReplicaStore::add(ReplicaPtr replica) {
  DFS_ASSERT(replica->sealed == (replica->open == nullptr));
  if (!replica->sealed) {
    directories_.count_open_chunk(replica->directory, true);
  }
  const ChunkId chunk = replica->chunk;
  const bool added = replicas_.emplace(chunk, std::move(replica)).second;
  DFS_ASSERT(added);
}

void ReplicaStore::forget(const ReplicaPtr& replica) {
  DFS_ASSERT(!replica->gone && find(replica->chunk) == replica);
  replica->gone = true;
  if (!replica->sealed) {
    directories_.count_open_chunk(replica->directory, false);
  }
  files_.erase(replica->chunk);
  replicas_.erase(replica->chunk);
}

}  // namespace dfs::chunkserver
