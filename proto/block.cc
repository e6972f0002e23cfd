#include "proto/block.h"

#include <algorithm>
#include <array>

#include "common/assert.h"
#include "common/crc32c.h"
#include "proto/little_endian.h"

namespace dfs {
namespace {

// The layouts are those of docs/FORMATS.md.
constexpr std::array<char, 4> kBlockMagic = {'D', 'F', 'S', 'B'};
constexpr std::array<char, 4> kChunkMagic = {'D', 'F', 'S', 'C'};
constexpr std::uint8_t kBlockVersion = 1;
constexpr std::uint32_t kChunkVersion = 1;
constexpr std::size_t kCrcOffset = 60;  // in both headers
constexpr std::size_t kClusterIdDigits = 32;
constexpr std::string_view kDigits = "0123456789abcdef";

bool has_magic(std::span<const std::byte> bytes, const std::array<char, 4>& magic) {
  return std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

// Of a block: its header up to the CRC, and the checksum table.
std::uint32_t prefix_crc(std::span<const std::byte> prefix) {
  return crc32c(prefix.subspan(kBlockHeaderBytes), crc32c(prefix.first(kCrcOffset)));
}

std::string describe(const BlockHeader& header) {
  return "block at " + std::to_string(header.chunk_offset) + " of chunk " +
         std::to_string(header.chunk.value);
}

Error bad_cell(std::size_t cell) {
  return make_error(ErrorCode::kCorrupt, "checksum of cell " + std::to_string(cell));
}

// The cells of `payload` against checksums given by `expected(cell)`.
template <class Expected>
Status verify(std::span<const std::byte> payload, Expected expected) {
  for (std::size_t cell = 0; !payload.empty(); ++cell) {
    const std::size_t size = std::min<std::size_t>(payload.size(), kChecksumCellBytes);
    if (crc32c(payload.first(size)) != expected(static_cast<std::uint32_t>(cell))) {
      return bad_cell(cell);
    }
    payload = payload.subspan(size);
  }
  return ok();
}

int digit_value(char digit) {
  const auto at = kDigits.find(digit);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

}  // namespace

std::vector<std::uint32_t> cell_checksums(std::span<const std::byte> payload) {
  std::vector<std::uint32_t> checksums;
  checksums.reserve((payload.size() + kChecksumCellBytes - 1) / kChecksumCellBytes);
  while (!payload.empty()) {
    const std::size_t size = std::min<std::size_t>(payload.size(), kChecksumCellBytes);
    checksums.push_back(crc32c(payload.first(size)));
    payload = payload.subspan(size);
  }
  return checksums;
}

void encode_block_prefix(const BlockHeader& header, std::span<const std::uint32_t> checksums,
                         std::byte* out) {
  DFS_ASSERT(header.payload_bytes >= 1 && header.payload_bytes <= kBlockPayloadBytesMax);
  DFS_ASSERT(checksums.size() == cell_count(header.payload_bytes));
  const std::size_t prefix_bytes = block_prefix_bytes(header.payload_bytes);
  std::memset(out, 0, kBlockHeaderBytes);
  std::memcpy(out, kBlockMagic.data(), kBlockMagic.size());
  store_little_endian(out + 4, kBlockVersion);
  store_little_endian(out + 8, header.chunk.value);
  store_little_endian(out + 16, header.epoch.value);
  store_little_endian(out + 24, header.inode.value);
  store_little_endian(out + 32, header.file_offset);
  store_little_endian(out + 40, header.payload_bytes);
  store_little_endian(out + 44, header.chunk_offset);
  store_little_endian(out + 48, header.sequence);
  for (std::size_t cell = 0; cell < checksums.size(); ++cell) {
    store_little_endian(out + kBlockHeaderBytes + 4 * cell, checksums[cell]);
  }
  store_little_endian(out + kCrcOffset, prefix_crc({out, prefix_bytes}));
}

std::uint32_t BlockView::checksum(std::uint32_t cell) const {
  DFS_ASSERT(cell < checksum_table.size() / 4);
  return load_little_endian<std::uint32_t>(checksum_table.data() + std::size_t{4} * cell);
}

Result<BlockHeader> decode_block_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kBlockHeaderBytes) {
    return make_error(ErrorCode::kCorrupt, "a block header cut short");
  }
  if (!has_magic(bytes, kBlockMagic)) {
    return make_error(ErrorCode::kCorrupt, "no block begins here");
  }
  const auto version = load_little_endian<std::uint8_t>(&bytes[4]);
  if (version != kBlockVersion) {
    return make_error(ErrorCode::kCorrupt, "a block of format version " + std::to_string(version));
  }
  BlockHeader header;
  header.chunk = ChunkId{load_little_endian<std::uint64_t>(&bytes[8])};
  header.epoch = Epoch{load_little_endian<std::uint64_t>(&bytes[16])};
  header.inode = InodeId{load_little_endian<std::uint64_t>(&bytes[24])};
  header.file_offset = load_little_endian<std::uint64_t>(&bytes[32]);
  header.payload_bytes = load_little_endian<std::uint32_t>(&bytes[40]);
  header.chunk_offset = load_little_endian<std::uint32_t>(&bytes[44]);
  header.sequence = load_little_endian<std::uint64_t>(&bytes[48]);
  if (header.payload_bytes == 0 || header.payload_bytes > kBlockPayloadBytesMax) {
    return make_error(ErrorCode::kCorrupt,
                      "a block of " + std::to_string(header.payload_bytes) + " bytes");
  }
  if (header.chunk_offset < kChunkHeaderBytes ||
      header.chunk_offset > kChunkBytesMax - block_total_bytes(header.payload_bytes)) {
    return make_error(ErrorCode::kCorrupt, describe(header) + " is outside of it");
  }
  return header;
}

Result<BlockView> parse_block_prefix(std::span<const std::byte> prefix) {
  BlockView view;
  DFS_TRY(view.header, decode_block_header(prefix));
  const std::size_t prefix_bytes = block_prefix_bytes(view.header.payload_bytes);
  if (prefix.size() < prefix_bytes) {
    return make_error(ErrorCode::kCorrupt,
                      "checksum table of " + describe(view.header) + " cut short");
  }
  prefix = prefix.first(prefix_bytes);
  if (load_little_endian<std::uint32_t>(&prefix[kCrcOffset]) != prefix_crc(prefix)) {
    return make_error(ErrorCode::kCorrupt, "checksum of the header of " + describe(view.header));
  }
  view.checksum_table = prefix.subspan(kBlockHeaderBytes);
  return view;
}

Result<BlockView> parse_block(std::span<const std::byte> bytes) {
  DFS_TRY(BlockView view, parse_block_prefix(bytes));
  if (bytes.size() < block_total_bytes(view.header.payload_bytes)) {
    return make_error(ErrorCode::kCorrupt, describe(view.header) + " cut short");
  }
  view.payload =
      bytes.subspan(block_prefix_bytes(view.header.payload_bytes), view.header.payload_bytes);
  const auto verified =
      verify(view.payload, [&view](std::uint32_t cell) { return view.checksum(cell); });
  if (!verified) {
    return make_error(ErrorCode::kCorrupt,
                      verified.error().detail + " of " + describe(view.header));
  }
  return view;
}

Status verify_cells(std::span<const std::byte> cells, std::span<const std::uint32_t> checksums) {
  DFS_ASSERT(checksums.size() == (cells.size() + kChecksumCellBytes - 1) / kChecksumCellBytes);
  return verify(cells, [checksums](std::uint32_t cell) { return checksums[cell]; });
}

std::string encode_chunk_header(const ChunkHeader& header) {
  DFS_ASSERT(header.cluster_id.size() == kClusterIdDigits);
  std::string bytes(kChunkHeaderBytes, '\0');
  std::memcpy(bytes.data(), kChunkMagic.data(), kChunkMagic.size());
  store_little_endian(bytes.data() + 4, kChunkVersion);
  store_little_endian(bytes.data() + 8, header.chunk.value);
  for (std::size_t i = 0; i < kClusterIdDigits / 2; ++i) {
    const int high = digit_value(header.cluster_id[2 * i]);
    const int low = digit_value(header.cluster_id[2 * i + 1]);
    DFS_ASSERT(high >= 0 && low >= 0);
    bytes[16 + i] = static_cast<char>(high * 16 + low);
  }
  const auto covered = std::as_bytes(std::span(bytes)).first(kCrcOffset);
  store_little_endian(bytes.data() + kCrcOffset, crc32c(covered));
  return bytes;
}

Result<ChunkHeader> decode_chunk_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kChunkHeaderBytes || !has_magic(bytes, kChunkMagic)) {
    return make_error(ErrorCode::kCorrupt, "no chunk header");
  }
  // Magic and CRC have their places in every version, so a flipped bit is not taken for a newer
  // format.
  if (load_little_endian<std::uint32_t>(&bytes[kCrcOffset]) != crc32c(bytes.first(kCrcOffset))) {
    return make_error(ErrorCode::kCorrupt, "checksum of the chunk header");
  }
  const auto version = load_little_endian<std::uint32_t>(&bytes[4]);
  if (version > kChunkVersion) {
    return make_error(ErrorCode::kWrongFormat, "a chunk of format version " +
                                                   std::to_string(version) + ", newer than " +
                                                   std::to_string(kChunkVersion));
  }
  if (version != kChunkVersion) {
    return make_error(ErrorCode::kCorrupt, "a chunk of format version 0");
  }
  ChunkHeader header;
  header.chunk = ChunkId{load_little_endian<std::uint64_t>(&bytes[8])};
  for (std::size_t i = 16; i < 16 + kClusterIdDigits / 2; ++i) {
    const auto byte = std::to_integer<std::size_t>(bytes[i]);
    header.cluster_id += kDigits[byte / 16];
    header.cluster_id += kDigits[byte % 16];
  }
  return header;
}

}  // namespace dfs
