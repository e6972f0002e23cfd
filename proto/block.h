// The block: the checksummed unit a chunk is made of, the same bytes on the wire and on disk.
//
// A chunk file is a 64-byte chunk header, then blocks back to back. A block is a 64-byte header,
// one CRC32C for each 4 KiB cell of its payload, and the payload. The writing client builds it,
// every replica checks it before storing it, and every reader checks what it uses, so a checksum
// travels with its bytes from the application's write to the application's read. The layout is in
// docs/FORMATS.md. Little-endian throughout. A block names its chunk, its place there and the file
// range it holds: a misdirected write is noticed, and a file can be found without the master.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "proto/limits.h"

namespace dfs {

inline constexpr std::uint32_t kBlockHeaderBytes = 64;
inline constexpr std::uint32_t kChunkHeaderBytes = 64;

constexpr std::uint32_t cell_count(std::uint32_t payload_bytes) {
  return (payload_bytes + kChecksumCellBytes - 1) / kChecksumCellBytes;
}
// Bytes of a block before its payload.
constexpr std::uint32_t block_prefix_bytes(std::uint32_t payload_bytes) {
  return kBlockHeaderBytes + 4 * cell_count(payload_bytes);
}
// Bytes of a whole block.
constexpr std::uint32_t block_total_bytes(std::uint32_t payload_bytes) {
  return block_prefix_bytes(payload_bytes) + payload_bytes;
}

struct BlockHeader {
  ChunkId chunk;
  Epoch epoch;  // of the chunk when the block was appended
  InodeId inode;
  std::uint64_t file_offset = 0;    // where the payload stood in the file when written
  std::uint32_t payload_bytes = 0;  // 1 … kBlockPayloadBytesMax
  std::uint32_t chunk_offset = 0;   // where in the chunk file this block begins
  std::uint64_t sequence = 0;       // the writer's, rising with each block it makes
};

// CRC32C of each cell of `payload`.
std::vector<std::uint32_t> cell_checksums(std::span<const std::byte> payload);

// Writes header and checksum table to `out`, which must hold block_prefix_bytes(payload_bytes).
// Precondition: checksums.size() == cell_count(header.payload_bytes).
void encode_block_prefix(const BlockHeader& header, std::span<const std::uint32_t> checksums,
                         std::byte* out);

struct BlockView {
  BlockHeader header;
  std::span<const std::byte> checksum_table;  // 4 bytes a cell, little-endian
  std::span<const std::byte> payload;
  std::uint32_t checksum(std::uint32_t cell) const;
};

// The header of a block whose first bytes are `bytes` (at least kBlockHeaderBytes). Only magic,
// version and bounds are checked: the checksum of the header needs the table, see parse_block.
// Fails with kCorrupt.
Result<BlockHeader> decode_block_header(std::span<const std::byte> bytes);

// Header and table, checked against the header's CRC; payload left empty.
// `prefix` must hold the whole prefix. Fails with kCorrupt.
Result<BlockView> parse_block_prefix(std::span<const std::byte> prefix);

// The block at the start of `bytes`, every checksum verified. Fails with kCorrupt, naming what.
Result<BlockView> parse_block(std::span<const std::byte> bytes);

// Checks cells against their checksums: `cells` begins at a cell boundary of the payload and only
// its last cell may be short. Precondition: one checksum for each cell. Fails with kCorrupt.
Status verify_cells(std::span<const std::byte> cells, std::span<const std::uint32_t> checksums);

// The 64 bytes before the first block: magic, format version, chunk and cluster, CRC.
struct ChunkHeader {
  ChunkId chunk;
  std::string cluster_id;  // 32 hex digits
};
std::string encode_chunk_header(const ChunkHeader& header);
// Fails with kCorrupt, or kWrongFormat for a newer version.
Result<ChunkHeader> decode_chunk_header(std::span<const std::byte> bytes);

}  // namespace dfs
