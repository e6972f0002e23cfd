// Fences: epochs below which appends to a chunk are refused, kept in small files.
//
// A fence holds from the moment it is raised; the answer waits until its file is on stable storage.
// A chunk that was never made here can be fenced too, so that a late first append is refused.
// One thread; files are written through the disk's own completions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/directory_set.h"
#include "common/disk.h"
#include "common/ids.h"
#include "common/result.h"

namespace dfs::chunkserver {

class Fences {
 public:
  using Done = std::function<void(Status)>;

  Fences(Disk& disk, DirectorySet& directories);

  // The epoch the chunk is fenced at; 0 when it is not.
  Epoch epoch(ChunkId chunk) const;

  // Fences the chunk at `epoch` or what it is fenced at already, whichever is newer. `done` gets
  // the outcome of making that durable, in `directory` unless the chunk has a fence elsewhere; at
  // once when it already is.
  void raise(ChunkId chunk, Epoch epoch, std::size_t directory, Done done);

  // Removes the fence of a chunk that is sealed or deleted.
  void forget(ChunkId chunk);

  // At start: the fence in a file of `directory`. Fails with kCorrupt.
  Status load(ChunkId chunk, std::size_t directory);
  // What was kept in a directory that failed.
  void drop_directory(std::size_t directory);

 private:
  struct Waiter {
    Epoch epoch;
    Done done;
  };
  struct Fence {
    Epoch epoch;
    Epoch durable;
    std::size_t directory = 0;
    std::uint64_t serial = 0;  // tells a fence from a forgotten one of the same chunk
    bool writing = false;
    std::vector<Waiter> waiters;
  };
  // One write of a fence's file, under way.
  struct Writing {
    ChunkId chunk;
    Epoch epoch;
    std::size_t directory = 0;
    std::uint64_t serial = 0;
  };

  void write(ChunkId chunk);
  void rename_written(const Writing& writing);
  void finish(const Writing& writing, const Status& status);
  // The fence that is being written; null when it was forgotten meanwhile.
  Fence* find(const Writing& writing);

  Disk& disk_;
  DirectorySet& directories_;
  std::map<ChunkId, Fence> fences_;
  std::uint64_t next_serial_ = 1;
  Alive alive_;
};

}  // namespace dfs::chunkserver
