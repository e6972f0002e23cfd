// ReplicaStore: the table of this server's replicas, and their files.
//
// Holds every replica of every usable directory; names, opens, renames and removes their files.
// What is written into open ones is ReplicaWriter's. Memory is bounded by the number of replicas
// and, for open ones, of their blocks. Names are handled with the disk's blocking calls. One
// thread.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "chunkserver/core/directory_set.h"
#include "chunkserver/core/fences.h"
#include "chunkserver/core/lru_map.h"
#include "chunkserver/core/options.h"
#include "chunkserver/core/replica.h"
#include "common/disk.h"
#include "common/log.h"
#include "common/result.h"
#include "proto/chunk_messages.h"

namespace dfs::chunkserver {

class ReplicaStore {
 public:
  ReplicaStore(Disk& disk, DirectorySet& directories, Log& log, const Bounds& bounds);
  ~ReplicaStore();  // those who wait for writes are dropped, not told
  ReplicaStore(const ReplicaStore&) = delete;
  ReplicaStore& operator=(const ReplicaStore&) = delete;

  // Blocking, once at start: fills the table. Sealed chunks are trusted with their file's length,
  // torn tails of open ones are cut off. Files that are not ours or not readable as chunks are left
  // alone, logged, and not served. A directory that fails is taken out.
  Status scan();

  ReplicaPtr find(ChunkId chunk) const;  // null: none
  std::size_t size() const { return replicas_.size(); }
  // Up to `replicas_max` replicas with ids above `after`, by id.
  std::vector<ReplicaInfo> page(ChunkId after, std::size_t replicas_max) const;
  std::vector<ReplicaPtr> open_replicas() const;

  // The newest epoch known of a chunk, by its blocks or its fence; 0 when nothing is known.
  Epoch epoch(ChunkId chunk) const;
  // Whether the chunk was deleted not long ago: its id is never used again.
  bool was_deleted(ChunkId chunk) const { return deleted_.contains(chunk); }

  // Makes the file of a new open replica; nothing is written yet. Fails with kNoSpace (below the
  // watermark), or as the disk: `failed_directory` then tells where.
  Result<ReplicaPtr> create(ChunkId chunk, Epoch epoch, std::size_t* failed_directory);
  // The bytes a new chunk file begins with.
  Buffer chunk_header(ChunkId chunk) const;
  // The file, for reading. Kept open among the most recently used ones.
  Result<std::shared_ptr<DiskFile>> file(const ReplicaPtr& replica);
  // Makes sure an open replica's file is open for writing.
  Status open_for_writing(Replica& replica);
  // Renames an open replica's file and makes it a sealed one; the name is durable once the
  // folder is synced. Precondition: nothing is being written.
  Status rename_sealed(const ReplicaPtr& replica);
  std::string folder_path(const Replica& replica) const;

  // Removes the files, fence included, of a chunk, and whatever is known of it. The replica is
  // returned, `gone`, so that what is in progress on it can be failed; null when there was none.
  ReplicaPtr remove(ChunkId chunk);
  // Forgets everything in a failed directory; returns what was there, `gone`.
  std::vector<ReplicaPtr> drop_directory(std::size_t directory);
  // Forgets one replica whose file is not there any more.
  void drop(const ReplicaPtr& replica);

  Fences& fences() { return fences_; }

 private:
  friend class DirectoryScan;
  void add(ReplicaPtr replica);
  void forget(const ReplicaPtr& replica);

  Disk& disk_;
  DirectorySet& directories_;
  Log& log_;
  Fences fences_;
  std::map<ChunkId, ReplicaPtr> replicas_;
  std::map<ChunkId, std::vector<std::string>> set_aside_;  // files that are not served
  LruMap<ChunkId, std::shared_ptr<DiskFile>> files_;
  LruMap<ChunkId, char> deleted_;
};

}  // namespace dfs::chunkserver
