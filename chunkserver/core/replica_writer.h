// ReplicaWriter: moves the ends of open replicas. Writes go out as they come, several at once; the
// valid length advances only over writes that are finished without a gap, and syncs that several
// callers wait for are one.
//
// After a failed write or sync the replica is broken: its valid length stays, nothing is appended
// any more, and waiters beyond it fail. A failed sync is never tried again: the kernel may have
// thrown the pages away. One thread.
#pragma once

#include <cstdint>
#include <functional>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/replica.h"
#include "chunkserver/core/replica_store.h"
#include "common/buffer.h"
#include "common/disk.h"
#include "common/result.h"

namespace dfs::chunkserver {

class ReplicaWriter {
 public:
  // Told of every error of a directory's disk.
  using DiskErrorHandler = std::function<void(std::size_t directory, const Error&)>;

  ReplicaWriter(Disk& disk, ReplicaStore& store, DiskErrorHandler on_disk_error);

  // Starts writing `data` at the accepted end, which it moves. Precondition: open, not broken, its
  // file open for writing.
  void append(const ReplicaPtr& replica, Buffer data);

  // Calls `done` once everything below `end` is written and, with `sync`, on stable storage; or
  // with the error that keeps it from ever being so. At once when nothing is left to wait for.
  // Precondition: open, `end` within what was accepted.
  void wait(const ReplicaPtr& replica, WriteWaiter waiter);
  // Calls `done` once no write and no sync of the replica is in progress; perhaps at once.
  void wait_idle(const ReplicaPtr& replica, std::function<void()> done);

  // Fails everything that waits on a replica that is gone.
  void abandon(const ReplicaPtr& replica, const Error& why);

 private:
  enum class Standing { kWaiting, kNeedsSync, kReached, kFailed };
  static Standing standing(const Replica& replica, const WriteWaiter& waiter);
  void on_written(const ReplicaPtr& replica, std::uint32_t begin, const Status& status);
  void start_sync(const ReplicaPtr& replica);
  void on_synced(const ReplicaPtr& replica, std::uint32_t end, const Status& status);
  void break_at(Replica& replica, std::uint32_t at, const Error& why);
  // Tells waiters whose time has come; starts a sync when one is needed.
  void settle(const ReplicaPtr& replica);

  Disk& disk_;
  ReplicaStore& store_;
  DiskErrorHandler on_disk_error_;
  Alive alive_;
};

}  // namespace dfs::chunkserver
