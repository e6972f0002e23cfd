// A block on its way: bytes of one file that were taken out of the buffer by a flush and stay
// unchanged until a CommitExtents that names them was answered.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/ids.h"
#include "fuse-client/core/block_memory.h"
#include "proto/extent.h"

namespace dfs::client {

struct FlightBlock {
  enum class State {
    kWaiting,     // for a chunk with room
    kPlaced,      // in a chunk: about to be appended, or appended
    kStable,      // on stable storage of every replica
    kCommitting,  // named by a CommitExtents under way
  };

  InodeId inode;
  std::uint64_t file_offset = 0;
  std::uint32_t length = 0;
  std::uint32_t memory_offset = 0;  // of the first byte, a whole number of cells
  std::uint64_t order = 0;          // commits of a file follow it; flushes wait for it
  Timestamp mtime;
  Timestamp ctime;
  std::shared_ptr<BlockMemory> memory;
  std::vector<std::uint32_t> checksums;  // one for each cell, once computed
  State state = State::kWaiting;
  bool is_dropped = false;  // nobody wants it any more
  ChunkId chunk;            // while placed
  std::uint32_t block_offset = 0;
  // It had no place, or its place failed: by ChunkPool::waiting_clock().
  std::optional<MonoTime> trouble_since;

  std::uint64_t end() const { return file_offset + length; }
  std::uint32_t room_bytes() const { return block_total_bytes(length); }
  std::span<const std::byte> payload() const {
    return memory->bytes().subspan(memory_offset, length);
  }
  Extent extent() const { return {file_offset, length, chunk, block_offset, length, 0}; }
};
using FlightBlockPtr = std::shared_ptr<FlightBlock>;

}  // namespace dfs::client
