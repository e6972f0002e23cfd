// The real Disk: files of the operating system, with small pools of threads for what blocks.
//
// What the page cache can give at once is read in the loop's thread (RWF_NOWAIT), since handing
// a small read to a thread and back costs more than the read; everything else goes to a pool. Syncs
// have a pool of their own, so that a slow disk flush does not hold up reads. Syncs of one file
// that wait are served by one fdatasync, which covers every write that completed before it began.
//
// Once a sync of an open file failed, its later syncs fail too: Linux forgets a write error after
// it was reported once, and would call data stable that never reached the disk.
//
// Bounded by its callers' requests in flight. Files and completions may outlive the PosixDisk's
// owner's interest, but the loop must outlive the PosixDisk; destruction completes what was started
// and drops the completions with the loop.
#pragma once

#include <cstddef>
#include <memory>

#include "common/disk.h"
#include "common/real/event_loop.h"

namespace dfs::real {

struct PosixDiskOptions {
  std::size_t threads = 4;  // reads and writes
  std::size_t sync_threads = 4;
  std::size_t inline_bytes_max = 64 * 1024;  // larger reads and writes always go to a thread
};

class PosixDisk final : public Disk {
 public:
  explicit PosixDisk(EventLoop& loop, PosixDiskOptions options = {});
  // Files may still be open, but must not be used any more.
  ~PosixDisk() override;

  Result<std::shared_ptr<DiskFile>> open(const std::string& path, OpenMode mode) override;
  // Durable on return: a directory that was made is not lost with its files' names still in it.
  Status make_directory(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;  // a file or an empty directory
  Result<DiskSpace> space(const std::string& path) override;
  Result<std::string> read_file(const std::string& path) override;
  Status write_file(const std::string& path, const std::string& contents) override;
  void sync_directory(const std::string& path, std::function<void(Status)> done) override;

  struct Shared;

 private:
  std::unique_ptr<Shared> shared_;
};

}  // namespace dfs::real
