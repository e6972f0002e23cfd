#include "fuse-client/core/dirty_file.h"

#include <algorithm>
#include <iterator>

namespace dfs::client {
namespace {

constexpr std::uint64_t kBlock = kBlockPayloadBytesMax;

std::uint64_t block_border_after(std::uint64_t offset) { return (offset / kBlock + 1) * kBlock; }

}  // namespace

std::uint64_t DirtyFile::room_needed(std::uint64_t size_bytes) {
  // It may touch one block more than it fills, and a short cell at either end.
  const std::uint64_t blocks = size_bytes / kBlock + 2;
  const std::uint64_t cells = size_bytes / kChecksumCellBytes + 2 * blocks;
  return size_bytes + blocks * kBlockHeaderBytes + 4 * cells;
}

bool DirtyFile::continues_run(std::uint64_t offset) const {
  return offset == run_end_ && run_bytes_ >= kBlock;
}

std::uint64_t DirtyFile::memory_needed(std::uint64_t offset, std::uint64_t size_bytes) const {
  return cost_of(offset, offset + size_bytes, continues_run(offset));
}

std::uint64_t DirtyFile::cost_of(std::uint64_t offset, std::uint64_t end, bool in_a_row) const {
  // Each step touches a block of its own, so doing them one after the other costs the same.
  std::uint64_t cost = 0;
  while (offset < end) {
    const Step step = next_step(offset, end, in_a_row);
    cost += step.cost;
    offset += step.length;
  }
  return cost;
}

DirtyFile::Step DirtyFile::next_step(std::uint64_t position, std::uint64_t end,
                                     bool in_a_row) const {
  const auto next = buffered_.upper_bound(position);
  const std::uint64_t border = block_border_after(position);
  std::uint64_t stop = std::min(end, border);
  Step step;
  if (next != buffered_.begin()) {
    const auto& [base, block] = *std::prev(next);
    const std::uint64_t block_end = base + block->size();
    if (position < block_end) {
      const std::uint64_t length = std::min(stop, block_end) - position;
      return {Step::Kind::kInPlace, base, static_cast<std::uint32_t>(length), 0, 0};
    }
    if (position == block_end && position % kBlock != 0) {
      stop = next == buffered_.end() ? stop : std::min(stop, next->first);
      step = {Step::Kind::kExtend, base, static_cast<std::uint32_t>(stop - position), 0, 0};
      step.capacity = BlockMemory::grown(block->capacity(), static_cast<std::uint32_t>(stop - base),
                                         static_cast<std::uint32_t>(border - base));
      step.cost = BlockMemory::cost(step.capacity) - BlockMemory::cost(block->capacity());
      return step;
    }
  }
  stop = next == buffered_.end() ? stop : std::min(stop, next->first);
  step = {Step::Kind::kCreate, position, static_cast<std::uint32_t>(stop - position), 0, 0};
  const bool will_fill = in_a_row && position % kBlock == 0;
  step.capacity = will_fill ? kBlockPayloadBytesMax : step.length;
  step.cost = BlockMemory::cost(step.capacity);
  return step;
}

void DirtyFile::write(std::uint64_t offset, std::span<const std::byte> data,
                      std::uint64_t& credit) {
  put(offset, data, continues_run(offset), credit);
  run_bytes_ = offset == run_end_ ? run_bytes_ + data.size() : data.size();
  run_end_ = offset + data.size();
}

void DirtyFile::put(std::uint64_t offset, std::span<const std::byte> data, bool in_a_row,
                    std::uint64_t& credit) {
  const std::uint64_t end = offset + data.size();
  while (offset < end) {
    const Step step = next_step(offset, end, in_a_row);
    const auto part = data.first(step.length);
    if (step.kind == Step::Kind::kCreate) {
      auto block = std::make_shared<BlockMemory>(memory_, step.capacity, credit);
      block->write(0, part);
      count(block, true);
      buffered_.emplace(step.base, std::move(block));
    } else {
      const Memory& block = buffered_.at(step.base);
      count(block, false);
      if (step.kind == Step::Kind::kExtend && step.capacity > block->capacity()) {
        block->grow(step.capacity, credit);
      }
      block->write(static_cast<std::uint32_t>(offset - step.base), part);
      count(block, true);
    }
    data = data.subspan(step.length);
    offset += step.length;
  }
}

void DirtyFile::count(const Memory& block, bool is_added) {
  if (is_added) {
    buffered_bytes_ += block->size();
    buffered_room_ += block_total_bytes(block->size());
  } else {
    DFS_ASSERT(buffered_bytes_ >= block->size());
    buffered_bytes_ -= block->size();
    buffered_room_ -= block_total_bytes(block->size());
  }
}

std::vector<FlightBlockPtr> DirtyFile::freeze(Freeze what, std::uint64_t& next_order) {
  std::vector<FlightBlockPtr> frozen;
  for (auto at = buffered_.begin(); at != buffered_.end();) {
    if (what == Freeze::kFullBlocks && at->second->size() < kBlock) {
      ++at;
      continue;
    }
    const std::uint64_t base = at->first;
    std::vector<Memory> parts;
    std::uint64_t end = base;
    while (at != buffered_.end() && at->first == end &&
           (parts.empty() || end / kBlock == base / kBlock)) {
      end += at->second->size();
      count(at->second, false);
      parts.push_back(std::move(at->second));
      at = buffered_.erase(at);
    }
    Memory whole = parts.size() == 1 ? parts.front() : BlockMemory::joined(memory_, parts);
    frozen.push_back(make_flight(base, std::move(whole), next_order++));
  }
  return frozen;
}

FlightBlockPtr DirtyFile::make_flight(std::uint64_t offset, Memory memory, std::uint64_t order) {
  auto block = std::make_shared<FlightBlock>();
  block->inode = inode_;
  block->file_offset = offset;
  block->length = memory->size();
  block->order = order;
  block->mtime = mtime;
  block->ctime = ctime;
  block->memory = std::move(memory);
  flight_.push_back(block);
  show(block);
  return block;
}

// The views of older blocks give way to the whole of `block`.
void DirtyFile::show(const FlightBlockPtr& block) {
  const std::uint64_t begin = block->file_offset;
  const std::uint64_t end = block->end();
  auto at = views_.lower_bound(begin);
  if (at != views_.begin() && std::prev(at)->second.end > begin) {
    View& before = std::prev(at)->second;
    if (before.end > end) {
      views_.emplace(end, View{before.end, before.block});
    }
    before.end = begin;
  }
  at = views_.lower_bound(begin);
  while (at != views_.end() && at->first < end) {
    if (at->second.end > end) {
      views_.emplace(end, at->second);
    }
    at = views_.erase(at);
  }
  views_.emplace(begin, View{end, block});
}

void DirtyFile::hide(const FlightBlockPtr& block) {
  auto at = views_.lower_bound(block->file_offset);
  while (at != views_.end() && at->first < block->end()) {
    at = at->second.block == block ? views_.erase(at) : std::next(at);
  }
}

FlightBlockPtr DirtyFile::split(const FlightBlockPtr& block, std::uint32_t first_bytes) {
  DFS_ASSERT(block->state == FlightBlock::State::kWaiting);
  DFS_ASSERT(first_bytes % kChecksumCellBytes == 0 && first_bytes < block->length);
  DFS_ASSERT(first_bytes > 0);
  auto second = std::make_shared<FlightBlock>(*block);
  second->file_offset += first_bytes;
  second->memory_offset += first_bytes;
  second->length -= first_bytes;
  block->length = first_bytes;
  if (!block->checksums.empty()) {
    const auto cells = static_cast<std::ptrdiff_t>(first_bytes / kChecksumCellBytes);
    second->checksums.erase(second->checksums.begin(), second->checksums.begin() + cells);
    block->checksums.resize(static_cast<std::size_t>(cells));
  }
  const std::uint64_t border = second->file_offset;
  auto at = views_.lower_bound(border);
  if (at != views_.begin() && std::prev(at)->second.end > border) {
    View& crossing = std::prev(at)->second;
    at = views_.emplace(border, View{crossing.end, crossing.block}).first;
    crossing.end = border;
  }
  for (; at != views_.end() && at->first < second->end(); ++at) {
    if (at->second.block == block) {
      at->second.block = second;
    }
  }
  flight_.insert(std::next(std::find(flight_.begin(), flight_.end(), block)), second);
  return second;
}

// By value: the caller's may be the very element of flight_ that goes.
void DirtyFile::drop(FlightBlockPtr block) {
  const auto at = std::find(flight_.begin(), flight_.end(), block);
  DFS_ASSERT(at != flight_.end());
  flight_.erase(at);
  hide(block);
  block->is_dropped = true;
}

void DirtyFile::cut(std::uint64_t size_bytes) {
  auto at = buffered_.lower_bound(size_bytes);
  while (at != buffered_.end()) {
    count(at->second, false);
    at = buffered_.erase(at);
  }
  if (!buffered_.empty()) {
    const auto& [base, block] = *buffered_.rbegin();
    if (base + block->size() > size_bytes) {
      count(block, false);
      block->truncate(static_cast<std::uint32_t>(size_bytes - base));
      count(block, true);
    }
  }
  if (run_end_ > size_bytes) {
    run_bytes_ = 0;
  }
}

std::vector<DirtyRange> DirtyFile::flight_ranges(std::uint64_t begin, std::uint64_t end) const {
  std::vector<DirtyRange> found;
  add_views(begin, end, found);
  return found;
}

// The parts of `range` that nothing dirty covers.
std::vector<DirtyRange> DirtyFile::gaps(const DirtyRange& range) const {
  std::vector<DirtyRange> parts;
  const std::uint64_t end = range.file_offset + range.data.size();
  std::uint64_t position = range.file_offset;
  const auto add = [&](std::uint64_t stop) {
    if (stop > position) {
      parts.push_back({position, range.data.slice(position - range.file_offset, stop - position)});
    }
  };
  for (const DirtyRange& dirty : ranges(range.file_offset, end)) {
    add(dirty.file_offset);
    position = dirty.file_offset + dirty.data.size();
  }
  add(end);
  return parts;
}

std::uint64_t DirtyFile::memory_needed_to_fill(const std::vector<DirtyRange>& filling) const {
  std::uint64_t cost = 0;
  for (const DirtyRange& range : filling) {
    for (const DirtyRange& gap : gaps(range)) {
      // A block that one gap made may be extended by the next, with growth by doubling: never
      // beyond twice what was put in.
      cost += cost_of(gap.file_offset, gap.file_offset + gap.data.size(), false) +
              2 * gap.data.size() + kBlockHeadroomBytes + kBlockBookkeepingBytes;
    }
  }
  return cost;
}

void DirtyFile::fill(const std::vector<DirtyRange>& filling, std::uint64_t& credit) {
  for (const DirtyRange& range : filling) {
    for (const DirtyRange& gap : gaps(range)) {
      put(gap.file_offset, gap.data.bytes(), false, credit);
    }
  }
}

std::vector<DirtyRange> DirtyFile::ranges(std::uint64_t begin, std::uint64_t end) const {
  std::vector<DirtyRange> found;
  auto at = buffered_.upper_bound(begin);
  if (at != buffered_.begin()) {
    --at;
  }
  for (; begin < end && at != buffered_.end() && at->first < end; ++at) {
    const auto& [base, block] = *at;
    const std::uint64_t block_end = base + block->size();
    if (block_end <= begin) {
      continue;
    }
    add_views(begin, base, found);
    const std::uint64_t from = std::max(begin, base);
    const std::uint64_t to = std::min(end, block_end);
    found.push_back({from, block->slice(static_cast<std::uint32_t>(from - base),
                                        static_cast<std::uint32_t>(to - from))});
    begin = to;
  }
  add_views(begin, end, found);
  return found;
}

void DirtyFile::add_views(std::uint64_t begin, std::uint64_t end,
                          std::vector<DirtyRange>& out) const {
  if (begin >= end) {
    return;
  }
  auto at = views_.upper_bound(begin);
  if (at != views_.begin()) {
    --at;
  }
  for (; at != views_.end() && at->first < end; ++at) {
    const auto& [base, view] = *at;
    const std::uint64_t from = std::max(begin, base);
    const std::uint64_t to = std::min(end, view.end);
    if (from < to) {
      const FlightBlock& block = *view.block;
      const auto offset =
          static_cast<std::uint32_t>(from - block.file_offset) + block.memory_offset;
      out.push_back({from, block.memory->slice(offset, static_cast<std::uint32_t>(to - from))});
    }
  }
}

std::uint64_t DirtyFile::dirty_bytes() const {
  std::uint64_t bytes = buffered_bytes_;
  for (const FlightBlockPtr& block : flight_) {
    bytes += block->length;
  }
  return bytes;
}

std::uint64_t DirtyFile::end() const {
  std::uint64_t end = 0;
  if (!buffered_.empty()) {
    end = buffered_.rbegin()->first + buffered_.rbegin()->second->size();
  }
  return views_.empty() ? end : std::max(end, views_.rbegin()->second.end);
}

void DirtyFile::set_mtime(Timestamp value) {
  mtime = value;
  for (const FlightBlockPtr& block : flight_) {
    block->mtime = value;
  }
}

}  // namespace dfs::client
