#include "chunkserver/core/replica_writer.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "common/assert.h"

namespace dfs::chunkserver {

ReplicaWriter::ReplicaWriter(Disk& disk, ReplicaStore& store, DiskErrorHandler on_disk_error)
    : disk_(disk), store_(store), on_disk_error_(std::move(on_disk_error)) {}

void ReplicaWriter::append(const ReplicaPtr& replica, Buffer data) {
  DFS_ASSERT(replica->open && !replica->gone && !data.empty());
  OpenState& open = *replica->open;
  DFS_ASSERT(!open.broken && !open.sealing && open.file);
  DFS_ASSERT(data.size() <= kChunkBytesMax - open.accepted_end);
  const std::uint32_t begin = open.accepted_end;
  open.accepted_end += static_cast<std::uint32_t>(data.size());
  open.writes.push_back({begin, open.accepted_end, false});
  open.file->write(begin, std::move(data),
                   alive_.guard([this, replica, begin](const Status& status) {
                     on_written(replica, begin, status);
                   }));
}

void ReplicaWriter::wait(const ReplicaPtr& replica, WriteWaiter waiter) {
  DFS_ASSERT(replica->open && waiter.end <= replica->open->accepted_end);
  replica->open->waiters.push_back(std::move(waiter));
  settle(replica);
}

void ReplicaWriter::wait_idle(const ReplicaPtr& replica, std::function<void()> done) {
  DFS_ASSERT(replica->open);
  replica->open->idle_waiters.push_back(std::move(done));
  settle(replica);
}

void ReplicaWriter::abandon(const ReplicaPtr& replica, const Error& why) {
  DFS_ASSERT(replica->gone);
  if (replica->open) {
    OpenState& open = *replica->open;
    open.broken = why;
    open.broken_at = 0;
    open.synced_end = 0;
    settle(replica);
  }
}

ReplicaWriter::Standing ReplicaWriter::standing(const Replica& replica, const WriteWaiter& waiter) {
  const OpenState& open = *replica.open;
  const bool is_synced = open.synced_end >= waiter.end && open.name_synced;
  if (waiter.end <= replica.length_bytes && !replica.gone && (!waiter.sync || is_synced)) {
    return Standing::kReached;
  }
  if (open.broken && (waiter.sync || waiter.end > open.broken_at || replica.gone)) {
    return Standing::kFailed;
  }
  return waiter.end <= replica.length_bytes ? Standing::kNeedsSync : Standing::kWaiting;
}

void ReplicaWriter::on_written(const ReplicaPtr& replica, std::uint32_t begin,
                               const Status& status) {
  OpenState& open = *replica->open;
  const auto write = std::find_if(open.writes.begin(), open.writes.end(),
                                  [begin](const PendingWrite& w) { return w.begin == begin; });
  DFS_ASSERT(write != open.writes.end() && !write->finished);
  write->finished = true;
  if (!status) {
    break_at(*replica, begin, status.error());
  }
  while (!open.writes.empty() && open.writes.front().finished) {
    const PendingWrite& first = open.writes.front();
    if (!open.broken || first.end <= open.broken_at) {
      DFS_ASSERT(replica->length_bytes == first.begin);
      replica->length_bytes = first.end;
    }
    open.writes.pop_front();
  }
  settle(replica);
}

void ReplicaWriter::start_sync(const ReplicaPtr& replica) {
  OpenState& open = *replica->open;
  DFS_ASSERT(!open.sync_running);
  auto opened = store_.open_for_writing(*replica);
  if (!opened) {
    break_at(*replica, replica->length_bytes, opened.error());
    return;
  }
  open.sync_running = true;
  const std::uint32_t end = replica->length_bytes;
  // A file's contents and its name are two syncs; both at once, the answer after both.
  struct Both {
    int left = 1;
    Status outcome = ok();
  };
  auto both = std::make_shared<Both>();
  auto done = alive_.guard([this, replica, both, end](const Status& status) {
    if (!status && both->outcome) {
      both->outcome = status;
    }
    if (--both->left == 0) {
      on_synced(replica, end, both->outcome);
    }
  });
  if (!open.name_synced) {
    ++both->left;
    disk_.sync_directory(store_.folder_path(*replica), done);
  }
  open.file->sync(done);
}

void ReplicaWriter::on_synced(const ReplicaPtr& replica, std::uint32_t end, const Status& status) {
  OpenState& open = *replica->open;
  open.sync_running = false;
  if (!status) {
    open.sync_failed = true;
    break_at(*replica, replica->length_bytes, status.error());
  } else if (!replica->gone) {
    open.synced_end = std::max(open.synced_end, end);
    open.name_synced = true;
  }
  settle(replica);
}

void ReplicaWriter::break_at(Replica& replica, std::uint32_t at, const Error& why) {
  OpenState& open = *replica.open;
  open.broken_at = open.broken ? std::min(open.broken_at, at) : at;
  if (!open.broken) {
    open.broken = why;
  }
  if (!replica.gone) {
    on_disk_error_(replica.directory, why);
  }
}

void ReplicaWriter::settle(const ReplicaPtr& replica) {
  OpenState& open = *replica->open;
  const auto needs_sync = [&replica](const WriteWaiter& waiter) {
    return standing(*replica, waiter) == Standing::kNeedsSync;
  };
  if (!open.sync_running && std::any_of(open.waiters.begin(), open.waiters.end(), needs_sync)) {
    start_sync(replica);
  }
  std::vector<std::pair<WriteWaiter, Status>> ready;
  std::vector<WriteWaiter> waiting;
  for (WriteWaiter& waiter : open.waiters) {
    const Standing where = standing(*replica, waiter);
    if (where == Standing::kReached) {
      ready.emplace_back(std::move(waiter), ok());
    } else if (where == Standing::kFailed) {
      ready.emplace_back(std::move(waiter), *open.broken);
    } else {
      waiting.push_back(std::move(waiter));
    }
  }
  open.waiters = std::move(waiting);
  std::vector<std::function<void()>> idle;
  if (open.writes.empty() && !open.sync_running) {
    DFS_ASSERT(open.waiters.empty());
    idle = std::move(open.idle_waiters);
    open.idle_waiters.clear();
  }
  // Callbacks may seal or remove the replica; `open` is not touched behind this line.
  for (auto& [waiter, status] : ready) {
    waiter.done(status);
  }
  for (const auto& done : idle) {
    done();
  }
}

}  // namespace dfs::chunkserver
