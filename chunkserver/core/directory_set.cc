#include "chunkserver/core/directory_set.h"

#include <algorithm>
#include <utility>

#include "chunkserver/core/options.h"
#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::chunkserver {

namespace {

constexpr const char* kProbeFile = "probe";

// A directory that is gone fails as one that cannot be read.
bool is_failure_at_start(ErrorCode code) {
  return is_directory_failure(code) || code == ErrorCode::kNotFound;
}

}  // namespace

DirectorySet::DirectorySet(Disk& disk, Random& random, Log& log, std::vector<std::string> paths,
                           std::optional<std::uint64_t> reserve_bytes)
    : disk_(disk), random_(random), log_(log), reserve_bytes_(reserve_bytes) {
  for (std::string& path : paths) {
    Directory directory;
    directory.path = std::move(path);
    directories_.push_back(std::move(directory));
  }
}

Status DirectorySet::open() {
  if (directories_.empty() || directories_.size() > kNodeDirectoriesMax) {
    return make_error(ErrorCode::kInvalidArgument,
                      "a chunkserver needs 1 to " + std::to_string(kNodeDirectoriesMax) +
                          " data directories, not " + std::to_string(directories_.size()));
  }
  for (std::size_t i = 0; i < count(); ++i) {
    DFS_CHECK_OK(try_on(i, [&] { return read_identity(i); }));
  }
  DFS_CHECK_OK(check_agreement());
  for (std::size_t i = 0; i < count(); ++i) {
    if (is_usable(i) && at(i).found != identity_) {
      DFS_CHECK_OK(try_on(i, [&] { return write_identity(i); }));
    }
    if (is_usable(i)) {
      DFS_CHECK_OK(try_on(i, [&] { return make_folders(i); }));
    }
    if (is_usable(i)) {
      DFS_CHECK_OK(try_on(i, [&] { return refresh_space(i); }));
    }
  }
  if (usable_count() == 0) {
    return make_error(ErrorCode::kIo, "no data directory can be used: " + at(0).failure);
  }
  return ok();
}

Status DirectorySet::adopt_cluster(const std::string& cluster_id) {
  DFS_ASSERT(identity_.cluster_id.empty() && is_identity_text(cluster_id));
  identity_.cluster_id = cluster_id;
  for (std::size_t i = 0; i < count(); ++i) {
    if (is_usable(i)) {
      DFS_CHECK_OK(try_on(i, [&] { return write_identity(i); }));
    }
  }
  return ok();
}

std::size_t DirectorySet::usable_count() const {
  return static_cast<std::size_t>(std::count_if(directories_.begin(), directories_.end(),
                                                [](const Directory& d) { return !d.failed; }));
}

void DirectorySet::fail(std::size_t directory, const Error& why) {
  Directory& failed = at(directory);
  if (failed.failed) {
    return;
  }
  failed.failed = true;
  failed.failure = error_code_name(why.code);
  if (!why.detail.empty()) {
    failed.failure += ": " + why.detail;
  }
  failed.available_bytes = 0;
  log_.error("Data directory failed and is taken out until the next start. path=" + failed.path +
             " reason=" + failed.failure);
  if (failed_handler_) {
    failed_handler_(directory, why);
  }
}

Status DirectorySet::probe(std::size_t directory) {
  const Directory& probed = at(directory);
  DFS_CHECK_OK(refresh_space(directory));
  auto contents = disk_.read_file(probed.path + "/" + kFormatFile);
  if (!contents) {
    return make_error(contents.code() == ErrorCode::kNotFound ? ErrorCode::kIo : contents.code(),
                      "its format file cannot be read: " + contents.error().detail);
  }
  DFS_TRY(const DirectoryIdentity found, decode_format_file(probed.path, *contents));
  if (found != identity_) {
    return make_error(ErrorCode::kWrongFormat, "its format file names another server now");
  }
  // Making a name shows a file system that has become read-only; nothing needs to be synced.
  const std::string name = probed.path + "/" + kProbeFile;
  auto file = disk_.open(name, OpenMode::kCreate);
  if (!file && file.code() != ErrorCode::kExists && file.code() != ErrorCode::kNoSpace) {
    return std::move(file).error();
  }
  auto removed = disk_.remove(name);
  if (!removed && removed.code() != ErrorCode::kNotFound) {
    return removed;
  }
  return ok();
}

Result<std::size_t> DirectorySet::choose_for_new_chunk() {
  std::optional<std::size_t> best;
  std::int64_t best_score = 0;
  for (std::size_t i = 0; i < count(); ++i) {
    if (!is_usable(i)) {
      continue;
    }
    auto refreshed = refresh_space(i);
    if (!refreshed) {
      fail(i, refreshed.error());
      continue;
    }
    const Directory& directory = at(i);
    const auto score = static_cast<std::int64_t>(directory.available_bytes) -
                       static_cast<std::int64_t>(directory.open_chunks * kChunkBytesMax);
    if (directory.available_bytes > 0 && (!best || score > best_score)) {
      best = i;
      best_score = score;
    }
  }
  if (best) {
    return *best;
  }
  if (usable_count() == 0) {
    return make_error(ErrorCode::kIo, "every data directory has failed");
  }
  return make_error(ErrorCode::kNoSpace, "every data directory is below its watermark");
}

void DirectorySet::count_open_chunk(std::size_t directory, bool added) {
  Directory& counted = at(directory);
  DFS_ASSERT(added || counted.open_chunks > 0);
  counted.open_chunks += added ? 1 : std::uint64_t(0) - 1;
}

std::vector<DirectoryInfo> DirectorySet::infos() {
  std::vector<DirectoryInfo> infos;
  for (std::size_t i = 0; i < count(); ++i) {
    if (is_usable(i)) {
      auto refreshed = refresh_space(i);
      if (!refreshed) {
        fail(i, refreshed.error());
      }
    }
    const Directory& directory = at(i);
    infos.push_back({directory.path, directory.total_bytes, directory.available_bytes,
                     directory.failed, directory.failure});
  }
  return infos;
}

std::string DirectorySet::chunks_path(std::size_t directory) const {
  return path(directory) + "/" + kChunksFolder;
}

std::string DirectorySet::folder_path(std::size_t directory, ChunkId chunk) const {
  return chunks_path(directory) + "/" + folder_name(folder_of(chunk));
}

std::string DirectorySet::file_path(std::size_t directory, ChunkId chunk, FileKind kind) const {
  return folder_path(directory, chunk) + "/" + file_name(chunk, kind);
}

DirectorySet::Directory& DirectorySet::at(std::size_t directory) {
  DFS_ASSERT(directory < directories_.size());
  return directories_[directory];
}

const DirectorySet::Directory& DirectorySet::at(std::size_t directory) const {
  DFS_ASSERT(directory < directories_.size());
  return directories_[directory];
}

Status DirectorySet::read_identity(std::size_t directory) {
  Directory& read = at(directory);
  DFS_CHECK_OK(disk_.make_directory(read.path));
  auto contents = disk_.read_file(read.path + "/" + kFormatFile);
  if (contents) {
    DFS_TRY(read.found, decode_format_file(read.path, *contents));
    return ok();
  }
  if (contents.code() != ErrorCode::kNotFound) {
    return std::move(contents).error();
  }
  // The format file is written before anything else; chunks without it are somebody's data.
  auto chunks = disk_.list(chunks_path(directory));
  if (!chunks && chunks.code() != ErrorCode::kNotFound) {
    return std::move(chunks).error();
  }
  if (chunks && !chunks->empty()) {
    return make_error(ErrorCode::kWrongFormat, read.path + ": holds chunks but no format file");
  }
  return ok();
}

Status DirectorySet::check_agreement() {
  std::string whose;
  for (std::size_t i = 0; i < count(); ++i) {
    const Directory& directory = at(i);
    if (!directory.found) {
      continue;
    }
    if (identity_.node_uuid.empty()) {
      identity_.node_uuid = directory.found->node_uuid;
      whose = directory.path;
    }
    if (directory.found->node_uuid != identity_.node_uuid) {
      return make_error(ErrorCode::kWrongFormat,
                        directory.path + ": belongs to another server than " + whose);
    }
    if (identity_.cluster_id.empty()) {
      identity_.cluster_id = directory.found->cluster_id;
    }
    if (!directory.found->cluster_id.empty() &&
        directory.found->cluster_id != identity_.cluster_id) {
      return make_error(ErrorCode::kWrongCluster,
                        directory.path + ": belongs to another cluster than " + whose);
    }
  }
  if (identity_.node_uuid.empty()) {
    // A server that made up a new identity while a directory with its old one is away would
    // split itself in two.
    if (usable_count() < count()) {
      return make_error(ErrorCode::kIo,
                        "no data directory that can be read says which server this is");
    }
    identity_.node_uuid = new_uuid();
  }
  return ok();
}

Status DirectorySet::write_identity(std::size_t directory) {
  return disk_.write_file(path(directory) + "/" + kFormatFile, encode_format_file(identity_));
}

Status DirectorySet::make_folders(std::size_t directory) {
  for (unsigned folder = 0; folder < kFoldersMax; ++folder) {
    DFS_CHECK_OK(disk_.make_directory(chunks_path(directory) + "/" + folder_name(folder)));
  }
  return ok();
}

template <class Step>
Status DirectorySet::try_on(std::size_t directory, Step step) {
  auto done = step();
  if (!done && is_failure_at_start(done.code())) {
    fail(directory, done.error());
    return ok();
  }
  return done;
}

Status DirectorySet::refresh_space(std::size_t directory) {
  Directory& refreshed = at(directory);
  DFS_TRY(const DiskSpace space, disk_.space(refreshed.path));
  const std::uint64_t reserve = reserve_bytes_.value_or(
      std::max(kReserveBytesDefault, space.total_bytes / kReserveShareDefault));
  refreshed.total_bytes = space.total_bytes;
  refreshed.available_bytes = space.available_bytes - std::min(space.available_bytes, reserve);
  return ok();
}

std::string DirectorySet::new_uuid() {
  return chunk_text(ChunkId{random_.next_u64()}) + chunk_text(ChunkId{random_.next_u64()});
}

}  // namespace dfs::chunkserver
