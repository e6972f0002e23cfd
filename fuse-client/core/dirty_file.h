// The dirty bytes of one file.
//
// Two layers: buffered blocks, which writes change in place and extend, and over which nothing
// lies; and blocks in flight, which are frozen. Where blocks in flight overlap the newer is seen. A
// block never crosses a multiple of 1 MiB of the file, so it never crosses an extent window.
// Bounded by the MemoryBudget the caller reserves from.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/ids.h"
#include "fuse-client/core/flight_block.h"
#include "fuse-client/core/write_back.h"

namespace dfs::client {

class DirtyFile {
 public:
  enum class Freeze { kAll, kFullBlocks };

  DirtyFile(InodeId inode, MemoryBudget& memory) : inode_(inode), memory_(memory) {}
  DirtyFile(const DirtyFile&) = delete;
  DirtyFile& operator=(const DirtyFile&) = delete;

  // What write() with these arguments takes from its credit, exactly.
  std::uint64_t memory_needed(std::uint64_t offset, std::uint64_t size_bytes) const;
  // At least what that many bytes take in chunks.
  static std::uint64_t room_needed(std::uint64_t size_bytes);

  // Precondition: credit covers memory_needed.
  void write(std::uint64_t offset, std::span<const std::byte> data, std::uint64_t& credit);

  // Takes buffered blocks into flight, in order of offset and numbered from `next_order`;
  // neighbours within 1 MiB become one block. Returns those blocks.
  std::vector<FlightBlockPtr> freeze(Freeze what, std::uint64_t& next_order);
  // Cuts a block in flight that has no place yet in two; the second part is returned.
  // Precondition: `first_bytes` is a multiple of the cell size, less than its length.
  FlightBlockPtr split(const FlightBlockPtr& block, std::uint32_t first_bytes);
  // Committed, or lost: forgets the block.
  void drop(FlightBlockPtr block);
  // Forgets buffered bytes at and beyond `size_bytes`.
  void cut(std::uint64_t size_bytes);

  // The newest contents of blocks in flight within the range.
  std::vector<DirtyRange> flight_ranges(std::uint64_t begin, std::uint64_t end) const;
  // Bytes that are older than everything dirty: they become dirty where nothing is. The estimate is
  // an upper bound.
  std::uint64_t memory_needed_to_fill(const std::vector<DirtyRange>& ranges) const;
  void fill(const std::vector<DirtyRange>& ranges, std::uint64_t& credit);

  std::vector<DirtyRange> ranges(std::uint64_t begin, std::uint64_t end) const;
  std::uint64_t end() const;  // of the furthest dirty byte

  const std::deque<FlightBlockPtr>& flight() const { return flight_; }  // oldest first
  // Of the newest block in flight; 0: none is.
  std::uint64_t last_order() const { return flight_.empty() ? 0 : flight_.back()->order; }
  bool has_buffered() const { return !buffered_.empty(); }
  bool is_clean() const { return buffered_.empty() && flight_.empty(); }
  std::uint64_t buffered_bytes() const { return buffered_bytes_; }
  std::uint64_t dirty_bytes() const;  // buffered and in flight; what is both counts twice
  // What the buffered bytes will take in chunks.
  std::uint64_t buffered_room() const { return buffered_room_; }
  // Bytes written in a row up to the last write.
  std::uint64_t run_bytes() const { return run_bytes_; }

  // For the blocks frozen from now on; set_mtime also changes those in flight.
  Timestamp mtime;
  Timestamp ctime;
  void set_mtime(Timestamp value);

 private:
  using Memory = std::shared_ptr<BlockMemory>;
  struct View {  // part of a block in flight that no newer one covers
    std::uint64_t end = 0;
    FlightBlockPtr block;
  };
  // What happens to the next bytes of a write.
  struct Step {
    enum class Kind { kInPlace, kExtend, kCreate } kind = Kind::kCreate;
    std::uint64_t base = 0;  // of the block
    std::uint32_t length = 0;
    std::uint32_t capacity = 0;  // of the block afterwards
    std::uint64_t cost = 0;
  };

  Step next_step(std::uint64_t position, std::uint64_t end, bool in_a_row) const;
  bool continues_run(std::uint64_t offset) const;
  std::uint64_t cost_of(std::uint64_t offset, std::uint64_t end, bool in_a_row) const;
  void put(std::uint64_t offset, std::span<const std::byte> data, bool in_a_row,
           std::uint64_t& credit);
  void count(const Memory& block, bool is_added);
  FlightBlockPtr make_flight(std::uint64_t offset, Memory memory, std::uint64_t order);
  void show(const FlightBlockPtr& block);
  void hide(const FlightBlockPtr& block);
  void add_views(std::uint64_t begin, std::uint64_t end, std::vector<DirtyRange>& out) const;
  std::vector<DirtyRange> gaps(const DirtyRange& range) const;

  InodeId inode_;
  MemoryBudget& memory_;
  std::map<std::uint64_t, Memory> buffered_;  // by offset
  std::map<std::uint64_t, View> views_;       // by offset
  std::deque<FlightBlockPtr> flight_;
  std::uint64_t buffered_bytes_ = 0;
  std::uint64_t buffered_room_ = 0;
  std::uint64_t run_end_ = 0;
  std::uint64_t run_bytes_ = 0;
};

}  // namespace dfs::client
