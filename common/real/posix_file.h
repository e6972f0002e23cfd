// An open file of the PosixDisk.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/real/owned_fd.h"
#include "common/real/posix_disk.h"
#include "common/real/worker_pool.h"

namespace dfs::real {

// What the disk and its open files share.
struct PosixDisk::Shared {
  Shared(EventLoop& event_loop, const PosixDiskOptions& disk_options)
      : loop(event_loop),
        options(disk_options),
        transfers(disk_options.threads),
        syncs(disk_options.sync_threads) {}

  EventLoop& loop;
  const PosixDiskOptions options;
  WorkerPool transfers;
  WorkerPool syncs;
};

// From a job: has `done` called in the loop's thread. It is moved and never copied: a copy left in
// the job would be destroyed in its thread, and with it what a core keeps alive by the callback.
template <class Answer>
void answer(EventLoop& loop, std::function<void(Answer)> done, Answer value) {
  loop.post_from_thread(
      [done = std::move(done), value = std::move(value)]() mutable { done(std::move(value)); });
}

// Jobs hold the file, so that its descriptor stays open until they are done.
class PosixFile final : public DiskFile, public std::enable_shared_from_this<PosixFile> {
 public:
  PosixFile(PosixDisk::Shared& disk, OwnedFd fd, std::string path)
      : disk_(disk), fd_(std::move(fd)), path_(std::move(path)) {}

  void read(std::uint64_t offset, std::uint64_t size_bytes,
            std::function<void(Result<Buffer>)> done) override;
  void write(std::uint64_t offset, Buffer data, std::function<void(Status)> done) override;
  void sync(std::function<void(Status)> done) override;

  Result<std::uint64_t> size_bytes() override;
  Result<Buffer> read_now(std::uint64_t offset, std::uint64_t size_bytes) override;
  Status truncate_now(std::uint64_t size_bytes) override;

 private:
  using SyncDone = std::function<void(Status)>;

  void queue_sync();
  void run_sync();

  PosixDisk::Shared& disk_;
  const OwnedFd fd_;
  const std::string path_;
  bool can_read_cached_ = true;  // these two: the loop's thread only
  bool can_write_cached_ = true;

  std::mutex sync_mutex_;  // leaf; guards what follows
  std::vector<SyncDone> waiting_syncs_;
  bool is_sync_queued_ = false;   // a job waits that will take waiting_syncs_
  bool is_sync_running_ = false;  // it began before what waits now was asked for
  std::optional<Error> sync_failure_;
};

}  // namespace dfs::real
