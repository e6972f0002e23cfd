#include "fuse-client/core/flusher.h"

#include <algorithm>
#include <utility>

namespace dfs::client {

Flusher::Flusher(World world, MasterLink& master, ChunkLinks& links, MemoryBudget& memory,
                 const WriteBackOptions& options, const WriteBackEvents& events,
                 std::function<void(const StoragePolicy&, const Status&)> room_answered)
    : world_(world),
      master_(master),
      memory_(memory),
      options_(options),
      events_(events),
      room_answered_(std::move(room_answered)),
      pool_(world, master, links, memory,
            {.stable = [this](const auto& blocks) { blocks_stable(blocks); },
             .broken = [this](ChunkId chunk) { placer_.chunk_broke(chunk); },
             .answered =
                 [this](const StoragePolicy& policy, const Status& status) {
                   placer_.chunk_answered(policy, status);
                   room_answered_(policy, status);
                 }}),
      placer_(world, files_, pool_, options.write_wait,
              [this](FileState& file, std::vector<FlightBlockPtr> blocks, Error error) {
                lose(file, blocks, error);
              }),
      committer_(
          world, master,
          {.take = [this](InodeId inode, std::size_t most) { return take_commit(inode, most); },
           .answered =
               [this](CommitPart part, Result<FileCommitResult> result) {
                 commit_answered(std::move(part), std::move(result));
               }}),
      rewriter_(files_, memory, events,
                {.drop = [this](FileState& file, const auto& blocks) { drop(file, blocks); },
                 .filled = [this](FileState& file) { rewritten(file); },
                 .failed = [this](FileState& file, const Error& error) { lose_all(file, error); }}),
      age_timer_(world.scheduler) {}

FileState* Flusher::find(InodeId inode) const {
  const auto at = files_.find(inode);
  return at == files_.end() ? nullptr : at->second.get();
}

FileState& Flusher::get(InodeId inode) {
  auto& file = files_[inode];
  if (!file) {
    file = std::make_unique<FileState>(inode, memory_);
  }
  return *file;
}

// --- What to flush when --------------------------------------------------------------------------

void Flusher::wrote(FileState& file, std::uint64_t offset, std::uint64_t size_bytes) {
  file.dirty.ctime = master_.wall_time();
  file.dirty.mtime = file.dirty.ctime;
  rewriter_.wrote(file.inode, offset, offset + size_bytes);
  note_age(file);
  if (file.is_large || file.dirty.run_bytes() >= options_.large_file_bytes) {
    file.is_large = true;
    freeze(file, DirtyFile::Freeze::kFullBlocks);
    placer_.place(file);
  }
  update_counts(file);
  const std::uint64_t flush_bytes =
      std::min(options_.flush_bytes, memory_.share(MemoryBudget::Use::kDirty) / 2);
  if (buffered_bytes_ >= flush_bytes) {
    flush_everything();
  }
}

void Flusher::freeze(FileState& file, DirtyFile::Freeze what) {
  for (const FlightBlockPtr& block : file.dirty.freeze(what, next_order_)) {
    file.waiting_room += block->room_bytes();
  }
  update_counts(file);
}

void Flusher::flush_file(FileState& file) {
  if (file.is_void_in_part) {
    file.is_flush_due = true;
    clear_age(file);
    return;
  }
  freeze(file, DirtyFile::Freeze::kAll);
  clear_age(file);
  placer_.place(file);
}

void Flusher::flush_everything() {
  for (auto& [inode, file] : files_) {
    if (file->dirty.has_buffered()) {
      flush_file(*file);
    }
  }
  // Streams whose last blocks were sent without a sync are as old as the rest.
  while (!ages_.empty()) {
    clear_age(*files_.at(ages_.begin()->second));
  }
  pool_.request_sync_all();
}

void Flusher::note_age(FileState& file) {
  if (!file.oldest) {
    file.oldest = world_.scheduler.now();
    ages_.emplace(*file.oldest, file.inode);
    arm_age_timer();
  }
}

void Flusher::clear_age(FileState& file) {
  if (file.oldest) {
    ages_.erase({*file.oldest, file.inode});
    file.oldest.reset();
  }
}

void Flusher::arm_age_timer() {
  if (!age_timer_.is_armed() && !ages_.empty()) {
    const MonoTime due = ages_.begin()->first + options_.flush_age;
    age_timer_.start(std::max(due - world_.scheduler.now(), Duration::zero()),
                     [this] { flush_old(); });
  }
}

// Takes along what would be due soon: one flush of many files costs little more than one of one.
void Flusher::flush_old() {
  const MonoTime now = world_.scheduler.now();
  if (!ages_.empty() && now - ages_.begin()->first >= options_.flush_age) {
    while (!ages_.empty() && now - ages_.begin()->first >= options_.flush_age / 2) {
      flush_file(*files_.at(ages_.begin()->second));
    }
    pool_.request_sync_all();
  }
  arm_age_timer();
}

void Flusher::relieve_memory() {
  const bool is_any_in_flight = std::any_of(files_.begin(), files_.end(), [](const auto& entry) {
    return !entry.second->dirty.flight().empty();
  });
  // What is in flight will be memory again soon: cutting half-filled blocks for it costs more.
  if (is_any_in_flight && buffered_bytes_ < memory_.used(MemoryBudget::Use::kDirty) / 2) {
    pool_.request_sync_all();
  } else {
    flush_everything();
  }
}

void Flusher::memory_released() { pool_.pump_all(); }

void Flusher::update_counts(FileState& file) {
  buffered_bytes_ += file.dirty.buffered_bytes() - file.counted_bytes;
  file.counted_bytes = file.dirty.buffered_bytes();
  placer_.update_promise(file);
}

// --- Whoever waits for a flush -------------------------------------------------------------------

void Flusher::flush(InodeId inode, bool durable, Done<Unit> done) {
  FileState* file = find(inode);
  if (file == nullptr || file->is_settled()) {
    if (durable) {
      committer_.sync_metadata(std::move(done));
    } else {
      world_.scheduler.post(lifetime_.guard([done = std::move(done)] { done(ok()); }));
    }
    return;
  }
  if (file->is_void_in_part) {
    file->held_flushes.push_back({durable, std::move(done)});
    return;
  }
  flush_file(*file);
  placer_.request_sync(*file);
  file->waiters.push_back({file->dirty.last_order(), durable, std::move(done), {}});
}

// Of bytes that no lease covers: the one that is asked for waits for this.
bool Flusher::is_settled(InodeId inode) const {
  const FileState* file = find(inode);
  return file == nullptr || file->is_settled() || file->lacks_lease;
}

void Flusher::settle(InodeId inode, Done<Unit> done) {
  rewriter_.cancel_suggested(inode);
  if (is_settled(inode)) {
    world_.scheduler.post(lifetime_.guard([done = std::move(done)] { done(ok()); }));
    return;
  }
  settlers_[inode].push_back(std::move(done));
  flush(inode, false, lifetime_.guard([this, inode](const Result<Unit>&) { end_settlers(inode); }));
}

void Flusher::end_settlers(InodeId inode) {
  if (auto settlers = settlers_.extract(inode)) {
    for (const Done<Unit>& done : settlers.mapped()) {
      done(ok());
    }
  }
}

// What is dirty waits for a lease from here on, and that for those who settle.
void Flusher::note_lost_lease(FileState& file) {
  file.lacks_lease = true;
  world_.scheduler.post(lifetime_.guard([this, inode = file.inode] { end_settlers(inode); }));
  events_.lease_lost(file.inode);
}

void Flusher::flush_all(bool durable, Done<Unit> done) {
  struct Progress {
    std::size_t open = 1;
    std::optional<Error> error;
  };
  auto progress = std::make_shared<Progress>();
  auto finish = [this, progress, durable, done = std::move(done)](Status status) {
    if (!status && !progress->error) {
      progress->error = status.error();
    }
    if (--progress->open > 0) {
      return;
    }
    const auto answer = [progress, done](Status synced) {
      done(progress->error ? Status(*progress->error) : std::move(synced));
    };
    if (durable) {
      committer_.sync_metadata(answer);
    } else {
      answer(ok());
    }
  };
  flush_everything();
  for (auto& [inode, file] : files_) {
    if (file->is_void_in_part) {
      ++progress->open;
      file->held_flushes.push_back({false, finish});
    } else if (!file->is_settled()) {
      ++progress->open;
      file->waiters.push_back({file->dirty.last_order(), false, finish, {}});
    }
  }
  world_.scheduler.post(lifetime_.guard([finish] { finish(ok()); }));
}

void Flusher::check_waiters(FileState& file, bool durable) {
  if (file.is_discarded_committing) {
    return;
  }
  const auto& flight = file.dirty.flight();
  const std::uint64_t oldest = flight.empty() ? ~std::uint64_t{0} : flight.front()->order;
  std::vector<FlushWaiter> finished;
  for (auto at = file.waiters.begin(); at != file.waiters.end();) {
    if (at->up_to < oldest) {
      finished.push_back(std::move(*at));
      at = file.waiters.erase(at);
    } else {
      ++at;
    }
  }
  for (FlushWaiter& waiter : finished) {
    if (waiter.error) {
      waiter.done(std::move(*waiter.error));
    } else if (waiter.is_durable && !durable) {
      committer_.sync_metadata(std::move(waiter.done));
    } else {
      waiter.done(ok());
    }
  }
}

WriteBack::WaitId Flusher::cut(InodeId inode, std::uint64_t size_bytes, Done<bool> done) {
  FileState& file = get(inode);
  const WriteBack::WaitId id{next_cut_++};
  ++file.hold_count;
  file.cuts.push_back({id, size_bytes, std::move(done)});
  rewriter_.cancel_suggested(inode);
  placer_.request_sync(file);
  check_cuts(file);
  return id;
}

void Flusher::interrupt_cut(InodeId inode, WriteBack::WaitId wait) {
  FileState* file = find(inode);
  if (file == nullptr) {
    return;
  }
  const auto at = std::find_if(file->cuts.begin(), file->cuts.end(),
                               [wait](const CutWaiter& waiter) { return waiter.id == wait; });
  if (at != file->cuts.end()) {
    world_.scheduler.post(lifetime_.guard(
        [done = std::move(at->done)] { done(make_error(ErrorCode::kInterrupted)); }));
    file->cuts.erase(at);
  }
}

void Flusher::check_cuts(FileState& file) {
  if (file.cuts.empty() || !file.dirty.flight().empty() || file.is_discarded_committing) {
    return;
  }
  for (CutWaiter& waiter : std::exchange(file.cuts, {})) {
    const bool makes_void = file.dirty.end() > waiter.size_bytes;
    file.is_void_in_part |= makes_void;
    world_.scheduler.post(
        lifetime_.guard([done = std::move(waiter.done), makes_void] { done(makes_void); }));
  }
}

void Flusher::make_cut(InodeId inode, std::uint64_t size_bytes) {
  if (FileState* file = find(inode)) {
    file->dirty.cut(size_bytes);
    update_counts(*file);
  }
}

bool Flusher::release_cut(InodeId inode) {
  FileState* file = find(inode);
  if (file == nullptr || file->hold_count == 0) {
    return false;
  }
  --file->hold_count;
  reap_soon(inode);
  if (file->hold_count > 0) {
    return false;
  }
  if (std::exchange(file->is_void_in_part, false)) {
    flush_what_was_held(*file);
  }
  return true;
}

void Flusher::flush_what_was_held(FileState& file) {
  if (std::exchange(file.is_flush_due, false) && file.dirty.has_buffered()) {
    flush_file(file);
    placer_.request_sync(file);
  }
  for (HeldFlush& held : std::exchange(file.held_flushes, {})) {
    flush(file.inode, held.is_durable, std::move(held.done));
  }
  for (Task& decided : std::exchange(file.decided, {})) {
    world_.scheduler.post(std::move(decided));
  }
}

void Flusher::discard(InodeId inode) {
  FileState* file = find(inode);
  if (file == nullptr) {
    return;
  }
  rewriter_.cancel(inode);
  file->dirty.cut(0);
  const std::deque<FlightBlockPtr>& flight = file->dirty.flight();
  drop(*file, std::vector<FlightBlockPtr>(flight.begin(), flight.end()));
  clear_age(*file);
  if (!file->is_discarded_committing) {
    for (FlushWaiter& waiter : std::exchange(file->waiters, {})) {
      world_.scheduler.post(lifetime_.guard([done = std::move(waiter.done)] { done(ok()); }));
    }
  }
  check_cuts(*file);
  reap_soon(inode);
}

void Flusher::lease_taken(InodeId inode) {
  FileState* file = find(inode);
  if (file == nullptr) {
    return;
  }
  note_epoch(*file);
  if (std::exchange(file->lacks_lease, false)) {
    commit_if_ready(*file);
  }
}

void Flusher::note_epoch(FileState& file) {
  file.write_epoch = events_.write_epoch ? events_.write_epoch(file.inode) : 0;
}

void Flusher::lease_refused(InodeId inode, const Error& error) {
  FileState* file = find(inode);
  if (file != nullptr && file->lacks_lease) {
    file->lacks_lease = false;
    lose_all(*file, error);
  }
}

void Flusher::session_replaced() {
  pool_.session_replaced();
  for (auto& [inode, file] : files_) {
    // Others may have changed it since: not to be committed before that is known.
    if (events_.lease_lost && !file->dirty.is_clean()) {
      note_lost_lease(*file);
    }
  }
}

// --- Files that are done with --------------------------------------------------------------------

void Flusher::reap_soon(InodeId inode) {
  if (reap_.empty()) {
    world_.scheduler.post(lifetime_.guard([this] { reap(); }));
  }
  reap_.insert(inode);
}

void Flusher::reap() {
  for (const InodeId inode : std::exchange(reap_, {})) {
    FileState* file = find(inode);
    if (file == nullptr || file->is_needed()) {
      continue;
    }
    update_counts(*file);
    DFS_ASSERT(file->promised == 0 && file->waiting_room == 0);
    clear_age(*file);
    rewriter_.cancel(inode);
    if (file->is_large) {
      pool_.release_owner(inode);
    }
    files_.erase(inode);
    if (events_.cleaned) {
      events_.cleaned(inode);
    }
  }
}

std::uint64_t Flusher::lost_writes(InodeId inode) const {
  const auto at = lost_.find(inode);
  return at == lost_.end() ? 0 : at->second;
}

void Flusher::forget(InodeId inode) { lost_.erase(inode); }

}  // namespace dfs::client
