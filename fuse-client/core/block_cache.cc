#include "fuse-client/core/block_cache.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace dfs::client {
namespace {

std::uint32_t end_of(const BlockRangeKey& key, const Buffer& data) {
  return key.begin + static_cast<std::uint32_t>(data.size());
}

}  // namespace

std::optional<BlockRange> BlockCache::find(BlockId block, std::uint32_t at) {
  auto place = entries_.upper_bound({block, at});
  if (place == entries_.begin()) {
    return std::nullopt;
  }
  --place;
  if (place->first.block != block || end_of(place->first, place->second.data) <= at) {
    return std::nullopt;
  }
  frames_.splice(frames_.end(), frames_, place->second.frame);
  if (std::exchange(place->second.came_along, false) && first_use_) {
    first_use_();
  }
  return BlockRange{block, place->first.begin, place->second.data, false};
}

std::uint32_t BlockCache::next_block(BlockId block) const {
  const auto next = entries_.lower_bound({{block.chunk, block.offset + 1}, 0});
  const bool is_there = next != entries_.end() && next->first.block.chunk == block.chunk;
  return is_there ? next->first.block.offset : std::numeric_limits<std::uint32_t>::max();
}

std::pair<std::uint32_t, std::uint32_t> BlockCache::gap(BlockId block, std::uint32_t at,
                                                        std::uint32_t begin,
                                                        std::uint32_t end) const {
  const auto next = entries_.upper_bound({block, at});
  if (next != entries_.end() && next->first.block == block) {
    end = std::min(end, next->first.begin);
  }
  if (next != entries_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first.block == block) {
      begin = std::max(begin, end_of(previous->first, previous->second.data));
    }
  }
  DFS_ASSERT(begin <= at && at < end);
  return {begin, end};
}

bool BlockCache::overlaps(const BlockRange& range) const {
  const auto next = entries_.lower_bound({range.block, range.begin});
  if (next != entries_.end() && next->first.block == range.block &&
      next->first.begin < range.end()) {
    return true;
  }
  if (next == entries_.begin()) {
    return false;
  }
  const auto previous = std::prev(next);
  return previous->first.block == range.block &&
         end_of(previous->first, previous->second.data) > range.begin;
}

void BlockCache::insert(std::vector<BlockRange> ranges, std::uint64_t frame_bytes) {
  if (frame_bytes == 0 || frame_bytes > memory_.cap_bytes() / 2) {
    return;
  }
  if (!memory_.try_reserve(MemoryBudget::Use::kCache, frame_bytes)) {
    evict(frame_bytes);
    if (!memory_.try_reserve(MemoryBudget::Use::kCache, frame_bytes)) {
      return;
    }
  }
  const auto frame = frames_.insert(frames_.end(), Frame{{}, frame_bytes});
  bytes_ += frame_bytes;
  for (BlockRange& range : ranges) {
    if (range.data.empty() || overlaps(range)) {
      continue;
    }
    const BlockRangeKey key{range.block, range.begin};
    entries_.emplace(key, Entry{std::move(range.data), frame, range.came_along});
    frame->keys.push_back(key);
  }
}

void BlockCache::evict(std::uint64_t bytes) {
  std::uint64_t freed = 0;
  while (freed < bytes && !frames_.empty()) {
    const Frame frame = std::move(frames_.front());
    frames_.pop_front();
    for (const BlockRangeKey& key : frame.keys) {
      entries_.erase(key);
    }
    freed += frame.bytes;
    bytes_ -= frame.bytes;
  }
  if (freed > 0) {
    memory_.release(MemoryBudget::Use::kCache, freed);
  }
}

}  // namespace dfs::client
