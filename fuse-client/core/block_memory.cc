#include "fuse-client/core/block_memory.h"

#include <algorithm>
#include <cstring>

namespace dfs::client {
namespace {

std::uint32_t headroom_for(std::uint32_t capacity_bytes) {
  return capacity_bytes >= kInPlaceBytesMin ? kBlockHeadroomBytes : 0;
}

}  // namespace

std::uint64_t BlockMemory::cost(std::uint32_t capacity_bytes) {
  return std::uint64_t{capacity_bytes} + headroom_for(capacity_bytes) + kBlockBookkeepingBytes;
}

std::uint32_t BlockMemory::grown(std::uint32_t capacity_bytes, std::uint32_t needed_bytes,
                                 std::uint32_t limit_bytes) {
  DFS_ASSERT(needed_bytes <= limit_bytes);
  if (needed_bytes <= capacity_bytes) {
    return capacity_bytes;
  }
  return std::min(limit_bytes, std::max(needed_bytes, 2 * capacity_bytes));
}

BlockMemory::BlockMemory(MemoryBudget& budget, std::uint32_t capacity_bytes, std::uint64_t& credit)
    : BlockMemory(budget) {
  reallocate(capacity_bytes, headroom_for(capacity_bytes));
  charged_ = cost(capacity_bytes);
  DFS_ASSERT(credit >= charged_);
  credit -= charged_;
}

BlockMemory::~BlockMemory() { budget_.release(MemoryBudget::Use::kDirty, charged_); }

std::shared_ptr<BlockMemory> BlockMemory::joined(
    MemoryBudget& budget, const std::vector<std::shared_ptr<BlockMemory>>& parts) {
  std::uint32_t size_bytes = 0;
  std::uint64_t charged = 0;
  for (const auto& part : parts) {
    size_bytes += part->size();
    charged += part->charged_;
    part->charged_ = 0;
  }
  // Two small parts save less than a headroom takes: the whole then does without.
  const bool has_headroom = charged >= cost(size_bytes);
  std::shared_ptr<BlockMemory> whole(new BlockMemory(budget));
  whole->reallocate(size_bytes, has_headroom ? headroom_for(size_bytes) : 0);
  for (const auto& part : parts) {
    whole->write(whole->size(), part->bytes());
  }
  whole->charged_ = std::uint64_t{size_bytes} + whole->headroom_ + kBlockBookkeepingBytes;
  DFS_ASSERT(charged >= whole->charged_);
  budget.release(MemoryBudget::Use::kDirty, charged - whole->charged_);
  return whole;
}

Buffer BlockMemory::slice(std::uint32_t offset, std::uint32_t size_bytes) const {
  DFS_ASSERT(offset <= size_ && size_bytes <= size_ - offset);
  return Buffer(storage_, payload() + offset, size_bytes);
}

void BlockMemory::grow(std::uint32_t capacity_bytes, std::uint64_t& credit) {
  DFS_ASSERT(capacity_bytes >= capacity_);
  const std::uint64_t charge = cost(capacity_bytes);
  DFS_ASSERT(credit >= charge - charged_);
  credit -= charge - charged_;
  charged_ = charge;
  reallocate(capacity_bytes, headroom_for(capacity_bytes));
}

void BlockMemory::write(std::uint32_t offset, std::span<const std::byte> data) {
  DFS_ASSERT(offset <= size_ && data.size() <= capacity_ - offset && !is_prefix_claimed_);
  if (offset < seen_bytes_ && storage_.use_count() > 1) {
    reallocate(capacity_, headroom_);  // a reader still has the old bytes
  }
  std::memcpy(payload() + offset, data.data(), data.size());
  size_ = std::max(size_, offset + static_cast<std::uint32_t>(data.size()));
  seen_bytes_ = std::max(seen_bytes_, size_);
}

void BlockMemory::truncate(std::uint32_t size_bytes) {
  DFS_ASSERT(size_bytes <= size_);
  size_ = size_bytes;
}

std::byte* BlockMemory::claim_prefix(std::uint32_t prefix_bytes) {
  if (is_prefix_claimed_ || headroom_ < prefix_bytes) {
    return nullptr;
  }
  is_prefix_claimed_ = true;
  return payload() - prefix_bytes;
}

Buffer BlockMemory::with_prefix(std::uint32_t prefix_bytes) const {
  DFS_ASSERT(is_prefix_claimed_ && headroom_ >= prefix_bytes);
  return Buffer(storage_, payload() - prefix_bytes, prefix_bytes + size_);
}

void BlockMemory::reallocate(std::uint32_t capacity_bytes, std::uint32_t headroom) {
  DFS_ASSERT(capacity_bytes >= size_ && capacity_bytes > 0);
  DFS_ASSERT(capacity_bytes <= kBlockPayloadBytesMax);
  // Plain new: make_shared would fill what is about to be written anyway.
  std::shared_ptr<std::byte[]> storage(new std::byte[headroom + capacity_bytes]);
  if (size_ > 0) {
    std::memcpy(storage.get() + headroom, payload(), size_);
  }
  storage_ = std::move(storage);
  headroom_ = headroom;
  capacity_ = capacity_bytes;
  seen_bytes_ = size_;
}

}  // namespace dfs::client
