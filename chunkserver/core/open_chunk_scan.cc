#include "chunkserver/core/open_chunk_scan.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/assert.h"
#include "common/buffer.h"
#include "proto/block.h"

namespace dfs::chunkserver {

namespace {

constexpr std::string_view kBlockMagic = "DFSB";

// Two blocks of the largest size fit, so that a damaged one and the one behind it are seen at once.
constexpr std::uint32_t kWindowBytes = 2 * block_total_bytes(kBlockPayloadBytesMax);

class Scanner {
 public:
  Scanner(DiskFile& file, ChunkId chunk, std::uint32_t file_bytes, OpenChunkScan& scan)
      : file_(file), chunk_(chunk), file_bytes_(file_bytes), scan_(scan) {}

  Status run() {
    std::uint32_t at = kChunkHeaderBytes;
    for (;;) {
      DFS_TRY(const std::span<const std::byte> bytes, bytes_at(at));
      auto block = check_block(bytes, chunk_, at);
      if (!block) {
        DFS_TRY(block, damaged_but_followed(bytes, at));
      }
      if (block->mark.end == 0) {
        DFS_TRY(scan_.intact_behind, finds_block_behind(at));
        return ok();
      }
      scan_.epoch = std::max(scan_.epoch, block->epoch);
      at = scan_.valid_bytes = block->mark.end;
      scan_.blocks.push_back(block->mark);
    }
  }

 private:
  // All of the file from `at` on, or at least as much as a block can have twice.
  Result<std::span<const std::byte>> bytes_at(std::uint32_t at) {
    const std::uint32_t wanted = std::min(file_bytes_ - std::min(at, file_bytes_), kWindowBytes);
    if (at < window_at_ || at + wanted > window_at_ + window_.size()) {
      // Twice the size, so that small blocks do not each move the window.
      const std::uint32_t read_bytes = std::min(file_bytes_ - at, 2 * kWindowBytes);
      DFS_TRY(window_, file_.read_now(at, read_bytes));
      window_at_ = at;
      if (window_.size() < read_bytes) {
        return make_error(ErrorCode::kIo, "the file became shorter while it was read");
      }
    }
    return window_.bytes().subspan(at - window_at_);
  }

  // The mark of a damaged block, when its header has its size and an intact block follows; else an
  // empty one.
  Result<CheckedBlock> damaged_but_followed(std::span<const std::byte> bytes, std::uint32_t at) {
    if (bytes.size() < kBlockHeaderBytes) {
      return CheckedBlock{};
    }
    const auto total_bytes = claimed_block_bytes(bytes, chunk_, at);
    if (!total_bytes || *total_bytes >= bytes.size() ||
        !check_block(bytes.subspan(*total_bytes), chunk_, at + *total_bytes)) {
      return CheckedBlock{};
    }
    CheckedBlock damaged;
    damaged.mark = BlockMark{at, at + *total_bytes, 0, false};
    return damaged;
  }

  // Tells unwritten bytes from a gap with blocks behind it.
  Result<bool> finds_block_behind(std::uint32_t at) {
    while (file_bytes_ - std::min(at, file_bytes_) >= kBlockHeaderBytes) {
      DFS_TRY(const std::span<const std::byte> bytes, bytes_at(at));
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      const std::size_t found = text.find(kBlockMagic);
      if (found == std::string_view::npos) {
        at += static_cast<std::uint32_t>(bytes.size() - (kBlockMagic.size() - 1));
        continue;
      }
      at += static_cast<std::uint32_t>(found);
      DFS_TRY(const std::span<const std::byte> candidate, bytes_at(at));
      if (check_block(candidate, chunk_, at)) {
        return true;
      }
      ++at;
    }
    return false;
  }

  DiskFile& file_;
  const ChunkId chunk_;
  const std::uint32_t file_bytes_;
  OpenChunkScan& scan_;
  Buffer window_;
  std::uint32_t window_at_ = 0;
};

Status check_header(DiskFile& file, ChunkId chunk, const std::string& cluster_id) {
  DFS_TRY(const Buffer bytes, file.read_now(0, kChunkHeaderBytes));
  DFS_TRY(const ChunkHeader header, decode_chunk_header(bytes.bytes()));
  if (header.chunk != chunk) {
    return make_error(ErrorCode::kCorrupt, "its header is another chunk's");
  }
  if (header.cluster_id != cluster_id) {
    return make_error(ErrorCode::kWrongCluster, "its header is of another cluster");
  }
  return ok();
}

}  // namespace

Result<OpenChunkScan> scan_open_chunk(DiskFile& file, ChunkId chunk,
                                      const std::string& cluster_id) {
  OpenChunkScan scan;
  DFS_TRY(scan.file_bytes, file.size_bytes());
  if (scan.file_bytes <= kChunkHeaderBytes) {
    return scan;  // made and never appended to
  }
  DFS_CHECK_OK(check_header(file, chunk, cluster_id));
  const auto scanned_bytes = std::min<std::uint64_t>(scan.file_bytes, kChunkBytesMax);
  Scanner scanner(file, chunk, static_cast<std::uint32_t>(scanned_bytes), scan);
  DFS_CHECK_OK(scanner.run());
  return scan;
}

}  // namespace dfs::chunkserver
