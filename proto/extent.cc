#include "proto/extent.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/assert.h"
#include "proto/block.h"
#include "proto/little_endian.h"

namespace dfs {
namespace {

constexpr std::uint8_t kStoredVersion = 1;
constexpr std::size_t kStoredExtentBytes = 32;

// Whether `second` goes on where `first` ends, in the file and in the same block.
bool continues(const Extent& first, const Extent& second) {
  return first.end() == second.file_offset && first.chunk == second.chunk &&
         first.block_offset == second.block_offset && first.block_bytes == second.block_bytes &&
         first.payload_offset + first.length_bytes == second.payload_offset;
}

// What stands in the place of `count` extents from `first` after a change: at most the rest of the
// first one, the new one, and the rest of the last one, or these merged.
class Replacement {
 public:
  void add(const Extent& extent) {
    if (count_ > 0 && continues(pieces_[count_ - 1], extent)) {
      pieces_[count_ - 1].length_bytes += extent.length_bytes;
      return;
    }
    DFS_ASSERT(count_ < kPiecesMax);
    pieces_[count_++] = extent;
  }

  void replace(std::vector<Extent>& extents, std::size_t first, std::size_t count) const {
    const auto at = extents.begin() + static_cast<std::ptrdiff_t>(first);
    const std::size_t common = std::min(count, count_);
    std::copy_n(pieces_, common, at);
    const auto behind = at + static_cast<std::ptrdiff_t>(common);
    if (count > common) {
      extents.erase(behind, at + static_cast<std::ptrdiff_t>(count));
    } else {
      extents.insert(behind, pieces_ + common, pieces_ + count_);
    }
  }

 private:
  static constexpr std::size_t kPiecesMax = 3;
  Extent pieces_[kPiecesMax];
  std::size_t count_ = 0;
};

// Index of the first extent that ends behind `offset`.
std::size_t first_behind(const std::vector<Extent>& extents, std::uint64_t offset) {
  const auto found =
      std::partition_point(extents.begin(), extents.end(),
                           [offset](const Extent& extent) { return extent.end() <= offset; });
  return static_cast<std::size_t>(found - extents.begin());
}

void store_extent(const Extent& extent, char* out) {
  store_little_endian(out, extent.file_offset);
  store_little_endian(out + 8, extent.length_bytes);
  store_little_endian(out + 12, extent.chunk.value);
  store_little_endian(out + 20, extent.block_offset);
  store_little_endian(out + 24, extent.block_bytes);
  store_little_endian(out + 28, extent.payload_offset);
}

Extent load_extent(const char* in) {
  Extent extent;
  extent.file_offset = load_little_endian<std::uint64_t>(in);
  extent.length_bytes = load_little_endian<std::uint32_t>(in + 8);
  extent.chunk = ChunkId{load_little_endian<std::uint64_t>(in + 12)};
  extent.block_offset = load_little_endian<std::uint32_t>(in + 20);
  extent.block_bytes = load_little_endian<std::uint32_t>(in + 24);
  extent.payload_offset = load_little_endian<std::uint32_t>(in + 28);
  return extent;
}

}  // namespace

Extent clip(const Extent& extent, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t from = std::max(begin, extent.file_offset);
  const std::uint64_t to = std::min(end, extent.end());
  DFS_ASSERT(from < to);
  Extent part = extent;
  part.file_offset = from;
  part.length_bytes = static_cast<std::uint32_t>(to - from);
  part.payload_offset += static_cast<std::uint32_t>(from - extent.file_offset);
  return part;
}

Status validate(const Extent& extent) {
  if (extent.length_bytes == 0 || extent.length_bytes > kFileBytesMax ||
      extent.file_offset > kFileBytesMax - extent.length_bytes) {
    return make_error(ErrorCode::kInvalidArgument, "extent outside of any file");
  }
  if (!extent.chunk.is_set() || extent.block_bytes == 0 ||
      extent.block_bytes > kBlockPayloadBytesMax || extent.block_offset < kChunkHeaderBytes ||
      extent.block_offset > kChunkBytesMax - block_total_bytes(extent.block_bytes)) {
    return make_error(ErrorCode::kInvalidArgument, "extent names a block that cannot be");
  }
  if (extent.length_bytes > extent.block_bytes ||
      extent.payload_offset > extent.block_bytes - extent.length_bytes) {
    return make_error(ErrorCode::kInvalidArgument, "extent exceeds its block");
  }
  return ok();
}

ExtentList::ExtentList(std::vector<Extent> extents) : extents_(std::move(extents)) {
  for (std::size_t i = 0; i < extents_.size(); ++i) {
    DFS_ASSERT(extents_[i].length_bytes > 0);
    DFS_ASSERT(i == 0 || extents_[i - 1].end() <= extents_[i].file_offset);
  }
}

std::vector<Extent> ExtentList::insert(const Extent& extent) {
  DFS_ASSERT(extent.end() > extent.file_offset);
  std::vector<Extent> displaced = find(extent.file_offset, extent.end());
  std::size_t first = first_behind(extents_, extent.file_offset);
  std::size_t last = first;  // one behind the last that is touched
  Replacement replacement;
  if (first > 0 && continues(extents_[first - 1], extent)) {
    replacement.add(extents_[--first]);
  }
  if (last < extents_.size() && extents_[last].file_offset < extent.file_offset) {
    replacement.add(clip(extents_[last], extents_[last].file_offset, extent.file_offset));
  }
  replacement.add(extent);
  while (last < extents_.size() && extents_[last].file_offset < extent.end()) {
    ++last;
  }
  if (last > first && extents_[last - 1].end() > extent.end()) {
    replacement.add(clip(extents_[last - 1], extent.end(), extents_[last - 1].end()));
  } else if (last < extents_.size() && continues(extent, extents_[last])) {
    replacement.add(extents_[last++]);
  }
  replacement.replace(extents_, first, last - first);
  return displaced;
}

std::vector<Extent> ExtentList::remove(std::uint64_t begin, std::uint64_t end) {
  std::vector<Extent> removed = find(begin, end);
  if (removed.empty()) {
    return removed;
  }
  const std::size_t first = first_behind(extents_, begin);
  const std::size_t last = first + removed.size();
  Replacement rest;
  if (extents_[first].file_offset < begin) {
    rest.add(clip(extents_[first], extents_[first].file_offset, begin));
  }
  if (extents_[last - 1].end() > end) {
    rest.add(clip(extents_[last - 1], end, extents_[last - 1].end()));
  }
  rest.replace(extents_, first, last - first);
  return removed;
}

std::vector<Extent> ExtentList::find(std::uint64_t begin, std::uint64_t end) const {
  std::vector<Extent> found;
  if (begin >= end) {
    return found;
  }
  for (std::size_t i = first_behind(extents_, begin);
       i < extents_.size() && extents_[i].file_offset < end; ++i) {
    found.push_back(clip(extents_[i], begin, end));
  }
  return found;
}

std::string encode_extents(const std::vector<Extent>& extents) {
  std::string bytes(1 + extents.size() * kStoredExtentBytes, '\0');
  bytes[0] = static_cast<char>(kStoredVersion);
  char* out = bytes.data() + 1;
  for (const Extent& extent : extents) {
    store_extent(extent, out);
    out += kStoredExtentBytes;
  }
  return bytes;
}

Result<std::vector<Extent>> decode_extents(std::string_view bytes) {
  if (bytes.empty() || (bytes.size() - 1) % kStoredExtentBytes != 0) {
    return make_error(ErrorCode::kCorrupt,
                      "stored extents of " + std::to_string(bytes.size()) + " bytes");
  }
  const auto version = static_cast<std::uint8_t>(bytes[0]);
  if (version != kStoredVersion) {
    return make_error(ErrorCode::kCorrupt,
                      "stored extents of format version " + std::to_string(version));
  }
  std::vector<Extent> extents;
  extents.reserve((bytes.size() - 1) / kStoredExtentBytes);
  for (std::size_t at = 1; at < bytes.size(); at += kStoredExtentBytes) {
    const Extent extent = load_extent(bytes.data() + at);
    const auto valid = validate(extent);
    if (!valid || (!extents.empty() && extents.back().end() > extent.file_offset)) {
      return make_error(ErrorCode::kCorrupt, "stored extent " + std::to_string(extents.size()) +
                                                 (valid ? " overlaps" : " is impossible"));
    }
    extents.push_back(extent);
  }
  return extents;
}

}  // namespace dfs
