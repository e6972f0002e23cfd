#include "master/core/reclaimer.h"

#include <limits>
#include <utility>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/lease_table.h"
#include "master/core/metadata_check.h"
#include "master/core/session_table.h"

namespace dfs::master {

struct Reclaimer::Slice {
  InodeId after;
  std::size_t rows_left = kReclaimRowsPerSlice;
  bool is_pass_over = false;  // no orphan behind `after`
  bool has_orphans = false;   // seen any at all
  bool has_dead_chunks = false;
};

void Reclaimer::start() {
  is_started_ = true;
  pause(interval_);
}

void Reclaimer::wake() {
  has_work_ = true;
  if (is_started_ && !is_running_ && !timer_.is_armed()) {
    pause(interval_);
  }
}

void Reclaimer::pause(Duration duration) {
  timer_.start(duration, [this] { run(); });
}

void Reclaimer::run() {
  if (!has_work_) {
    return;  // wake() starts the timer again
  }
  DFS_ASSERT(!is_running_);
  is_running_ = true;
  free_orphans();
}

void Reclaimer::free_orphans() {
  if (!after_.is_set()) {
    has_work_ = false;  // until this pass finds some, or somebody wakes us meanwhile
  }
  auto slice = std::make_shared<Slice>();
  auto free = [slice, after = after_](OpContext& context) {
    *slice = Slice{};
    slice->after = after;
    return free_some(context, *slice);
  };
  auto done = [this, slice](Status status) {
    is_running_ = false;
    if (!status) {
      has_work_ = true;
      pause(interval_);
      return;
    }
    has_work_ = has_work_ || slice->has_orphans || slice->has_dead_chunks;
    after_ = slice->is_pass_over ? InodeId{} : slice->after;
    if (slice->has_dead_chunks) {
      is_running_ = true;
      delete_chunks();
    } else if (has_work_ || after_.is_set()) {
      has_work_ = true;
      pause(slice->is_pass_over ? interval_ : Duration::zero());
    }
  };
  operations_.submit(std::move(free), std::move(done), false);
}

Status Reclaimer::free_some(OpContext& context, Slice& slice) {
  ChunkChanges changes;
  DFS_TRY(const auto orphans, context.store.scan_orphans(slice.after, kReclaimRowsPerSlice));
  slice.has_orphans = !orphans.empty();
  slice.is_pass_over = orphans.size() < kReclaimRowsPerSlice;
  for (const OrphanRow& orphan : orphans) {
    if (slice.rows_left == 0) {
      slice.is_pass_over = false;
      break;
    }
    DFS_CHECK_OK(free_one(context, slice, orphan, changes));
  }
  DFS_CHECK_OK(changes.apply(context));
  DFS_TRY(const auto dead, context.store.scan_dead_chunks(1));
  slice.has_dead_chunks = !dead.empty();
  return ok();
}

// Moves slice.after behind the orphan when there is no more to do for it in this pass.
Status Reclaimer::free_one(OpContext& context, Slice& slice, const OrphanRow& orphan,
                           ChunkChanges& changes) {
  --slice.rows_left;
  DFS_TRY(const auto inode, context.store.inode(orphan.inode));
  if (inode && !context.sessions.may_free(orphan)) {
    slice.after = orphan.inode;
    return ok();
  }
  constexpr std::uint64_t kLastWindow = std::numeric_limits<std::int64_t>::max();
  // One more than may be freed: tells whether something would be left.
  DFS_TRY(const auto windows,
          context.store.windows(orphan.inode, 0, kLastWindow, slice.rows_left + 1));
  std::uint64_t freed_bytes = 0;
  for (const WindowRow& window : windows) {
    if (slice.rows_left == 0) {
      slice.is_pass_over = false;
      return inode ? hide_rest(context, *inode, freed_bytes) : ok();
    }
    --slice.rows_left;
    changes.subtract_live(window.extents);
    for (const Extent& extent : window.extents) {
      freed_bytes += extent.length_bytes;
    }
    DFS_CHECK_OK(context.store.erase_window(orphan.inode, window.window));
  }
  slice.after = orphan.inode;
  return erase_orphan(context, orphan);
}

Status Reclaimer::erase_orphan(OpContext& context, const OrphanRow& orphan) {
  DFS_TRY(const auto inode, context.store.inode(orphan.inode));
  if (inode) {
    DFS_CHECK_OK(context.store.erase_xattrs(orphan.inode));
    DFS_CHECK_OK(context.store.erase_inode(orphan.inode));
    context.after_commit([&leases = context.leases, gone = orphan.inode] { leases.erase(gone); });
    DFS_CHECK_OK(context.add_to_counter(Counter::kInodes, -1));
  }
  return context.store.erase_orphan(orphan.inode);
}

// Somebody who all the same still knows the inode must see an empty file, not zeros where its
// windows are already gone.
Status Reclaimer::hide_rest(OpContext& context, InodeRow inode, std::uint64_t freed_bytes) {
  Attributes& attributes = inode.attributes;
  attributes.size_bytes = 0;
  attributes.used_bytes -= std::min(attributes.used_bytes, freed_bytes);
  DFS_TRY(attributes.data_version, context.take_number(Counter::kDataVersion));
  return context.store.put_inode(inode);
}

void Reclaimer::delete_chunks() {
  auto nodes = std::make_shared<std::set<NodeId>>();
  auto remove = [nodes](OpContext& context) -> Status {
    nodes->clear();
    DFS_TRY(const auto dead, context.store.scan_dead_chunks(kReclaimRowsPerSlice));
    for (const ChunkRow& chunk : dead) {
      DFS_ASSERT(chunk.state == ChunkState::kSealed && chunk.live_bytes == 0);
      DFS_TRY(const auto replicas, context.store.replicas(chunk.chunk));
      for (ReplicaRow replica : replicas) {
        replica.state = ReplicaRowState::kDeleting;
        DFS_CHECK_OK(context.store.put_replica(replica));
        nodes->insert(replica.node);
      }
      context.chunks.metadata_check().chunk_changed(chunk.chunk);
      DFS_CHECK_OK(context.store.erase_chunk(chunk.chunk));
    }
    return ok();
  };
  auto done = [this, nodes](Status status) {
    is_running_ = false;
    has_work_ = true;
    if (status) {
      for (const NodeId node : *nodes) {
        deleter_.look(node);
      }
    }
    pause(status ? Duration::zero() : interval_);
  };
  operations_.submit(std::move(remove), std::move(done), true);
}

}  // namespace dfs::master
