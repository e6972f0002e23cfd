// Extents: which bytes of which block hold which range of a file; and lists of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "proto/fields.h"
#include "proto/limits.h"

namespace dfs {

// A range of a file and where its bytes are: `length_bytes` bytes from `payload_offset` of the
// block that begins at `block_offset` of `chunk` and has `block_bytes` of payload.
struct Extent {
  std::uint64_t file_offset = 0;
  std::uint32_t length_bytes = 0;
  ChunkId chunk;
  std::uint32_t block_offset = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t payload_offset = 0;
  DFS_FIELDS(file_offset, length_bytes, chunk, block_offset, block_bytes, payload_offset)
  friend bool operator==(const Extent&, const Extent&) = default;
  std::uint64_t end() const { return file_offset + length_bytes; }
};

// The part of `extent` within [begin, end). Precondition: the two overlap.
Extent clip(const Extent& extent, std::uint64_t begin, std::uint64_t end);

// Checks one extent from a peer: lengths, bounds, inside its block. Fails with kInvalidArgument.
Status validate(const Extent& extent);

// Sorted, non-overlapping extents of one file or of one window of it. What no extent covers is a
// hole and reads as zeros.
class ExtentList {
 public:
  ExtentList() = default;
  // Precondition: sorted by file_offset, not overlapping.
  explicit ExtentList(std::vector<Extent> extents);

  // Lays `extent` over what is there; neighbours that continue each other in file and block are
  // merged. Returns the pieces that are not referenced any more.
  std::vector<Extent> insert(const Extent& extent);
  // Makes [begin, end) a hole. Returns the pieces removed.
  std::vector<Extent> remove(std::uint64_t begin, std::uint64_t end);
  // The pieces within [begin, end), clipped to it.
  std::vector<Extent> find(std::uint64_t begin, std::uint64_t end) const;

  const std::vector<Extent>& extents() const { return extents_; }
  std::size_t size() const { return extents_.size(); }
  bool empty() const { return extents_.empty(); }

 private:
  std::vector<Extent> extents_;
};

// The stored form of a window's extents (docs/FORMATS.md). decode fails with kCorrupt.
std::string encode_extents(const std::vector<Extent>& extents);
Result<std::vector<Extent>> decode_extents(std::string_view bytes);

}  // namespace dfs
