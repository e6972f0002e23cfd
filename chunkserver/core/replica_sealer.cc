#include "chunkserver/core/replica_sealer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/assert.h"
#include "proto/block.h"

namespace dfs::chunkserver {

ReplicaSealer::ReplicaSealer(Disk& disk, DirectorySet& directories, ReplicaStore& store,
                             ReplicaWriter& writer, Hooks hooks)
    : disk_(disk),
      directories_(directories),
      store_(store),
      writer_(writer),
      hooks_(std::move(hooks)) {}

void ReplicaSealer::fence(ChunkId chunk, Epoch epoch,
                          std::function<void(Result<ReplicaInfo>)> done) {
  if (!chunk.is_set() || !epoch.is_set()) {
    done(make_error(ErrorCode::kInvalidArgument, "a fence needs a chunk and an epoch"));
    return;
  }
  const ReplicaPtr replica = store_.find(chunk);
  if (store_.was_deleted(chunk) || (replica && replica->sealed)) {
    // Takes no appends as it is.
    if (replica) {
      replica->epoch = std::max(replica->epoch, epoch);
    }
    done(info(chunk));
    return;
  }
  auto directory = fence_directory(replica);
  if (!directory) {
    done(std::move(directory).error());
    return;
  }
  store_.fences().raise(chunk, epoch, *directory,
                        [this, chunk, done, at = *directory](const Status& status) {
                          if (!status) {
                            hooks_.on_disk_error(at, status.error());
                            done(status.error());
                            return;
                          }
                          finish_fence(chunk, done);
                        });
  hooks_.on_stopped(chunk);
}

void ReplicaSealer::seal(const SealReplicaRequest& request, std::function<void(Status)> done) {
  const ChunkId chunk = request.chunk;
  const ReplicaPtr replica = store_.find(chunk);
  const auto running = sealings_.find(chunk);
  if (running != sealings_.end()) {
    if (running->second.length_bytes == request.length_bytes) {
      running->second.waiting.push_back(std::move(done));
    } else {
      done(make_error(ErrorCode::kBusy, "the chunk is being sealed at another length"));
    }
    return;
  }
  const bool is_deletion = request.length_bytes <= kChunkHeaderBytes;
  if (!replica && !is_deletion) {
    done(make_error(ErrorCode::kNoSuchChunk, "the chunk is not here"));
    return;
  }
  if (replica && replica->sealed && replica->length_bytes == request.length_bytes) {
    done(ok());
    return;
  }
  const bool was_fenced_since = request.epoch.is_set() && request.epoch == store_.epoch(chunk);
  if (request.epoch < store_.epoch(chunk) || (replica && replica->sealed && !was_fenced_since)) {
    done(make_error(ErrorCode::kSealed, "a newer epoch is known"));
    return;
  }
  if (is_deletion) {
    remove(chunk);
    done(ok());
    return;
  }
  replica->epoch = std::max(replica->epoch, request.epoch);
  sealings_[chunk] = {request.length_bytes, {std::move(done)}};
  if (replica->sealed) {
    cut(replica);
    return;
  }
  replica->open->sealing = true;
  hooks_.on_stopped(chunk);
  writer_.wait_idle(replica, alive_.guard([this, replica] { cut(replica); }));
}

void ReplicaSealer::remove(ChunkId chunk) {
  const ReplicaPtr replica = store_.remove(chunk);
  if (replica) {
    writer_.abandon(replica, make_error(ErrorCode::kSealed, "the chunk was deleted here"));
  }
  hooks_.on_stopped(chunk);
}

ReplicaInfo ReplicaSealer::info(ChunkId chunk) const {
  const ReplicaPtr replica = store_.find(chunk);
  ReplicaInfo info;
  if (replica) {
    info = replica->info();
  }
  if (replica && replica->open) {
    // A chunk must not be sealed over a block that only a replica that was torn lacks.
    const auto& blocks = replica->open->blocks;
    const auto bad =
        std::find_if(blocks.begin(), blocks.end(), [](const auto& mark) { return !mark.intact; });
    if (bad != blocks.end()) {
      info.length_bytes = bad->offset > kChunkHeaderBytes ? bad->offset : 0;
    }
  }
  info.chunk = chunk;
  info.epoch = store_.epoch(chunk);
  return info;
}

Result<std::size_t> ReplicaSealer::fence_directory(const ReplicaPtr& replica) {
  if (replica) {
    return replica->directory;
  }
  auto chosen = directories_.choose_for_new_chunk();
  if (chosen || chosen.code() != ErrorCode::kNoSpace) {
    return chosen;
  }
  // The room below the watermark is there for files like this one.
  std::size_t directory = 0;
  while (!directories_.is_usable(directory)) {
    ++directory;
  }
  return directory;
}

void ReplicaSealer::finish_fence(ChunkId chunk, const FenceDone& done) {
  const ReplicaPtr replica = store_.find(chunk);
  if (!replica || replica->sealed) {
    done(info(chunk));
    return;
  }
  writer_.wait_idle(replica, alive_.guard([this, replica, chunk, done] {
    if (replica->open && replica->open->sync_failed) {
      // How much of it would be there after a power loss is not known.
      done(make_error(ErrorCode::kIo, "syncing the replica failed"));
      return;
    }
    done(info(chunk));
  }));
}

Status ReplicaSealer::check_cut(const Replica& replica, std::uint32_t length_bytes) const {
  if (replica.gone) {
    return make_error(ErrorCode::kNoSuchChunk, "the chunk was deleted or its directory failed");
  }
  if (length_bytes > replica.length_bytes) {
    return make_error(ErrorCode::kCorrupt, "the replica has " +
                                               std::to_string(replica.length_bytes) +
                                               " bytes, not " + std::to_string(length_bytes));
  }
  if (!replica.open) {
    return ok();
  }
  if (replica.open->sync_failed && length_bytes > replica.open->synced_end) {
    return make_error(ErrorCode::kIo, "syncing the replica failed");
  }
  const auto& blocks = replica.open->blocks;
  const auto last =
      std::lower_bound(blocks.begin(), blocks.end(), length_bytes,
                       [](const BlockMark& mark, std::uint32_t end) { return mark.end < end; });
  if (last == blocks.end() || last->end != length_bytes) {
    return make_error(ErrorCode::kInvalidArgument, "no block ends at the length to seal at");
  }
  return ok();
}

void ReplicaSealer::cut(const ReplicaPtr& replica) {
  const std::uint32_t length_bytes = sealings_.at(replica->chunk).length_bytes;
  auto checked = check_cut(*replica, length_bytes);
  if (!checked) {
    finish_seal(replica, checked);
    return;
  }
  const bool is_synced = replica->open && replica->open->synced_end >= length_bytes &&
                         replica->open->accepted_end == length_bytes;
  if (is_synced) {
    rename(replica);
    return;
  }
  auto file = truncated_file(replica, length_bytes);
  if (!file) {
    hooks_.on_disk_error(replica->directory, file.error());
    finish_seal(replica, std::move(file).error());
    return;
  }
  (*file)->sync(alive_.guard([this, replica, open = *file](const Status& synced) {
    if (!synced) {
      hooks_.on_disk_error(replica->directory, synced.error());
      finish_seal(replica, synced);
      return;
    }
    rename(replica);
  }));
}

Result<std::shared_ptr<DiskFile>> ReplicaSealer::truncated_file(const ReplicaPtr& replica,
                                                                std::uint32_t length_bytes) {
  std::shared_ptr<DiskFile> file;
  if (replica->open) {
    DFS_CHECK_OK(store_.open_for_writing(*replica));
    file = replica->open->file;
  } else {
    DFS_TRY(file, disk_.open(
                      directories_.file_path(replica->directory, replica->chunk, FileKind::kSealed),
                      OpenMode::kReadWrite));
  }
  // What lies beyond the valid length are writes that failed, or appends not on all replicas.
  DFS_TRY(const std::uint64_t file_bytes, file->size_bytes());
  if (file_bytes > length_bytes) {
    DFS_CHECK_OK(file->truncate_now(length_bytes));
  }
  replica->length_bytes = length_bytes;
  if (replica->open) {
    OpenState& open = *replica->open;
    std::erase_if(open.blocks,
                  [length_bytes](const BlockMark& block) { return block.end > length_bytes; });
    open.accepted_end = length_bytes;
    open.synced_end = std::min(open.synced_end, length_bytes);
  }
  return file;
}

void ReplicaSealer::rename(const ReplicaPtr& replica) {
  if (replica->gone) {
    finish_seal(replica, make_error(ErrorCode::kNoSuchChunk, "the chunk was deleted here"));
    return;
  }
  if (replica->sealed) {
    finish_seal(replica, ok());
    return;
  }
  auto renamed = store_.rename_sealed(replica);
  if (!renamed) {
    hooks_.on_disk_error(replica->directory, renamed.error());
    finish_seal(replica, renamed);
    return;
  }
  disk_.sync_directory(store_.folder_path(*replica),
                       alive_.guard([this, replica](const Status& synced) {
                         if (!synced) {
                           hooks_.on_disk_error(replica->directory, synced.error());
                         } else {
                           store_.fences().forget(replica->chunk);
                         }
                         finish_seal(replica, synced);
                       }));
}

void ReplicaSealer::finish_seal(const ReplicaPtr& replica, const Status& status) {
  if (replica->open) {
    replica->open->sealing = false;
  }
  const auto found = sealings_.find(replica->chunk);
  DFS_ASSERT(found != sealings_.end());
  const std::vector<Done> waiting = std::move(found->second.waiting);
  sealings_.erase(found);
  for (const Done& done : waiting) {
    done(status);
  }
}

}  // namespace dfs::chunkserver
