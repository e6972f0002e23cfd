// Ranges of blocks that were read. Blocks never change, so nothing here can be out of date.
//
// Ranges that arrived in one message share its memory: they form a frame, are counted and evicted
// together, so that what is counted is what is held. Bounded by the memory budget (kCache).
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "common/buffer.h"
#include "common/ids.h"
#include "fuse-client/core/memory_budget.h"

namespace dfs::client {

struct BlockId {
  ChunkId chunk;
  std::uint32_t offset = 0;  // of the block in the chunk
  friend auto operator<=>(const BlockId&, const BlockId&) = default;
};

struct BlockRangeKey {
  BlockId block;
  std::uint32_t begin = 0;
  friend auto operator<=>(const BlockRangeKey&, const BlockRangeKey&) = default;
};

// A range of a block's payload and its bytes.
struct BlockRange {
  BlockId block;
  std::uint32_t begin = 0;
  Buffer data;
  bool came_along = false;  // nobody asked for it yet
  std::uint32_t end() const { return begin + static_cast<std::uint32_t>(data.size()); }
};

class BlockCache {
 public:
  explicit BlockCache(MemoryBudget& memory) : memory_(memory) {}
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  // The range that holds `at`, which becomes the most recently used.
  std::optional<BlockRange> find(BlockId block, std::uint32_t at);
  // The first block behind `block` in its chunk of which something is cached, or the end of all.
  std::uint32_t next_block(BlockId block) const;
  // Told when a range that came along is found for the first time.
  void on_first_use(std::function<void()> handler) { first_use_ = std::move(handler); }
  // How far [begin, end) around `at`, which is not cached, is free of cached ranges.
  std::pair<std::uint32_t, std::uint32_t> gap(BlockId block, std::uint32_t at, std::uint32_t begin,
                                              std::uint32_t end) const;
  // Ranges of one message of `frame_bytes`; those that overlap cached ones are left out. Without
  // room for them nothing is kept.
  void insert(std::vector<BlockRange> ranges, std::uint64_t frame_bytes);
  // Frees at least that many bytes, or all there are.
  void evict(std::uint64_t bytes);

  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Frame {
    std::vector<BlockRangeKey> keys;
    std::uint64_t bytes = 0;
  };
  struct Entry {
    Buffer data;
    std::list<Frame>::iterator frame;
    bool came_along = false;
  };
  bool overlaps(const BlockRange& range) const;

  MemoryBudget& memory_;
  std::function<void()> first_use_;
  std::list<Frame> frames_;  // least recently used first
  std::map<BlockRangeKey, Entry> entries_;
  std::uint64_t bytes_ = 0;
};

}  // namespace dfs::client
