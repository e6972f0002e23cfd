// The memory of one dirty block: the bytes of a contiguous range of a file, at most 1 MiB.
//
// Large ones keep room in front of the payload for a block's header and checksums, so that they are
// sent from where they lie. What the memory really takes is charged to the MemoryBudget from
// construction to destruction; the charge comes out of a credit the caller reserved before.
// One thread; only the Buffers handed out may live and die elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/buffer.h"
#include "fuse-client/core/memory_budget.h"
#include "proto/block.h"

namespace dfs::client {

// From this capacity on a block is sent from its own memory instead of being copied into a frame.
inline constexpr std::uint32_t kInPlaceBytesMin = 128u << 10;
inline constexpr std::uint32_t kBlockHeadroomBytes = block_prefix_bytes(kBlockPayloadBytesMax);
// Charged for what is kept about each block.
inline constexpr std::uint32_t kBlockBookkeepingBytes = 320;

class BlockMemory {
 public:
  // What a block with this capacity charges.
  static std::uint64_t cost(std::uint32_t capacity_bytes);
  // The capacity to grow to when `needed_bytes` must fit and more may follow, up to `limit_bytes`.
  static std::uint32_t grown(std::uint32_t capacity_bytes, std::uint32_t needed_bytes,
                             std::uint32_t limit_bytes);

  // Precondition: credit covers cost(capacity_bytes), and it is reserved as kDirty.
  BlockMemory(MemoryBudget& budget, std::uint32_t capacity_bytes, std::uint64_t& credit);
  ~BlockMemory();
  BlockMemory(const BlockMemory&) = delete;
  BlockMemory& operator=(const BlockMemory&) = delete;

  // One block with the bytes of all, back to back. It costs no more than they did.
  static std::shared_ptr<BlockMemory> joined(
      MemoryBudget& budget, const std::vector<std::shared_ptr<BlockMemory>>& parts);

  std::uint32_t size() const { return size_; }
  std::uint32_t capacity() const { return capacity_; }
  std::span<const std::byte> bytes() const { return {payload(), size_}; }
  // Shares the memory; its bytes stay as they are, whatever is written afterwards.
  Buffer slice(std::uint32_t offset, std::uint32_t size_bytes) const;

  // Precondition: credit covers the difference of the costs.
  void grow(std::uint32_t capacity_bytes, std::uint64_t& credit);
  // Over bytes that are there or right behind them. Precondition: within the capacity.
  void write(std::uint32_t offset, std::span<const std::byte> data);
  void truncate(std::uint32_t size_bytes);

  // Once for each memory, if it has room for a prefix: the place for `prefix_bytes` right before
  // the payload, and then prefix and payload as one Buffer. Else null.
  std::byte* claim_prefix(std::uint32_t prefix_bytes);
  Buffer with_prefix(std::uint32_t prefix_bytes) const;

 private:
  explicit BlockMemory(MemoryBudget& budget) : budget_(budget) {}
  std::byte* payload() const { return storage_.get() + headroom_; }
  void reallocate(std::uint32_t capacity_bytes, std::uint32_t headroom);

  MemoryBudget& budget_;
  std::shared_ptr<std::byte[]> storage_;
  std::uint32_t headroom_ = 0;
  std::uint32_t capacity_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t seen_bytes_ = 0;  // the largest size there was: slices may show bytes up to here
  std::uint64_t charged_ = 0;
  bool is_prefix_claimed_ = false;
};

}  // namespace dfs::client
