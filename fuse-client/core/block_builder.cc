#include "fuse-client/core/block_builder.h"

#include <algorithm>
#include <cstring>

#include "proto/block.h"

namespace dfs::client {
namespace {

bool is_sent_in_place(const FlightBlock& block) {
  return block.length >= kInPlaceBytesMin && block.length == block.memory->size();
}

}  // namespace

std::optional<Frame> BlockBuilder::build(std::deque<FlightBlockPtr>& queue,
                                         std::uint32_t chunk_offset) {
  DFS_ASSERT(!queue.empty());
  if (is_sent_in_place(*queue.front())) {
    if (auto frame = build_in_place(queue.front(), chunk_offset)) {
      queue.pop_front();
      return frame;
    }
  }
  return build_copy(queue, chunk_offset);
}

std::optional<Frame> BlockBuilder::build_in_place(const FlightBlockPtr& block,
                                                  std::uint32_t chunk_offset) {
  const std::uint32_t prefix_bytes = block_prefix_bytes(block->length);
  // Only once: the transport may still be reading a prefix written for an earlier chunk.
  std::byte* prefix = block->memory->claim_prefix(prefix_bytes);
  if (prefix == nullptr) {
    return std::nullopt;
  }
  write_prefix(*block, chunk_offset, prefix);
  Frame frame;
  frame.chunk_offset = chunk_offset;
  frame.size_bytes = block->room_bytes();
  frame.bulk = block->memory->with_prefix(prefix_bytes);
  frame.blocks.push_back(block);
  DFS_ASSERT(frame.bulk.size() == frame.size_bytes);
  return frame;
}

std::optional<Frame> BlockBuilder::build_copy(std::deque<FlightBlockPtr>& queue,
                                              std::uint32_t chunk_offset) {
  std::size_t count = 0;
  std::size_t total_bytes = 0;
  while (count < queue.size() && count < kAppendBlocksMax) {
    const FlightBlock& block = *queue[count];
    const bool fits = total_bytes + block.room_bytes() <= frame_bytes_max();
    if (count > 0 && (!fits || is_sent_in_place(block))) {
      break;
    }
    total_bytes += block.room_bytes();
    ++count;
  }
  if (!memory_.try_reserve(MemoryBudget::Use::kInFlight, total_bytes)) {
    return std::nullopt;
  }
  std::shared_ptr<std::byte[]> bytes(new std::byte[total_bytes]);
  Frame frame;
  frame.chunk_offset = chunk_offset;
  frame.size_bytes = static_cast<std::uint32_t>(total_bytes);
  frame.reserved_bytes = total_bytes;
  std::byte* out = bytes.get();
  for (; count > 0; --count) {
    FlightBlock& block = *queue.front();
    const std::uint32_t prefix_bytes = block_prefix_bytes(block.length);
    write_prefix(block, chunk_offset, out);
    std::memcpy(out + prefix_bytes, block.payload().data(), block.length);
    out += block.room_bytes();
    chunk_offset += block.room_bytes();
    frame.blocks.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  const std::byte* data = bytes.get();
  frame.bulk = Buffer(std::move(bytes), data, total_bytes);
  return frame;
}

void BlockBuilder::write_prefix(FlightBlock& block, std::uint32_t chunk_offset,
                                std::byte* out) const {
  if (block.checksums.empty()) {
    block.checksums = cell_checksums(block.payload());
  }
  block.block_offset = chunk_offset;
  BlockHeader header;
  header.chunk = chunk_;
  header.epoch = epoch_;
  header.inode = block.inode;
  header.file_offset = block.file_offset;
  header.payload_bytes = block.length;
  header.chunk_offset = chunk_offset;
  header.sequence = block.order;
  encode_block_prefix(header, block.checksums, out);
}

// With a small cap several frames must still fit their share of it.
std::size_t BlockBuilder::frame_bytes_max() const {
  const auto share = memory_.share(MemoryBudget::Use::kInFlight) / 8;
  return static_cast<std::size_t>(std::min<std::uint64_t>(kAppendBytesMax, share));
}

}  // namespace dfs::client
