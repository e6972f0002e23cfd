#include "fuse-client/core/write_back.h"

#include <algorithm>
#include <utility>

#include "fuse-client/core/flusher.h"
#include "fuse-client/core/write_queue.h"

namespace dfs::client {

class WriteBack::Impl {
 public:
  Impl(World world, MasterLink& master, ChunkLinks& links, MemoryBudget& memory,
       const WriteBackOptions& options, WriteBackEvents write_back_events)
      : scheduler(world.scheduler),
        events(std::move(write_back_events)),
        flusher(world, master, links, memory, options, events,
                [this](const StoragePolicy& policy, const Status& status) {
                  queue.chunk_answered(policy, status);
                }),
        queue(world, flusher, memory, events, options.write_wait) {
    memory.on_room(lifetime.guard([this] { memory_released_soon(); }));
    master.on_new_session(lifetime.guard([this] { flusher.session_replaced(); }));
  }

  void memory_released_soon() {
    scheduler.post(lifetime.guard([this] {
      flusher.memory_released();
      queue.retry_soon();
    }));
  }

  Scheduler& scheduler;
  WriteBackEvents events;
  Flusher flusher;
  WriteQueue queue;
  Lifetime lifetime;
};

WriteBack::WriteBack(World world, MasterLink& master, ChunkLinks& chunkservers,
                     MemoryBudget& memory, WriteBackOptions options, WriteBackEvents events)
    : impl_(std::make_unique<Impl>(world, master, chunkservers, memory, options,
                                   std::move(events))) {}

WriteBack::~WriteBack() = default;

WriteBack::WaitId WriteBack::write(InodeId inode, const StoragePolicy& policy, WritePlace place,
                                   WriteData data, Done<std::uint64_t> done) {
  return impl_->queue.write(inode, policy, place, std::move(data), std::move(done));
}

void WriteBack::lease_taken(InodeId inode) {
  impl_->flusher.lease_taken(inode);
  // At once: the notice that another client wants it may be the next message. Each turn of the
  // lease must take what waits, or nobody gets on.
  impl_->queue.retry();
}

// What was written under a lease that is lost stays uncommitted until one was taken anew.
void WriteBack::lease_settled() { impl_->queue.retry_soon(); }

void WriteBack::lease_refused(InodeId inode, const Error& error) {
  impl_->flusher.lease_refused(inode, error);
  if (error.code == ErrorCode::kLeaseLost) {
    impl_->queue.retry_soon();
  } else {
    impl_->queue.fail(inode, error);
  }
}

void WriteBack::interrupt(WaitId wait) {
  if (wait.is_set()) {
    impl_->queue.interrupt(wait);
  }
}

void WriteBack::flush(InodeId inode, bool durable, Done<Unit> done) {
  impl_->flusher.flush(inode, durable, std::move(done));
}

bool WriteBack::is_settled(InodeId inode) const { return impl_->flusher.is_settled(inode); }

void WriteBack::settle(InodeId inode, Done<Unit> done) {
  impl_->flusher.settle(inode, std::move(done));
}

void WriteBack::flush_all(bool durable, Done<Unit> done) {
  impl_->flusher.flush_all(durable, std::move(done));
}

WriteBack::WaitId WriteBack::cut(InodeId inode, std::uint64_t size_bytes, Done<bool> done) {
  return impl_->flusher.cut(inode, size_bytes, std::move(done));
}

void WriteBack::interrupt_cut(InodeId inode, WaitId wait) {
  impl_->flusher.interrupt_cut(inode, wait);
}

void WriteBack::make_cut(InodeId inode, std::uint64_t size_bytes) {
  impl_->flusher.make_cut(inode, size_bytes);
}

void WriteBack::release_cut(InodeId inode) {
  if (impl_->flusher.release_cut(inode)) {
    impl_->queue.retry_soon();
  }
}

bool WriteBack::is_undecided(InodeId inode) const {
  const FileState* file = impl_->flusher.find(inode);
  return file != nullptr && file->is_void_in_part;
}

void WriteBack::when_decided(InodeId inode, Task decided) {
  DFS_ASSERT(is_undecided(inode));
  impl_->flusher.find(inode)->decided.push_back(std::move(decided));
}

void WriteBack::discard(InodeId inode) {
  impl_->queue.fail(inode, make_error(ErrorCode::kStale));
  impl_->flusher.discard(inode);
}

void WriteBack::set_mtime(InodeId inode, Timestamp mtime) {
  if (FileState* file = impl_->flusher.find(inode)) {
    file->dirty.set_mtime(mtime);
  }
}

bool WriteBack::is_committing(InodeId inode) const {
  const FileState* file = impl_->flusher.find(inode);
  if (file == nullptr) {
    return false;
  }
  const auto& flight = file->dirty.flight();
  return std::any_of(flight.begin(), flight.end(), [](const FlightBlockPtr& block) {
    return block->state == FlightBlock::State::kCommitting;
  });
}

std::vector<DirtyRange> WriteBack::dirty_ranges(InodeId inode, std::uint64_t begin,
                                                std::uint64_t end) const {
  const FileState* file = impl_->flusher.find(inode);
  return file == nullptr ? std::vector<DirtyRange>{} : file->dirty.ranges(begin, end);
}

std::optional<DirtyAttributes> WriteBack::dirty_attributes(InodeId inode) const {
  const FileState* file = impl_->flusher.find(inode);
  if (file == nullptr || file->dirty.is_clean()) {
    return std::nullopt;
  }
  return DirtyAttributes{.size_bytes_min = file->dirty.end(),
                         .dirty_bytes = file->dirty.dirty_bytes(),
                         .mtime = file->dirty.mtime,
                         .ctime = file->dirty.ctime};
}

Obstacle WriteBack::obstacle(InodeId inode, WaitId wait) const {
  return wait.is_set() ? impl_->queue.obstacle(wait) : impl_->flusher.obstacle(inode);
}

std::vector<StuckFile> WriteBack::stuck(std::size_t count_max) const {
  return impl_->flusher.stuck(count_max);
}

Unwritten WriteBack::unwritten() const {
  Unwritten unwritten;
  for (const auto& [inode, file] : impl_->flusher.files()) {
    if (file->dirty.is_clean()) {
      continue;
    }
    ++unwritten.files;
    unwritten.bytes += file->dirty.dirty_bytes();
    if (unwritten.first.size() < kUnwrittenNamedMax) {
      unwritten.first.push_back(inode);
    }
  }
  return unwritten;
}

std::uint64_t WriteBack::lost_writes(InodeId inode) const {
  return impl_->flusher.lost_writes(inode);
}

void WriteBack::forget(InodeId inode) { impl_->flusher.forget(inode); }

void WriteBack::seal_all(Done<Unit> done) { impl_->flusher.seal_all(std::move(done)); }

}  // namespace dfs::client
