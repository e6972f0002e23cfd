#include "chunkserver/core/block_check.h"

#include <string>

#include "chunkserver/core/chunk_names.h"
#include "common/assert.h"
#include "proto/little_endian.h"

namespace dfs::chunkserver {

namespace {

std::uint32_t header_crc(std::span<const std::byte> block) {
  return load_little_endian<std::uint32_t>(&block[kBlockHeaderBytes - 4]);
}

Error corrupt_at(ChunkId chunk, std::uint32_t offset, const std::string& what) {
  return make_error(ErrorCode::kCorrupt, "block at " + std::to_string(offset) + " of chunk " +
                                             chunk_text(chunk) + ": " + what);
}

}  // namespace

Result<std::uint32_t> claimed_block_bytes(std::span<const std::byte> bytes, ChunkId chunk,
                                          std::uint32_t offset) {
  DFS_ASSERT(bytes.size() >= kBlockHeaderBytes);
  auto header = decode_block_header(bytes);
  if (!header) {
    return corrupt_at(chunk, offset, header.error().detail);
  }
  if (header->chunk != chunk || header->chunk_offset != offset) {
    return corrupt_at(chunk, offset, "it belongs to another place");
  }
  const std::uint32_t total_bytes = block_total_bytes(header->payload_bytes);
  if (total_bytes > kChunkBytesMax - offset) {
    return corrupt_at(chunk, offset, "it reaches beyond the end of a chunk");
  }
  return total_bytes;
}

Result<CheckedBlock> check_block(std::span<const std::byte> bytes, ChunkId chunk,
                                 std::uint32_t offset) {
  if (bytes.size() < kBlockHeaderBytes || offset > kChunkBytesMax) {
    return corrupt_at(chunk, offset, "it ends within its header");
  }
  DFS_TRY(const std::uint32_t total_bytes, claimed_block_bytes(bytes, chunk, offset));
  if (total_bytes > bytes.size()) {
    return corrupt_at(chunk, offset, "it ends early");
  }
  auto block = parse_block(bytes.first(total_bytes));
  if (!block) {
    return corrupt_at(chunk, offset, block.error().detail);
  }
  return CheckedBlock{BlockMark{offset, offset + total_bytes, header_crc(bytes)},
                      block->header.epoch};
}

Result<std::vector<BlockMark>> check_append(std::span<const std::byte> frame, ChunkId chunk,
                                            Epoch epoch, std::uint32_t offset) {
  DFS_ASSERT(offset <= kChunkBytesMax && frame.size() <= kChunkBytesMax - offset);
  std::vector<BlockMark> marks;
  std::size_t at = 0;
  while (at < frame.size()) {
    if (marks.size() == kAppendBlocksMax) {
      return make_error(ErrorCode::kTooLarge, "the append has too many blocks");
    }
    const std::uint32_t block_offset = offset + static_cast<std::uint32_t>(at);
    DFS_TRY(const CheckedBlock block, check_block(frame.subspan(at), chunk, block_offset));
    if (block.epoch != epoch) {
      return corrupt_at(chunk, block_offset, "its epoch is not that of the append");
    }
    marks.push_back(block.mark);
    at += block.mark.end - block.mark.offset;
  }
  return marks;
}

}  // namespace dfs::chunkserver
