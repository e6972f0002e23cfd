// Finds chunks for the blocks of flushes, and keeps the pool's promise in step with what is dirty.
//
// Blocks without a place wait for the next chunk. One that has been in trouble (no chunk, or its
// chunk broke) for write_wait is lost at the next answer of the master.
#pragma once

#include <functional>
#include <set>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/chunk_pool.h"
#include "fuse-client/core/file_state.h"

namespace dfs::client {

class BlockPlacer {
 public:
  // Blocks that waited too long; the owner drops them.
  using Lost = std::function<void(FileState&, std::vector<FlightBlockPtr>, Error)>;

  BlockPlacer(World world, FileTable& files, ChunkPool& pool, Duration write_wait, Lost lost);

  // Gives places to the file's waiting blocks as far as there are any.
  void place(FileState& file);
  // Takes placed blocks (not those being committed) away from where they are.
  void unplace(FileState& file, const std::vector<FlightBlockPtr>& blocks);
  // Blocks whose commit failed for the sake of their chunk: they are appended elsewhere.
  void place_again(FileState& file, const std::vector<FlightBlockPtr>& blocks);
  // The block leaves flight: its claim on room, or its hold on a chunk, ends.
  void release(FileState& file, const FlightBlockPtr& block);

  // All that is placed in this chunk and not being committed goes elsewhere.
  void chunk_broke(ChunkId chunk);
  // The master answered an OpenChunk for this policy.
  void chunk_answered(const StoragePolicy& policy, const Status& status);

  // Everything of the file that is placed is to be synced soon.
  void request_sync(const FileState& file);
  // After any change of what is dirty in the file: tells the pool what it needs.
  void update_promise(FileState& file);
  void set_policy(FileState& file, const StoragePolicy& policy);

 private:
  void retry(FileState& file);
  bool place_next(FileState& file, std::size_t index);
  void expire(FileState& file, const Error& error);

  World world_;
  FileTable& files_;
  ChunkPool& pool_;
  Duration write_wait_;
  Lost lost_;
  std::set<InodeId> waiting_;  // files with blocks that found no place
};

}  // namespace dfs::client
