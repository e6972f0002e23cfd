#include "fuse-client/core/block_placer.h"

#include <utility>

namespace dfs::client {

using State = FlightBlock::State;

BlockPlacer::BlockPlacer(World world, FileTable& files, ChunkPool& pool, Duration write_wait,
                         Lost lost)
    : world_(world), files_(files), pool_(pool), write_wait_(write_wait), lost_(std::move(lost)) {}

void BlockPlacer::place(FileState& file) {
  bool is_all_placed = true;
  for (std::size_t i = 0; is_all_placed && i < file.dirty.flight().size(); ++i) {
    if (file.dirty.flight()[i]->state == State::kWaiting) {
      is_all_placed = place_next(file, i);
    }
  }
  update_promise(file);
  if (is_all_placed) {
    waiting_.erase(file.inode);
    return;
  }
  waiting_.insert(file.inode);
  for (const FlightBlockPtr& block : file.dirty.flight()) {
    if (block->state == State::kWaiting && !block->trouble_since) {
      block->trouble_since = pool_.waiting_clock();
    }
  }
}

bool BlockPlacer::place_next(FileState& file, std::size_t index) {
  const FlightBlockPtr block = file.dirty.flight()[index];
  ChunkWriter* chunk = pool_.take(file.policy, file.is_large ? file.inode : kSharedOwner);
  if (chunk == nullptr) {
    return false;
  }
  const std::uint32_t fitting = chunk->payload_fitting();
  file.waiting_room -= block->room_bytes();
  if (block->length > fitting) {
    DFS_ASSERT(fitting >= kChecksumCellBytes);
    const FlightBlockPtr rest =
        file.dirty.split(block, fitting / kChecksumCellBytes * kChecksumCellBytes);
    file.waiting_room += rest->room_bytes();
  }
  chunk->add(block);
  return true;
}

void BlockPlacer::release(FileState& file, const FlightBlockPtr& block) {
  if (block->state == State::kWaiting) {
    DFS_ASSERT(file.waiting_room >= block->room_bytes());
    file.waiting_room -= block->room_bytes();
  } else {
    pool_.settle(block->chunk);
  }
}

void BlockPlacer::unplace(FileState& file, const std::vector<FlightBlockPtr>& blocks) {
  for (const FlightBlockPtr& block : blocks) {
    DFS_ASSERT(block->state != State::kWaiting);
    pool_.settle(block->chunk);
    block->state = State::kWaiting;
    block->chunk = ChunkId{};
    if (!block->trouble_since) {
      block->trouble_since = pool_.waiting_clock();
    }
    file.waiting_room += block->room_bytes();
  }
  update_promise(file);
  if (!blocks.empty()) {
    waiting_.insert(file.inode);
  }
}

void BlockPlacer::chunk_broke(ChunkId chunk) {
  std::vector<InodeId> touched;
  for (auto& [inode, file] : files_) {
    std::vector<FlightBlockPtr> blocks;
    for (const FlightBlockPtr& block : file->dirty.flight()) {
      const bool is_here = block->chunk == chunk && block->state != State::kWaiting;
      if (is_here && block->state != State::kCommitting) {
        blocks.push_back(block);
      }
    }
    unplace(*file, blocks);
    if (!blocks.empty()) {
      touched.push_back(inode);
    }
  }
  for (const InodeId inode : touched) {
    retry(*files_.at(inode));
  }
}

void BlockPlacer::place_again(FileState& file, const std::vector<FlightBlockPtr>& blocks) {
  unplace(file, blocks);
  retry(file);
}

void BlockPlacer::retry(FileState& file) {
  expire(file, make_error(ErrorCode::kIo, "it could not be stored in any chunk"));
  place(file);
  request_sync(file);
}

void BlockPlacer::chunk_answered(const StoragePolicy& policy, const Status& status) {
  const std::set<InodeId> waiting = waiting_;
  for (const InodeId inode : waiting) {
    const auto at = files_.find(inode);
    if (at == files_.end()) {
      waiting_.erase(inode);
      continue;
    }
    FileState& file = *at->second;
    if (file.policy != policy) {
      continue;
    }
    if (!status) {
      expire(file, status.error());
    }
    place(file);
    request_sync(file);
  }
}

void BlockPlacer::expire(FileState& file, const Error& error) {
  const MonoTime now = pool_.waiting_clock();
  std::vector<FlightBlockPtr> expired;
  for (const FlightBlockPtr& block : file.dirty.flight()) {
    if (block->state == State::kWaiting && block->trouble_since &&
        now - *block->trouble_since >= write_wait_) {
      expired.push_back(block);
    }
  }
  if (!expired.empty()) {
    lost_(file, std::move(expired), error);
  }
}

void BlockPlacer::request_sync(const FileState& file) {
  std::set<ChunkId> chunks;
  for (const FlightBlockPtr& block : file.dirty.flight()) {
    if (block->state == State::kPlaced) {
      chunks.insert(block->chunk);
    }
  }
  for (const ChunkId chunk : chunks) {
    if (ChunkWriter* writer = pool_.find(chunk); writer != nullptr && !writer->is_broken()) {
      writer->request_sync();
    }
  }
}

void BlockPlacer::update_promise(FileState& file) {
  const std::uint64_t needed = file.dirty.buffered_room() + file.waiting_room;
  if (needed > file.promised) {
    pool_.promise(file.policy, needed - file.promised);
  } else {
    pool_.take_back(file.policy, file.promised - needed);
  }
  file.promised = needed;
}

void BlockPlacer::set_policy(FileState& file, const StoragePolicy& policy) {
  if (file.policy != policy) {
    pool_.take_back(file.policy, std::exchange(file.promised, 0));
    file.policy = policy;
    update_promise(file);
  }
}

}  // namespace dfs::client
