#include "fuse-client/core/write_queue.h"

#include <algorithm>
#include <set>
#include <utility>

namespace dfs::client {

using Use = MemoryBudget::Use;

WriteQueue::WriteQueue(World world, Flusher& flusher, MemoryBudget& memory,
                       const WriteBackEvents& events, Duration write_wait)
    : world_(world), flusher_(flusher), memory_(memory), events_(events), write_wait_(write_wait) {}

WriteQueue::~WriteQueue() {
  for (const Write& write : waiting_) {
    memory_.release(Use::kWaiting, write.data.held_bytes());
  }
}

WriteBack::WaitId WriteQueue::write(InodeId inode, const StoragePolicy& policy, WritePlace place,
                                    WriteData data, Done<std::uint64_t> done) {
  Write write{
      {}, inode, policy, place, std::move(data), std::move(done), flusher_.pool().waiting_clock()};
  // Pages that are written back may be what keeps the lease from being had.
  const bool is_behind = std::any_of(waiting_.begin(), waiting_.end(), [&](const Write& other) {
    return other.inode == inode && !place.is_written_back;
  });
  if (!is_behind) {
    const Outcome outcome = try_take(write);
    if (outcome == Outcome::kTaken || outcome == Outcome::kRefused) {
      return {};
    }
    if (outcome == Outcome::kNoRoom) {
      flusher_.pool().ask_again_if_full(policy);
    }
  }
  memory_.reserve_anyway(Use::kWaiting, write.data.held_bytes());
  if (write.data.held_bytes() > 0) {
    write.data.detach();
  }
  write.id = WriteBack::WaitId{next_id_++};
  waiting_.push_back(std::move(write));
  return waiting_.back().id;
}

WriteQueue::Outcome WriteQueue::try_take(Write& write) {
  const FileState* file = flusher_.find(write.inode);
  if (file != nullptr && file->hold_count > 0) {
    return Outcome::kHeld;
  }
  if (!may_write(write)) {
    events_.want_lease(write.inode);
    return Outcome::kHeld;
  }
  const std::uint64_t offset = offset_of(write);
  if (offset > kFileBytesMax || write.data.size() > kFileBytesMax - offset) {
    answer(write, make_error(ErrorCode::kFileTooBig));
    return Outcome::kRefused;
  }
  ChunkPool& pool = flusher_.pool();
  if (pool.free_room(write.policy) < DirtyFile::room_needed(write.data.size())) {
    pool.want(write.policy);
    return Outcome::kNoRoom;
  }
  const std::uint64_t needed =
      flusher_.get(write.inode).dirty.memory_needed(offset, write.data.size());
  if (!memory_.try_reserve(Use::kDirty, needed)) {
    flusher_.relieve_memory();
    flusher_.reap_soon(write.inode);
    return Outcome::kNoMemory;
  }
  if (const Status applied = apply(write, offset, needed); !applied) {
    memory_.release(Use::kDirty, needed);
    flusher_.reap_soon(write.inode);
    answer(write, applied.error());
    return Outcome::kRefused;
  }
  answer(write, offset);
  return Outcome::kTaken;
}

bool WriteQueue::may_write(const Write& write) const {
  return !events_.may_write || events_.may_write(write.inode, write.place);
}

std::uint64_t WriteQueue::offset_of(const Write& write) const {
  if (write.place.offset) {
    return *write.place.offset;
  }
  const FileState* file = flusher_.find(write.inode);
  const std::uint64_t size = events_.size_of(write.inode);
  return file == nullptr || file->dirty.is_clean() ? size : std::max(size, file->dirty.end());
}

Status WriteQueue::apply(const Write& write, std::uint64_t offset, std::uint64_t reserved) {
  DFS_TRY(const Buffer data, write.data.bytes());
  FileState& file = flusher_.get(write.inode);
  flusher_.set_policy(file, write.policy);
  if (file.is_settled()) {
    flusher_.note_epoch(file);
  }
  std::uint64_t credit = reserved;
  file.dirty.write(offset, data.bytes(), credit);
  DFS_ASSERT(credit == 0);
  if (data.empty()) {
    flusher_.reap_soon(write.inode);
    return ok();
  }
  flusher_.wrote(file, offset, data.size());
  if (write.place.is_written_back && events_.written_back) {
    events_.written_back(write.inode);
  }
  if (flusher_.pool().free_room(write.policy) < kRoomAheadBytes) {
    flusher_.pool().want(write.policy);
  }
  return ok();
}

void WriteQueue::answer(Write& write, Result<std::uint64_t> result) {
  world_.scheduler.post(lifetime_.guard(
      [done = std::move(write.done), result = std::move(result)] { done(result); }));
}

void WriteQueue::interrupt(WriteBack::WaitId wait) {
  fail_if([&](const Write& write) { return write.id == wait; },
          make_error(ErrorCode::kInterrupted));
}

void WriteQueue::fail(InodeId inode, const Error& error) {
  fail_if([&](const Write& write) { return write.inode == inode; }, error);
}

WriteQueue::Writes::iterator WriteQueue::leave(Writes::iterator write) {
  memory_.release(Use::kWaiting, write->data.held_bytes());
  return waiting_.erase(write);
}

template <class Predicate>
void WriteQueue::fail_if(Predicate predicate, const Error& error) {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (predicate(*at)) {
      answer(*at, error);
      at = leave(at);
    } else {
      ++at;
    }
  }
}

void WriteQueue::retry_soon() {
  if (!waiting_.empty() && !std::exchange(is_retry_posted_, true)) {
    world_.scheduler.post(lifetime_.guard([this] {
      is_retry_posted_ = false;
      retry();
    }));
  }
}

void WriteQueue::retry() {
  std::set<InodeId> blocked_files;
  std::set<StoragePolicy> full_policies;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const bool is_behind = blocked_files.contains(at->inode) && !at->place.is_written_back;
    if (is_behind || full_policies.contains(at->policy)) {
      blocked_files.insert(at->inode);
      ++at;
      continue;
    }
    const Outcome outcome = try_take(*at);
    if (outcome == Outcome::kTaken || outcome == Outcome::kRefused) {
      at = leave(at);
      continue;
    }
    if (outcome == Outcome::kNoMemory) {
      return;  // a smaller one behind must not starve it
    }
    if (outcome == Outcome::kNoRoom) {
      full_policies.insert(at->policy);
    }
    blocked_files.insert(at->inode);
    ++at;
  }
}

Obstacle WriteQueue::obstacle(WriteBack::WaitId wait) const {
  const auto write = std::find_if(waiting_.begin(), waiting_.end(),
                                  [wait](const Write& other) { return other.id == wait; });
  if (write == waiting_.end()) {
    return {.cause = WaitCause::kOthers};
  }
  const FileState* file = flusher_.find(write->inode);
  const CallId asked = events_.lease_asked ? events_.lease_asked(write->inode) : CallId{};
  if (file != nullptr && file->hold_count > 0) {
    return flusher_.obstacle(write->inode);
  }
  if (!may_write(*write)) {
    return asked.is_set() ? Obstacle{.asked = asked} : flusher_.obstacle(write->inode);
  }
  ChunkPool& pool = flusher_.pool();
  if (pool.free_room(write->policy) < DirtyFile::room_needed(write->data.size())) {
    return pool.obstacle(write->policy, write->since + write_wait_);
  }
  return {.cause = WaitCause::kMemory};
}

void WriteQueue::chunk_answered(const StoragePolicy& policy, const Status& status) {
  if (status) {
    retry_soon();
    return;
  }
  ChunkPool& pool = flusher_.pool();
  const MonoTime now = pool.waiting_clock();
  const bool is_no_space = status.code() == ErrorCode::kNoSpace;
  if (is_no_space && !pool.is_full(policy)) {
    pool.seal_unused(policy);  // and see whether that room helps
  }
  const auto lacks_room = [&](const Write& write) {
    return write.policy == policy &&
           pool.free_room(policy) < DirtyFile::room_needed(write.data.size());
  };
  if (pool.is_full(policy)) {
    fail_if(lacks_room, make_error(ErrorCode::kNoSpace, "the cluster is full"));
  } else {
    const ErrorCode code = is_no_space ? ErrorCode::kNoSpace : ErrorCode::kNotEnoughServers;
    fail_if(
        [&](const Write& write) { return lacks_room(write) && now - write.since >= write_wait_; },
        make_error(code, status.error().detail));
  }
  retry_soon();
}

}  // namespace dfs::client
