// Collects what an operation changes about chunks and writes each chunk's row once.
//
// live_bytes says how much of a chunk files still refer to; at zero a sealed chunk is deleted, so
// an error towards zero would lose data. If the sums do not add up, the chunk is kept for ever
// instead and an error is logged: leaking 64 MiB is the lesser harm.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "master/core/op_context.h"
#include "proto/extent.h"

namespace dfs::master {

class ChunkChanges {
 public:
  void add_live(std::span<const Extent> extents);
  void subtract_live(std::span<const Extent> extents);
  // The chunk was committed up to the end of the block of `extent`.
  void extend_to(const Extent& extent);

  // Writes the rows and counters. Call once, at the end. Errors of the Store.
  Status apply(OpContext& context) const;

 private:
  struct Change {
    std::int64_t live_bytes = 0;
    std::uint32_t length_bytes = 0;
  };
  Result<std::int64_t> apply_to(OpContext& context, ChunkId chunk, const Change& change) const;

  std::map<ChunkId, Change> changes_;
};

// Where the block of `extent` ends in its chunk file.
std::uint64_t block_end(const Extent& extent);

}  // namespace dfs::master
