#include "chunkserver/core/fences.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "common/assert.h"

namespace dfs::chunkserver {

Fences::Fences(Disk& disk, DirectorySet& directories) : disk_(disk), directories_(directories) {}

Epoch Fences::epoch(ChunkId chunk) const {
  const auto found = fences_.find(chunk);
  return found == fences_.end() ? Epoch{} : found->second.epoch;
}

void Fences::raise(ChunkId chunk, Epoch epoch, std::size_t directory, Done done) {
  DFS_ASSERT(epoch.is_set());
  auto [found, added] = fences_.try_emplace(chunk);
  Fence& fence = found->second;
  if (added) {
    fence.directory = directory;
    fence.serial = next_serial_++;
  }
  fence.epoch = std::max(fence.epoch, epoch);
  if (fence.durable >= fence.epoch) {
    done(ok());
    return;
  }
  fence.waiters.push_back({fence.epoch, std::move(done)});
  if (!fence.writing) {
    write(chunk);
  }
}

void Fences::forget(ChunkId chunk) {
  const auto found = fences_.find(chunk);
  if (found == fences_.end()) {
    return;
  }
  // A file that stays behind only keeps appends away from an id that is never used again.
  const std::size_t directory = found->second.directory;
  std::vector<Waiter> waiters = std::move(found->second.waiters);
  fences_.erase(found);
  if (directories_.is_usable(directory)) {
    (void)disk_.remove(directories_.file_path(directory, chunk, FileKind::kFence));
  }
  for (Waiter& waiter : waiters) {
    waiter.done(ok());
  }
}

Status Fences::load(ChunkId chunk, std::size_t directory) {
  const std::string path = directories_.file_path(directory, chunk, FileKind::kFence);
  DFS_TRY(const std::string text, disk_.read_file(path));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_whole =
      error == std::errc() && end == text.data() + text.size() - 1 && *end == '\n';
  if (!is_whole || number == 0) {
    return make_error(ErrorCode::kCorrupt, path + ": not an epoch");
  }
  Fence& fence = fences_[chunk];
  fence.serial = next_serial_++;
  if (Epoch{number} > fence.epoch) {
    fence.epoch = fence.durable = Epoch{number};
    fence.directory = directory;
  }
  return ok();
}

void Fences::drop_directory(std::size_t directory) {
  std::vector<Waiter> waiters;
  for (auto at = fences_.begin(); at != fences_.end();) {
    if (at->second.directory == directory) {
      std::move(at->second.waiters.begin(), at->second.waiters.end(), std::back_inserter(waiters));
      at = fences_.erase(at);
    } else {
      ++at;
    }
  }
  for (Waiter& waiter : waiters) {
    waiter.done(make_error(ErrorCode::kIo, "the fence's data directory failed"));
  }
}

// The file is made beside its place, synced and renamed: a fence is there whole or not at all.
void Fences::write(ChunkId chunk) {
  Fence& fence = fences_.at(chunk);
  DFS_ASSERT(!fence.writing);
  fence.writing = true;
  const Writing writing{chunk, fence.epoch, fence.directory, fence.serial};
  const std::string path = directories_.file_path(writing.directory, chunk, FileKind::kFenceNew);
  (void)disk_.remove(path);  // of an earlier attempt; opening fails if it is still there
  auto opened = disk_.open(path, OpenMode::kCreate);
  if (!opened) {
    finish(writing, std::move(opened).error());
    return;
  }
  const std::shared_ptr<DiskFile> file = *opened;
  auto on_synced = alive_.guard([this, writing, file](const Status& synced) {
    if (synced) {
      rename_written(writing);
    } else {
      finish(writing, synced);
    }
  });
  auto on_written = alive_.guard([this, writing, file, on_synced](const Status& written) {
    if (written) {
      file->sync(on_synced);
    } else {
      finish(writing, written);
    }
  });
  file->write(0, Buffer::copy_of(std::to_string(writing.epoch.value) + "\n"), on_written);
}

void Fences::rename_written(const Writing& writing) {
  if (find(writing) == nullptr) {
    return;
  }
  const auto [chunk, epoch, directory, serial] = writing;
  auto renamed = disk_.rename(directories_.file_path(directory, chunk, FileKind::kFenceNew),
                              directories_.file_path(directory, chunk, FileKind::kFence));
  if (!renamed) {
    finish(writing, renamed);
    return;
  }
  disk_.sync_directory(
      directories_.folder_path(directory, chunk),
      alive_.guard([this, writing](const Status& synced) { finish(writing, synced); }));
}

void Fences::finish(const Writing& writing, const Status& status) {
  Fence* fence = find(writing);
  if (fence == nullptr) {
    return;  // whoever waited was told
  }
  fence->writing = false;
  if (status) {
    fence->durable = std::max(fence->durable, writing.epoch);
  }
  std::vector<Waiter> ready;
  std::vector<Waiter> waiting;
  for (Waiter& waiter : fence->waiters) {
    const bool is_ready = !status || waiter.epoch <= fence->durable;
    (is_ready ? ready : waiting).push_back(std::move(waiter));
  }
  fence->waiters = std::move(waiting);
  if (!fence->waiters.empty()) {
    write(writing.chunk);
  }
  for (Waiter& waiter : ready) {
    waiter.done(status);
  }
}

Fences::Fence* Fences::find(const Writing& writing) {
  const auto found = fences_.find(writing.chunk);
  return found != fences_.end() && found->second.serial == writing.serial ? &found->second
                                                                          : nullptr;
}

}  // namespace dfs::chunkserver
