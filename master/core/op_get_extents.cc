#include <algorithm>
#include <vector>

#include "master/core/chunk_manager.h"
#include "master/core/extent_editor.h"
#include "master/core/operations.h"

namespace dfs::master {
namespace {

// One answer: at most this many windows, and no further window once it has this many extents. With
// the fullest window behind them that is below kHeadBytesMax.
constexpr std::size_t kWindowsPerAnswer = 1024;
constexpr std::size_t kExtentsPerAnswer = 4096;
// And the locations of their chunks: with very many chunks each is told with fewer replicas.
constexpr std::size_t kLocationBytesMax = 1u << 20;

Status collect(OpContext& context, const GetExtentsRequest& request, GetExtentsReply& reply) {
  const std::uint64_t first = request.offset / kExtentWindowBytes;
  const std::uint64_t last = (request.offset + request.length_bytes - 1) / kExtentWindowBytes;
  reply.covered_end = (last + 1) * kExtentWindowBytes;
  std::uint64_t next = first;
  std::size_t windows_read = 0;
  constexpr std::size_t kWindowsPerScan = 64;
  while (next <= last) {
    DFS_TRY(const auto windows, context.store.windows(request.inode, next, last, kWindowsPerScan));
    for (const WindowRow& window : windows) {
      const bool is_full = !reply.extents.empty() &&
                           reply.extents.size() + window.extents.size() > kExtentsPerAnswer;
      if (is_full || windows_read == kWindowsPerAnswer) {
        reply.covered_end = window.window * kExtentWindowBytes;
        return ok();
      }
      ++windows_read;
      reply.extents.insert(reply.extents.end(), window.extents.begin(), window.extents.end());
      next = window.window + 1;
    }
    if (windows.size() < kWindowsPerScan) {
      return ok();
    }
  }
  return ok();
}

// The first replicas, which are the best, stay.
void trim(std::vector<ChunkLocation>& locations) {
  constexpr std::size_t kNumbersBytes = 16;
  for (ChunkLocation& location : locations) {
    std::size_t bytes_left = kLocationBytesMax / locations.size();
    std::size_t kept = 0;
    while (kept < location.nodes.size() &&
           (kept == 0 || location.addresses[kept].size() + kNumbersBytes <= bytes_left)) {
      bytes_left -= std::min(bytes_left, location.addresses[kept].size() + kNumbersBytes);
      ++kept;
    }
    location.nodes.resize(kept);
    location.addresses.resize(kept);
  }
}

}  // namespace

Result<GetExtentsReply> apply(OpContext& context, const GetExtentsRequest& request) {
  if (request.offset > kFileBytesMax || request.length_bytes > kFileBytesMax) {
    return make_error(ErrorCode::kInvalidArgument, "the range is beyond any file");
  }
  DFS_TRY(const InodeRow inode, require_file(context, request.inode));
  GetExtentsReply reply;
  reply.attributes = inode.attributes;
  context.grant(inode.attributes);
  reply.covered_end = request.offset;
  if (request.length_bytes > 0) {
    DFS_CHECK_OK(collect(context, request, reply));
  }
  DFS_TRY(reply.locations, context.chunks.locations(context, reply.extents));
  trim(reply.locations);
  return reply;
}

}  // namespace dfs::master
