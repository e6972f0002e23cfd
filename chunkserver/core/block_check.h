// Finding and checking the blocks of a chunk, the same way on arrival, at start and when a replica
// is verified.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "proto/block.h"

namespace dfs::chunkserver {

// Where a block lies in its chunk, and a number that tells its bytes from others: the header's CRC
// covers the header and the checksum table, and so the payload.
struct BlockMark {
  std::uint32_t offset = 0;
  std::uint32_t end = 0;
  std::uint32_t header_crc = 0;
  // False for a block found damaged at start. It is kept because intact blocks follow it, and is
  // never taken for the repetition of an append.
  bool intact = true;

  bool same_bytes(const BlockMark& other) const {
    return intact && other.intact && offset == other.offset && end == other.end &&
           header_crc == other.header_crc;
  }
};

struct CheckedBlock {
  BlockMark mark;
  Epoch epoch;
};

// The bytes the block at the start of `bytes` claims to have, when its header is one for this
// place. `bytes` holds at least kBlockHeaderBytes. Fails with kCorrupt.
Result<std::uint32_t> claimed_block_bytes(std::span<const std::byte> bytes, ChunkId chunk,
                                          std::uint32_t offset);

// The block at the start of `bytes`: every checksum, its chunk and its place. Fails with kCorrupt,
// also when `bytes` ends before the block does.
Result<CheckedBlock> check_block(std::span<const std::byte> bytes, ChunkId chunk,
                                 std::uint32_t offset);

// The blocks of an append's bulk frame, back to back from `offset`, nothing left over, all of
// `epoch`. Fails with kCorrupt, and kTooLarge beyond kAppendBlocksMax.
Result<std::vector<BlockMark>> check_append(std::span<const std::byte> frame, ChunkId chunk,
                                            Epoch epoch, std::uint32_t offset);

}  // namespace dfs::chunkserver
