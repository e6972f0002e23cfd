// Replica: what this server knows about its copy of one chunk. Plain data; ReplicaStore owns the
// table of them, ReplicaWriter moves their ends. A ReplicaPtr kept by a disk operation outlives the
// replica's removal, which is what `gone` tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "chunkserver/core/block_check.h"
#include "common/disk.h"
#include "common/ids.h"
#include "common/result.h"
#include "proto/chunk_messages.h"

namespace dfs::chunkserver {

struct PendingWrite {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool finished = false;
};

struct WriteWaiter {
  std::uint32_t end = 0;
  bool sync = false;
  std::function<void(Status)> done;
};

// Of a replica that is not sealed.
struct OpenState {
  std::shared_ptr<DiskFile> file;  // for writing; null after a start until it is needed
  std::vector<BlockMark> blocks;   // of everything accepted, by offset
  std::uint32_t accepted_end = 0;  // written or being written, without a gap
  std::uint32_t synced_end = 0;    // known to be on stable storage
  bool name_synced = false;        // the directory entry is on stable storage
  bool sync_running = false;
  bool sealing = false;
  bool sync_failed = false;  // what is not in synced_end may be lost, whatever reads say
  // After a failed write or sync nothing more is appended, so that no hole can ever be covered.
  std::optional<Error> broken;
  std::uint32_t broken_at = 0;      // what ends beyond this will never be whole
  std::deque<PendingWrite> writes;  // by offset
  std::vector<WriteWaiter> waiters;
  std::vector<std::function<void()>> idle_waiters;  // run when no write and no sync is running
};

struct Replica {
  ChunkId chunk;
  Epoch epoch;                     // the newest seen; 0 for chunks found sealed at start
  std::uint32_t length_bytes = 0;  // of the file that is written and valid, from the start
  std::size_t directory = 0;
  bool sealed = false;
  bool damaged = false;
  bool gone = false;
  std::unique_ptr<OpenState> open;  // null: sealed

  // A replica without a block is as good as none.
  std::uint32_t valid_bytes() const { return length_bytes > kChunkHeaderBytes ? length_bytes : 0; }
  ReplicaInfo info() const { return {chunk, epoch, valid_bytes(), sealed, damaged}; }
};

using ReplicaPtr = std::shared_ptr<Replica>;

}  // namespace dfs::chunkserver
