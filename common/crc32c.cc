#include "common/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace dfs {
namespace {

constexpr std::size_t kStepBytes = std::size_t{1} << 30;  // ISA-L takes an int length

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
  std::uint32_t state = ~crc;
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), kStepBytes);
    // ISA-L's prototype lacks const; it only reads.
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    state = crc32_iscsi(data, static_cast<int>(step), state);
    bytes = bytes.subspan(step);
  }
  return ~state;
}

}  // namespace dfs
