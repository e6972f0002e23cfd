// How much data one request of the kernel has at most.
//
// A write that has to wait lies in this process, whatever the memory limit, and each thread that
// writes can have one: as many of these as a machine has threads that write at once. So where the
// limit is low they are smaller; RSS stays within 64 MiB above it up to 200 such threads, and more
// with other limits than 256 MiB (tests/cluster/test_memory.py). What stays together of an append
// is a page less.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace dfs::fuse {

// What libfuse takes at most: 256 pages.
inline constexpr std::uint32_t kRequestBytesMax = 1u << 20;
inline constexpr std::uint32_t kRequestBytesMin = 128u << 10;  // as cp writes
inline constexpr std::uint64_t kRequestsInLimit = 256;

// A power of two.
constexpr std::uint32_t request_bytes_max(std::uint64_t memory_limit_bytes) {
  const std::uint64_t share = std::bit_floor(memory_limit_bytes / kRequestsInLimit);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(share, kRequestBytesMin, kRequestBytesMax));
}

}  // namespace dfs::fuse
