// The second half of a flush: what happens to blocks once they are on stable storage, or lost.
#include <algorithm>
#include <utility>

#include "fuse-client/core/flusher.h"

namespace dfs::client {

using State = FlightBlock::State;

void Flusher::blocks_stable(const std::vector<FlightBlockPtr>& blocks) {
  std::set<InodeId> touched;
  for (const FlightBlockPtr& block : blocks) {
    if (!block->is_dropped) {
      DFS_ASSERT(block->state == State::kPlaced);
      block->state = State::kStable;
      touched.insert(block->inode);
    }
  }
  for (const InodeId inode : touched) {
    commit_if_ready(*files_.at(inode));
  }
}

void Flusher::commit_if_ready(const FileState& file) {
  const auto& flight = file.dirty.flight();
  const bool is_ready = !flight.empty() && flight.front()->state == State::kStable;
  if (is_ready && !file.is_committing && !file.is_commit_held && !file.lacks_lease) {
    committer_.ready(file.inode);
  }
}

// Blocks are committed in the order they were written: a later one may lie over an earlier one.
std::optional<CommitPart> Flusher::take_commit(InodeId inode, std::size_t extents_max) {
  FileState* file = find(inode);
  if (file == nullptr || file->is_committing || file->is_commit_held || file->lacks_lease) {
    return std::nullopt;
  }
  CommitPart part;
  part.commit.inode = inode;
  part.commit.write_epoch = file->write_epoch;
  for (const FlightBlockPtr& block : file->dirty.flight()) {
    if (block->state != State::kStable || part.blocks.size() == extents_max) {
      break;
    }
    block->state = State::kCommitting;
    part.commit.extents.push_back(block->extent());
    part.commit.size_bytes_min = std::max(part.commit.size_bytes_min, block->end());
    part.commit.mtime = block->mtime;
    part.commit.ctime = block->ctime;
    part.blocks.push_back(block);
  }
  if (part.blocks.empty()) {
    return std::nullopt;
  }
  file->is_committing = true;
  const bool is_all = part.blocks.size() == file->dirty.flight().size() &&
                      !file->dirty.has_buffered() && file->hold_count == 0 && !file->is_rewriting;
  part.commit.is_last = is_all && events_.begins_last && events_.begins_last(inode);
  return part;
}

void Flusher::commit_answered(CommitPart part, Result<FileCommitResult> result) {
  FileState& file = *files_.at(part.commit.inode);
  const bool is_taken = result.has_value();
  file.is_committing = false;
  file.is_discarded_committing = false;
  std::vector<FlightBlockPtr> kept;
  for (const FlightBlockPtr& block : part.blocks) {
    if (block->is_dropped) {
      pool_.settle(block->chunk);  // discarded or lost meanwhile
    } else {
      block->state = State::kStable;
      kept.push_back(block);
    }
  }
  if (!kept.empty()) {
    DFS_ASSERT(kept.size() == part.blocks.size());
    if (result) {
      committed(file, part, *result);
    } else {
      commit_failed(file, part, result.error());
    }
  }
  if (kept.size() < part.blocks.size()) {
    check_waiters(file, false);
  }
  rewriter_.advance(file);
  commit_if_ready(file);
  check_cuts(file);
  reap_soon(file.inode);
  if (part.commit.is_last) {
    events_.last_answered(file.inode, is_taken);
  }
}

void Flusher::committed(FileState& file, const CommitPart& part, const FileCommitResult& result) {
  if (events_.committed) {
    events_.committed(file.inode, part.commit.extents, result, locations_of(part));
  }
  if (part.blocks.front()->is_dropped) {
    return;  // the owner discarded the file just now
  }
  drop(file, part.blocks);
  if (file.dirty.is_clean()) {
    // If a window is rewritten its commit must not change the times.
    file.dirty.mtime = result.attributes.mtime;
    file.dirty.ctime = result.attributes.ctime;
  }
  const bool may_rewrite = !events_.may_write || events_.may_write(file.inode, {});
  if (result.window_pieces_most > kWindowPiecesRewrite && may_rewrite) {
    rewriter_.suggest(file, part.blocks);
  }
  check_waiters(file, true);
}

void Flusher::commit_failed(FileState& file, const CommitPart& part, const Error& error) {
  switch (error.code) {
    case ErrorCode::kSessionExpired:
      // The master may have committed these bytes before it ended the session. Writing them again
      // puts the same bytes in the same place. It can undo a write of another client that came
      // in between, but that one and ours were never ordered: ours was not committed, as far as
      // anybody was told.
      placer_.place_again(file, part.blocks);
      return;
    case ErrorCode::kNoSuchChunk:
      placer_.place_again(file, part.blocks);
      for (const Extent& extent : part.commit.extents) {
        pool_.break_off(extent.chunk, error.code);
      }
      return;
    case ErrorCode::kTooManyExtents:
      if (events_.read_committed) {
        rewriter_.demand(file, part.blocks);
        return;
      }
      break;
    case ErrorCode::kLeaseLost:
      // The session or the term was over in between, or so the master says. The blocks stay where
      // they are; if nobody changed the file, they are committed under a new lease.
      if (events_.lease_lost) {
        note_lost_lease(file);
        return;
      }
      break;
    case ErrorCode::kStale:
      // The file is gone. Nobody has it open any more, if this client has not: nothing is missed.
      if (events_.is_open && !events_.is_open(file.inode)) {
        drop_all(file);
      } else {
        lose_all(file, error);
      }
      return;
    default: break;
  }
  lose(file, part.blocks, error);
}

std::vector<ChunkLocation> Flusher::locations_of(const CommitPart& part) {
  std::set<ChunkId> chunks;
  for (const Extent& extent : part.commit.extents) {
    chunks.insert(extent.chunk);
  }
  std::vector<ChunkLocation> locations;
  for (const ChunkId chunk : chunks) {
    ChunkWriter* writer = pool_.find(chunk);
    DFS_ASSERT(writer != nullptr);  // it is not sealed while its blocks are unsettled
    locations.push_back(writer->location());
  }
  return locations;
}

void Flusher::rewritten(FileState& file) {
  flush_file(file);
  placer_.request_sync(file);
  // What they wait for may have been cut into blocks anew, behind everything else.
  if (!file.dirty.flight().empty()) {
    for (FlushWaiter& waiter : file.waiters) {
      waiter.up_to = file.dirty.flight().back()->order;
    }
  }
  commit_if_ready(file);
  reap_soon(file.inode);
}

void Flusher::drop(FileState& file, const std::vector<FlightBlockPtr>& blocks) {
  for (const FlightBlockPtr& block : blocks) {
    if (block->state == State::kCommitting) {
      file.is_discarded_committing = true;  // its chunk is told when the commit was answered
    } else {
      placer_.release(file, block);
    }
    file.dirty.drop(block);
  }
  update_counts(file);
}

void Flusher::lose_all(FileState& file, const Error& error) {
  const std::deque<FlightBlockPtr>& flight = file.dirty.flight();
  const std::vector<FlightBlockPtr> blocks(flight.begin(), flight.end());
  file.dirty.cut(0);
  clear_age(file);
  lose(file, blocks, error);
}

void Flusher::drop_all(FileState& file) {
  const std::deque<FlightBlockPtr>& flight = file.dirty.flight();
  const std::vector<FlightBlockPtr> blocks(flight.begin(), flight.end());
  file.dirty.cut(0);
  clear_age(file);
  drop_blocks(file, blocks);
}

void Flusher::lose(FileState& file, const std::vector<FlightBlockPtr>& blocks, const Error& error) {
  std::uint64_t bytes = 0;
  std::uint64_t first = ~std::uint64_t{0};
  for (const FlightBlockPtr& block : blocks) {
    bytes += block->length;
    first = std::min(first, block->order);
  }
  ++lost_[file.inode];
  world_.log.error("a write was lost inode=" + std::to_string(file.inode.value) +
                   " bytes=" + std::to_string(bytes) + " reason=" + error_code_name(error.code) +
                   " detail=" + error.detail);
  for (FlushWaiter& waiter : file.waiters) {
    if (waiter.up_to >= first && !waiter.error) {
      waiter.error = error;
    }
  }
  drop_blocks(file, blocks);
}

void Flusher::drop_blocks(FileState& file, const std::vector<FlightBlockPtr>& blocks) {
  drop(file, blocks);
  check_waiters(file, false);
  check_cuts(file);
  commit_if_ready(file);
  reap_soon(file.inode);
}

}  // namespace dfs::client
