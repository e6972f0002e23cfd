// Turns blocks in flight into frames: the bulk of one append, blocks back to back as they will
// stand in the chunk file.
//
// A large block is sent from its own memory, once; everything else is copied into a frame of at
// most kAppendBytesMax that is charged to the MemoryBudget as kInFlight until released. Checksums
// are computed once for a block, however often it must be sent.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "common/buffer.h"
#include "fuse-client/core/flight_block.h"
#include "fuse-client/core/memory_budget.h"
#include "proto/limits.h"
#include "proto/rpc_client.h"

namespace dfs::client {

struct Frame {
  std::uint32_t chunk_offset = 0;
  std::uint32_t size_bytes = 0;
  Buffer bulk;
  std::vector<FlightBlockPtr> blocks;
  std::uint64_t reserved_bytes = 0;  // as kInFlight
  bool has_sync = false;
  bool is_acknowledged = false;
  CallId call;

  std::uint32_t end() const { return chunk_offset + size_bytes; }
};

class BlockBuilder {
 public:
  BlockBuilder(MemoryBudget& memory, ChunkId chunk, Epoch epoch)
      : memory_(memory), chunk_(chunk), epoch_(epoch) {}

  // The next frame from the front of `queue`, which must not be empty; its blocks leave the queue
  // and know their place. None: no memory for the copy now.
  std::optional<Frame> build(std::deque<FlightBlockPtr>& queue, std::uint32_t chunk_offset);

 private:
  std::optional<Frame> build_in_place(const FlightBlockPtr& block, std::uint32_t chunk_offset);
  std::optional<Frame> build_copy(std::deque<FlightBlockPtr>& queue, std::uint32_t chunk_offset);
  void write_prefix(FlightBlock& block, std::uint32_t chunk_offset, std::byte* out) const;
  std::size_t frame_bytes_max() const;

  MemoryBudget& memory_;
  ChunkId chunk_;
  Epoch epoch_;
};

}  // namespace dfs::client
