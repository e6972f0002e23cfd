// ReplicaSealer: the end of a replica's growth. The master fences it, cuts it to the length that is
// on all replicas, and seals it; or deletes it. Every step can be repeated. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/directory_set.h"
#include "chunkserver/core/replica_store.h"
#include "chunkserver/core/replica_writer.h"
#include "common/disk.h"
#include "common/result.h"
#include "proto/chunk_messages.h"

namespace dfs::chunkserver {

class ReplicaSealer {
 public:
  struct Hooks {
    ReplicaWriter::DiskErrorHandler on_disk_error;
    // The chunk takes no appends of older epochs, or none at all, from now on.
    std::function<void(ChunkId)> on_stopped;
  };

  ReplicaSealer(Disk& disk, DirectorySet& directories, ReplicaStore& store, ReplicaWriter& writer,
                Hooks hooks);

  // Refuses appends of epochs older than `epoch` from now on; answers once that is durable and the
  // writes that were under way are done. A chunk that is not here is fenced too. Fails with kIo,
  // kNoSpace.
  void fence(ChunkId chunk, Epoch epoch, std::function<void(Result<ReplicaInfo>)> done);

  // Cuts the replica to `length_bytes`, syncs and seals it; durable when answered. Deletes it when
  // there is no block in that length. Fails with kInvalidArgument (no block ends there),
  // kNoSuchChunk, kCorrupt (it is shorter), kSealed (a newer epoch is known, or it is sealed longer
  // and was not fenced since), kBusy (being sealed at another length), kIo, kNoSpace.
  void seal(const SealReplicaRequest& request, std::function<void(Status)> done);

  void remove(ChunkId chunk);

 private:
  using Done = std::function<void(Status)>;
  using FenceDone = std::function<void(Result<ReplicaInfo>)>;
  struct Sealing {
    std::uint32_t length_bytes = 0;
    std::vector<Done> waiting;
  };

  ReplicaInfo info(ChunkId chunk) const;
  Result<std::size_t> fence_directory(const ReplicaPtr& replica);
  void finish_fence(ChunkId chunk, const FenceDone& done);
  // Whether the replica can be cut to the length, now that nothing is being written.
  Status check_cut(const Replica& replica, std::uint32_t length_bytes) const;
  void cut(const ReplicaPtr& replica);
  Result<std::shared_ptr<DiskFile>> truncated_file(const ReplicaPtr& replica,
                                                   std::uint32_t length_bytes);
  void rename(const ReplicaPtr& replica);
  void finish_seal(const ReplicaPtr& replica, const Status& status);

  Disk& disk_;
  DirectorySet& directories_;
  ReplicaStore& store_;
  ReplicaWriter& writer_;
  Hooks hooks_;
  std::map<ChunkId, Sealing> sealings_;
  Alive alive_;
};

}  // namespace dfs::chunkserver
