// Pass 2 of MetadataCheck: extents, used_bytes, and the live bytes of chunks.
#include <algorithm>
#include <limits>

#include "common/assert.h"
#include "master/core/chunk_changes.h"
#include "master/core/metadata_check.h"
#include "proto/block.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kLastWindow = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kInodesPerScan = 256;
constexpr std::size_t kWindowsPerScan = 512;

}  // namespace

// Ends the check when there is no further chunk.
Status MetadataCheck::begin_chunk_range(OpContext& context) {
  DFS_TRY(const auto chunks, context.store.scan_chunks(ChunkId{range_first_ - 1}, 1));
  if (chunks.empty() && !is_first_range_) {
    live_bytes_ = {};
    changed_ = {};
    step_ = Step::kDone;
    return ok();
  }
  range_first_ = chunks.empty() ? range_first_ : chunks.front().chunk.value;
  DFS_TRY(const std::uint64_t end, context.store.counter(Counter::kNextChunk));
  const std::uint64_t size = std::clamp<std::uint64_t>(end > range_first_ ? end - range_first_ : 1,
                                                       1, kCheckChunksPerRange);
  live_bytes_.assign(size, 0);
  changed_.clear();
  range_begun_ = context.now;
  inode_after_ = InodeId{};
  partial_ = InodeId{};
  chunk_after_ = ChunkId{range_first_ - 1};
  step_ = Step::kContents;
  return ok();
}

Status MetadataCheck::check_contents(OpContext& context) {
  DFS_TRY(const auto inodes, context.store.scan_inodes(inode_after_, kInodesPerScan));
  for (const InodeRow& inode : inodes) {
    if (inode.attributes.is_regular()) {
      DFS_TRY(const bool is_over, check_windows(context, inode));
      if (!is_over) {
        return ok();
      }
    }
    inode_after_ = inode.attributes.inode;
  }
  if (inodes.size() < kInodesPerScan) {
    step_ = Step::kCutOff;
    inode_after_ = InodeId{};
  }
  return ok();
}

// What truncations cut off and is not freed yet: windows under a number that is no inode.
Status MetadataCheck::check_cut_off(OpContext& context) {
  DFS_TRY(const auto orphans, context.store.scan_orphans(inode_after_, kInodesPerScan));
  for (const OrphanRow& orphan : orphans) {
    DFS_TRY(const auto row, context.store.inode(orphan.inode));
    if (!row) {
      InodeRow cut_off;
      cut_off.attributes.inode = orphan.inode;
      cut_off.attributes.mode = kModeRegular;
      cut_off.attributes.ctime = orphan.since;
      DFS_TRY(const bool is_over, check_windows(context, cut_off));
      if (!is_over) {
        return ok();
      }
    }
    inode_after_ = orphan.inode;
  }
  if (orphans.size() < kInodesPerScan) {
    step_ = Step::kChunks;
  }
  return ok();
}

// Counts some more windows of the inode; returns whether those were the last.
Result<bool> MetadataCheck::check_windows(OpContext& context, const InodeRow& inode) {
  const Attributes& attributes = inode.attributes;
  if (partial_ != attributes.inode) {
    partial_ = attributes.inode;
    window_next_ = 0;
    used_bytes_ = 0;
    data_version_ = attributes.data_version;
  }
  DFS_TRY(const auto windows,
          context.store.windows(attributes.inode, window_next_, kLastWindow, kWindowsPerScan));
  for (const WindowRow& window : windows) {
    DFS_CHECK_OK(check_window(context, inode, window));
    window_next_ = window.window + 1;
  }
  answer_.rows_checked += is_first_range_ ? windows.size() : 0;
  if (windows.size() == kWindowsPerScan) {
    return false;
  }
  partial_ = InodeId{};
  const bool is_comparable = attributes.link_count > 0 && attributes.data_version == data_version_;
  if (is_first_range_ && is_comparable && used_bytes_ != attributes.used_bytes) {
    report(attributes.inode, ChunkId{},
           "uses " + std::to_string(used_bytes_) + " bytes, its attributes say " +
               std::to_string(attributes.used_bytes));
  }
  return true;
}

Status MetadataCheck::check_window(OpContext& context, const InodeRow& inode,
                                   const WindowRow& window) {
  const std::uint64_t begin = window.window * kExtentWindowBytes;
  std::uint64_t end_before = begin;
  // Cut off after this pass began: its bytes may have been counted already, where they were.
  const bool was_just_cut_off = step_ == Step::kCutOff && inode.attributes.ctime >= range_begun_;
  for (const Extent& extent : window.extents) {
    if (is_first_range_ &&
        (extent.file_offset < end_before || extent.end() > begin + kExtentWindowBytes)) {
      report(inode.attributes.inode, extent.chunk,
             "extents overlap or leave their window at " + std::to_string(extent.file_offset));
    }
    end_before = extent.end();
    used_bytes_ += extent.length_bytes;
    if (was_just_cut_off) {
      chunk_changed(extent.chunk);
    }
    count_live(extent);
    if (is_first_range_) {
      DFS_CHECK_OK(check_extent(context, inode, extent));
    }
  }
  return ok();
}

Status MetadataCheck::check_extent(OpContext& context, const InodeRow& inode,
                                   const Extent& extent) {
  const Attributes& attributes = inode.attributes;
  if (const Status status = validate(extent); !status) {
    report(attributes.inode, extent.chunk, "impossible extent: " + status.error().detail);
    return ok();
  }
  if (attributes.link_count > 0 && extent.end() > attributes.size_bytes) {
    report(attributes.inode, extent.chunk, "an extent lies beyond the end of the file");
  }
  DFS_TRY(const auto chunk, context.store.chunk(extent.chunk));
  if (!chunk) {
    report(attributes.inode, extent.chunk,
           "the chunk of the bytes at " + std::to_string(extent.file_offset) + " does not exist");
  } else if (block_end(extent) > chunk->length_bytes) {
    report(attributes.inode, extent.chunk, "an extent lies beyond the end of its chunk");
  }
  return ok();
}

void MetadataCheck::count_live(const Extent& extent) {
  const std::uint64_t chunk = extent.chunk.value;
  if (chunk >= range_first_ && chunk - range_first_ < live_bytes_.size()) {
    live_bytes_[chunk - range_first_] += extent.length_bytes;
  }
}

Status MetadataCheck::check_chunks(OpContext& context) {
  DFS_TRY(const auto chunks, context.store.scan_chunks(chunk_after_, kCheckRowsPerSlice));
  bool is_over = chunks.size() < kCheckRowsPerSlice;
  for (const ChunkRow& chunk : chunks) {
    chunk_after_ = chunk.chunk;
    if (chunk.chunk.value - range_first_ >= live_bytes_.size()) {
      is_over = true;
      break;
    }
    ++answer_.rows_checked;
    DFS_CHECK_OK(check_chunk(context, chunk));
  }
  if (is_over) {
    range_first_ += live_bytes_.size();
    is_first_range_ = false;
    return begin_chunk_range(context);
  }
  return ok();
}

Status MetadataCheck::check_chunk(OpContext& context, const ChunkRow& chunk) {
  const std::uint64_t live_bytes = live_bytes_[chunk.chunk.value - range_first_];
  if (!changed_.contains(chunk.chunk.value) && chunk.live_bytes != live_bytes) {
    report(InodeId{}, chunk.chunk,
           "files refer to " + std::to_string(live_bytes) + " bytes, its row says " +
               std::to_string(chunk.live_bytes));
  }
  DFS_TRY(const auto replicas, context.store.replicas(chunk.chunk));
  if (replicas.empty()) {
    report(InodeId{}, chunk.chunk, "has no replica");
  }
  if (chunk.length_bytes > kChunkBytesMax) {
    report(InodeId{}, chunk.chunk, "is longer than a chunk can be");
  }
  return ok();
}

}  // namespace dfs::master
