#include "master/core/chunk_changes.h"

#include <algorithm>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/metadata_check.h"
#include "master/core/node_table.h"
#include "master/core/open_chunks.h"
#include "proto/block.h"

namespace dfs::master {
namespace {

void note_growth(ChunkManager& chunks, ChunkId chunk, std::uint32_t length_bytes) {
  const OpenChunk* open = chunks.open_chunks().find(chunk);
  if (open == nullptr || length_bytes <= open->length_bytes) {
    return;
  }
  for (const NodeId node : open->nodes) {
    if (KnownNode* state = chunks.nodes().find(node)) {
      state->written_bytes += length_bytes - open->length_bytes;
    }
  }
  chunks.open_chunks().grow(chunk, length_bytes);
}

}  // namespace

std::uint64_t block_end(const Extent& extent) {
  return std::uint64_t{extent.block_offset} + block_total_bytes(extent.block_bytes);
}

void ChunkChanges::add_live(std::span<const Extent> extents) {
  for (const Extent& extent : extents) {
    changes_[extent.chunk].live_bytes += extent.length_bytes;
  }
}

void ChunkChanges::subtract_live(std::span<const Extent> extents) {
  for (const Extent& extent : extents) {
    changes_[extent.chunk].live_bytes -= extent.length_bytes;
  }
}

void ChunkChanges::extend_to(const Extent& extent) {
  DFS_ASSERT(block_end(extent) <= kChunkBytesMax);
  Change& change = changes_[extent.chunk];
  change.length_bytes =
      std::max(change.length_bytes, static_cast<std::uint32_t>(block_end(extent)));
}

Status ChunkChanges::apply(OpContext& context) const {
  std::int64_t live_bytes = 0;
  for (const auto& [chunk, change] : changes_) {
    DFS_TRY(const std::int64_t difference, apply_to(context, chunk, change));
    live_bytes += difference;
  }
  if (live_bytes == 0) {
    return ok();
  }
  return context.add_to_counter(Counter::kLiveBytes, live_bytes);
}

Result<std::int64_t> ChunkChanges::apply_to(OpContext& context, ChunkId chunk,
                                            const Change& change) const {
  DFS_TRY(auto row, context.store.chunk(chunk));
  Log& log = context.chunks.world().log;
  if (!row) {
    log.error("Extents refer to a chunk that does not exist. chunk=" + std::to_string(chunk.value));
    return std::int64_t{0};
  }
  context.chunks.metadata_check().chunk_changed(chunk);
  const std::uint64_t before = row->live_bytes;
  const auto sum = static_cast<std::int64_t>(before) + change.live_bytes;
  if (sum < 0) {
    log.error("More bytes of a chunk were freed than were counted; it is kept for ever. chunk=" +
              std::to_string(chunk.value));
  }
  // One byte too many for ever: the chunk never looks dead again.
  row->live_bytes = sum < 0 ? 1 : static_cast<std::uint64_t>(sum);
  if (row->state != ChunkState::kSealed && change.length_bytes > row->length_bytes) {
    row->length_bytes = change.length_bytes;
    note_growth(context.chunks, chunk, change.length_bytes);
  }
  DFS_CHECK_OK(context.store.put_chunk(*row));
  if (row->state == ChunkState::kSealed && row->live_bytes == 0) {
    context.chunks.wake_reclaimer();
  }
  return static_cast<std::int64_t>(row->live_bytes) - static_cast<std::int64_t>(before);
}

}  // namespace dfs::master
