// DirectorySet: the data directories of this server, whose they are, how full they are, and which
// of them failed.
//
// All directories of a server carry the same identity (format_file.h). A directory that fails is
// taken out until the next start; the others go on. Blocking disk calls, all of them on names and
// small files. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chunkserver/core/chunk_names.h"
#include "chunkserver/core/format_file.h"
#include "common/disk.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/random.h"
#include "common/result.h"
#include "proto/node_messages.h"

namespace dfs::chunkserver {

// Whether an error of this code means that the directory is of no use any more.
constexpr bool is_directory_failure(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kReadOnly;
}

// This process lacks something (open files, memory): it says nothing of the directory or a replica.
constexpr bool is_shortage(ErrorCode code) {
  return code == ErrorCode::kBusy || code == ErrorCode::kNoMemory;
}

class DirectorySet {
 public:
  DirectorySet(Disk& disk, Random& random, Log& log, std::vector<std::string> paths,
               std::optional<std::uint64_t> reserve_bytes);

  // Reads the identity of every directory, makes what is not there yet. A directory that cannot be
  // read is failed, alone. Fails with kInvalidArgument (no or too many paths), kWrongFormat
  // (another or newer format, chunks without a format file, directories of different servers),
  // kWrongCluster (directories of different clusters), or as the disk when no directory can say who
  // this server is.
  Status open();

  // Called inside whatever finds a directory failed. Set before open.
  void on_failed(std::function<void(std::size_t directory, const Error&)> handler) {
    failed_handler_ = std::move(handler);
  }

  const DirectoryIdentity& identity() const { return identity_; }
  // Writes the cluster into every directory of a new server. Precondition: it has none yet.
  Status adopt_cluster(const std::string& cluster_id);

  std::size_t count() const { return directories_.size(); }
  bool is_usable(std::size_t directory) const { return !at(directory).failed; }
  std::size_t usable_count() const;
  // Takes the directory out, logs why and tells the handler; nothing when it was out already.
  void fail(std::size_t directory, const Error& why);
  // Whether the directory still is there, is this server's and can be written to.
  Status probe(std::size_t directory);

  // The usable directory with the most room above the watermark, counting what its open chunks may
  // still take. Fails with kNoSpace when all are below it, kIo when none is usable.
  Result<std::size_t> choose_for_new_chunk();
  void count_open_chunk(std::size_t directory, bool added);

  std::vector<DirectoryInfo> infos();

  const std::string& path(std::size_t directory) const { return at(directory).path; }
  std::string chunks_path(std::size_t directory) const;
  std::string folder_path(std::size_t directory, ChunkId chunk) const;
  std::string file_path(std::size_t directory, ChunkId chunk, FileKind kind) const;

 private:
  struct Directory {
    std::string path;
    bool failed = false;
    std::string failure;
    std::uint64_t total_bytes = 0;
    std::uint64_t available_bytes = 0;  // above the watermark
    std::uint64_t open_chunks = 0;
    std::optional<DirectoryIdentity> found;
  };

  Directory& at(std::size_t directory);
  const Directory& at(std::size_t directory) const;
  Status read_identity(std::size_t directory);
  Status check_agreement();
  Status write_identity(std::size_t directory);
  Status make_folders(std::size_t directory);
  // Runs `step`; a failure of the disk takes the directory out and counts as done.
  template <class Step>
  Status try_on(std::size_t directory, Step step);
  Status refresh_space(std::size_t directory);
  std::string new_uuid();

  Disk& disk_;
  Random& random_;
  Log& log_;
  std::optional<std::uint64_t> reserve_bytes_;
  std::vector<Directory> directories_;
  DirectoryIdentity identity_;
  std::function<void(std::size_t, const Error&)> failed_handler_;
};

}  // namespace dfs::chunkserver
