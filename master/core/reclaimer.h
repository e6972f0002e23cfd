// Frees what nobody can reach any more, in slices between requests.
//
//  1. Orphans that no session can have open, and windows cut off by truncations: their extents'
//     live bytes are subtracted, then the rows go.
//  2. Sealed chunks without live bytes: the chunk's row goes and its replicas' rows become
//     kDeleting, in a commit to stable storage. Only after that are the servers told
//     (ReplicaDeleter), so no power loss of the master can bring back a reference to bytes that
//     are gone.
//
// Between slices requests are served. With nothing to do the store is asked once an interval at
// most, and not at all when the last look found no orphan. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <set>

#include "common/world.h"
#include "master/core/chunk_changes.h"
#include "master/core/internal_operations.h"
#include "master/core/op_context.h"
#include "master/core/replica_deleter.h"

namespace dfs::master {

// Rows of one slice: one or two milliseconds.
inline constexpr std::size_t kReclaimRowsPerSlice = 64;

class Reclaimer {
 public:
  // All outlive this.
  Reclaimer(Scheduler& scheduler, InternalOperations& operations, ReplicaDeleter& deleter,
            Duration interval)
      : operations_(operations), deleter_(deleter), interval_(interval), timer_(scheduler) {}

  void start();
  // There may be something new to free. Cheap; may be called before start().
  void wake();

 private:
  struct Slice;

  void run();
  void free_orphans();
  void delete_chunks();
  void pause(Duration duration);
  static Status free_some(OpContext& context, Slice& slice);
  static Status free_one(OpContext& context, Slice& slice, const OrphanRow& orphan,
                         ChunkChanges& changes);
  static Status erase_orphan(OpContext& context, const OrphanRow& orphan);
  static Status hide_rest(OpContext& context, InodeRow inode, std::uint64_t freed_bytes);

  InternalOperations& operations_;
  ReplicaDeleter& deleter_;
  Duration interval_;
  Timer timer_;
  bool is_started_ = false;
  bool is_running_ = false;
  bool has_work_ = true;  // orphans exist, or wake() was called since the last look
  InodeId after_;         // where the next slice goes on
};

}  // namespace dfs::master
