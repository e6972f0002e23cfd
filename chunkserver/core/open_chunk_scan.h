// What is in the file of an unsealed chunk, found at start by reading all of it.
//
// A power loss or a kill leaves a torn tail: the scan ends before the first block that is not
// whole, and the caller cuts the file there. A damaged block that is followed by an intact one is
// no torn tail but rot (or bytes nobody was promised): cutting there would take what may be
// committed behind it, so it stays, marked, and reading it fails.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chunkserver/core/block_check.h"
#include "common/disk.h"
#include "common/ids.h"
#include "common/result.h"

namespace dfs::chunkserver {

struct OpenChunkScan {
  std::vector<BlockMark> blocks;
  Epoch epoch;                    // the newest of the blocks
  std::uint32_t valid_bytes = 0;  // of the file, from its start; 0 when no block is there
  std::uint64_t file_bytes = 0;
  bool intact_behind = false;  // an intact block stands beyond valid_bytes, behind a gap
};

// Blocking. Fails with kCorrupt, kWrongFormat or kWrongCluster (the chunk header is bad, newer or
// another chunk's or cluster's, and blocks may follow) or as the disk.
Result<OpenChunkScan> scan_open_chunk(DiskFile& file, ChunkId chunk, const std::string& cluster_id);

}  // namespace dfs::chunkserver
