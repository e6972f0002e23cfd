// What a simulated machine's disks hold: files with the bytes every process sees, and apart from
// them what a power loss would leave. It outlives the processes that use it.
//
// After crash() a file holds what it held at its last sync, and of each later write, by seeded
// choice, everything, nothing, or the part before or behind a multiple of 512 bytes. Names that
// were created, renamed or removed since their directory was synced come or go from a point in
// their order on; a file's own sync does not make its name durable. Directories themselves are
// durable when made.
//
// What a sync fails to write is lost as kernels lose it: it can still be read until forget_cached()
// or a crash, and later syncs do not write it.
//
// The operations here are synchronous and take no virtual time; SimDisk and SimVfs are the ports
// above it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/disk.h"
#include "common/result.h"
#include "tests/sim/sim_random.h"

namespace dfs::sim {

struct SimDiskFaults {
  bool fail_reads = false;  // kIo
  bool fail_opens = false;  // kBusy: the process has no descriptor left
  bool fail_writes = false;
  bool fail_syncs = false;
  bool read_only = false;                      // kReadOnly for whatever would change something
  std::uint64_t unreadable_from = UINT64_MAX;  // kIo for reads that reach this byte of a file
};

class SimDiskState {
 public:
  class File;
  using FilePtr = std::shared_ptr<File>;

  explicit SimDiskState(std::uint64_t seed) : random_(seed) {}
  SimDiskState(const SimDiskState&) = delete;
  SimDiskState& operator=(const SimDiskState&) = delete;

  // --- Knobs ---
  // Power loss. Kill the processes that use it first: handles from before fail with kIo.
  void crash();
  // Processes see of every file what is on the disk, and what was written since the last sync that
  // failed.
  void forget_cached();
  void set_capacity(std::uint64_t bytes) { capacity_bytes_ = bytes; }
  // For everything whose path begins with `prefix`.
  void set_faults(const std::string& prefix, SimDiskFaults faults) { faults_[prefix] = faults; }
  void clear_faults() { faults_.clear(); }
  bool has_faults() const { return !faults_.empty(); }
  // Flips one bit, durably where the byte is on stable storage. False when the file has no such
  // byte.
  bool flip_bit(const std::string& path, std::uint64_t offset, unsigned bit);

  // --- Files. Errors as in common/disk.h ---
  // Changes with each crash(): a handle remembers the one it was opened in.
  std::uint64_t generation() const { return generation_; }
  Result<FilePtr> open(const std::string& path, OpenMode mode);
  FilePtr open_unnamed();  // gone with its handle
  Result<std::string> read(const File& file, std::uint64_t offset, std::uint64_t size_bytes) const;
  Status write(File& file, std::uint64_t offset, std::string_view data);
  Status truncate(File& file, std::uint64_t size_bytes);
  // Makes, or fails to make, the first `changes` changes of the file durable (all of them by
  // default).
  Status sync(File& file, std::optional<std::uint64_t> changes = std::nullopt);

  // --- Names ---
  Status make_directory(const std::string& path);
  bool is_directory(const std::string& path) const { return directories_.contains(path); }
  bool exists(const std::string& path) const { return names_.contains(path); }
  Result<std::vector<std::string>> list(const std::string& path) const;
  Status rename(const std::string& from, const std::string& to);
  Status remove(const std::string& path);
  Status sync_directory(const std::string& path);
  // Replaces or makes a whole file, atomically and durably, and syncs its directory.
  Status write_file(const std::string& path, std::string_view contents);
  Result<DiskSpace> space(const std::string& path) const;

  SimRandom fork_random() { return random_.fork(); }
  // All files, sorted, and what is in one (nothing when it is not there): for tests.
  std::vector<std::string> all_files() const;
  std::string bytes(const std::string& path) const;
  std::uint64_t used_bytes() const { return used_bytes_; }

 private:
  // What makes `to` name `file` (or nothing) and `from` nothing, since a directory's last sync.
  struct NameChange {
    std::string to;
    FilePtr file;
    std::string from;  // empty: none
  };

  static std::string parent_of(const std::string& path);
  SimDiskFaults faults_of(const std::string& path) const;
  Status check_writable(const std::string& path) const;
  void log_change(const std::string& directory, NameChange change);
  void apply(std::map<std::string, FilePtr>& names, const NameChange& change) const;
  void set_size(File& file, std::uint64_t size_bytes);
  void recount_used();

  SimRandom random_;
  std::map<std::string, FilePtr> names_;
  std::map<std::string, FilePtr> durable_names_;
  std::map<std::string, std::vector<NameChange>> unsynced_names_;  // by directory
  std::set<std::string> directories_{"/"};
  std::map<std::string, SimDiskFaults> faults_;
  std::uint64_t capacity_bytes_ = std::uint64_t{1} << 40;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t generation_ = 1;
};

// One file's contents. Lives as long as a name or a handle needs it.
class SimDiskState::File {
 public:
  explicit File(std::string path) : path_(std::move(path)) {}

  const std::string& bytes() const { return bytes_; }
  const std::string& path() const { return path_; }  // its newest name
  std::uint64_t changes() const { return changes_; }

 private:
  friend class SimDiskState;

  struct Change {
    bool is_truncate = false;
    std::uint64_t offset = 0;  // or the new size
    std::string data;
  };
  static void apply(std::string& bytes, const Change& change);
  void crash(SimRandom& random);

  std::string path_;
  std::string bytes_;    // as processes see it
  std::string durable_;  // as of the last sync; what failed is missing
  std::vector<Change> unsynced_;
  std::uint64_t changes_ = 0;  // made so far
  bool is_named_ = true;
};

}  // namespace dfs::sim
