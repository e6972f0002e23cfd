// CRC32C (Castagnoli), the checksum of every block. Computed by ISA-L with the CPU's instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dfs {

// The CRC of `bytes`, or of an earlier part and `bytes` behind it when `crc` is that part's CRC.
// crc32c of "123456789" is 0xE3069283.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace dfs
