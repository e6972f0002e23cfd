// DirectoryScan: reads one data directory at start and puts what it holds into the ReplicaStore.
#pragma once

#include <cstddef>
#include <string>

#include "chunkserver/core/chunk_names.h"
#include "chunkserver/core/directory_set.h"
#include "chunkserver/core/replica.h"
#include "common/disk.h"
#include "common/log.h"
#include "common/result.h"

namespace dfs::chunkserver {

class ReplicaStore;
struct OpenChunkScan;

class DirectoryScan {
 public:
  DirectoryScan(Disk& disk, DirectorySet& directories, ReplicaStore& store, Log& log,
                std::size_t directory);

  // Fails as the disk when the directory cannot be read; single bad files are set aside.
  Status run();

 private:
  Status scan_folder(const std::string& name);
  Status scan_file(const std::string& folder, const std::string& name);
  Status scan_sealed(ChunkId chunk, const std::string& path);
  Status scan_open(ChunkId chunk, const std::string& path);
  Status cut_tail(DiskFile& file, const std::string& path, const OpenChunkScan& scanned);
  // Whether `replica` is the one of its chunk to keep; an older one that is worse gives way.
  bool replaces(const Replica& replica, const std::string& path);
  void set_aside(ChunkId chunk, const std::string& path, const std::string& why);

  Disk& disk_;
  DirectorySet& directories_;
  ReplicaStore& store_;
  Log& log_;
  std::size_t directory_;
};

}  // namespace dfs::chunkserver
