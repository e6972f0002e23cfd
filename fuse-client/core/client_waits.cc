// Which calls wait, for what, and since when: for people.
#include <algorithm>
#include <chrono>

#include "fuse-client/core/client_impl.h"

namespace dfs::client {
namespace {

std::uint64_t ms_of(Duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

}  // namespace

OperationId Client::Impl::begin(const char* name, InodeId inode) {
  const OperationId id{next_operation_++};
  operations_.emplace(id, Operation{.name = name,
                                    .inode = inode,
                                    .since = world_.scheduler.now(),
                                    .pid = 0,
                                    .step = Step::kStores,
                                    .number = 0,
                                    .interrupt = nullptr});
  if (!waits_timer_.is_armed()) {
    waits_timer_.start(kWaitNoted, [this] { look_at_waits(); });
  }
  return id;
}

void Client::Impl::set_step(OperationId id, Step step, std::uint64_t number,
                            std::function<void()> interrupt) {
  const auto place = operations_.find(id);
  if (place != operations_.end()) {
    place->second.step = step;
    place->second.number = number;
    place->second.interrupt = std::move(interrupt);
  }
}

void Client::Impl::note_caller(OperationId id, std::uint32_t pid) {
  const auto place = operations_.find(id);
  if (place != operations_.end()) {
    place->second.pid = pid;
  }
}

// The master is told at once of what has come to wait, and that nothing does any more.
void Client::Impl::look_at_waits() {
  const bool waits = does_anything_wait();
  if (waits || told_waits_) {
    master_.tell_soon();
  }
  if (waits || told_waits_ || !operations_.empty() || !write_back_.unwritten().is_empty()) {
    waits_timer_.start(kWaitNoted, [this] { look_at_waits(); });
  }
}

// Numbers of operations rise: the first is the oldest.
bool Client::Impl::does_anything_wait() const {
  const bool is_old = !operations_.empty() &&
                      operations_.begin()->second.since + kWaitNoted <= world_.scheduler.now();
  return is_old || !write_back_.stuck(1).empty();
}

Obstacle Client::Impl::obstacle(const Operation& operation) const {
  switch (operation.step) {
    case Step::kAsks: return {.asked = CallId{operation.number}};
    case Step::kReads: return reader_.obstacle(Reader::ReadId{operation.number});
    case Step::kWrites:
      return write_back_.obstacle(operation.inode, WriteBack::WaitId{operation.number});
    case Step::kLocks: return locks_.obstacle(LockOpId{operation.number});
    case Step::kStores: break;
  }
  return write_back_.obstacle(operation.inode, {});
}

ClientWait Client::Impl::describe(const Obstacle& obstacle) const {
  ClientWait wait;
  wait.cause = static_cast<std::uint8_t>(obstacle.cause);
  wait.server = obstacle.server.substr(0, kWaitNameBytesMax);
  wait.ends_in_ms = ms_of(std::max(obstacle.ends_in, Duration::zero()));
  wait.asked = obstacle.cause == WaitCause::kLock ? obstacle.lock_wait
               : obstacle.asked.is_set()          ? master_.request_of(obstacle.asked)
                                                  : 0;
  return wait;
}

std::vector<ClientWait> Client::Impl::waiting(std::size_t count_max, std::uint64_t& more) const {
  const MonoTime now = world_.scheduler.now();
  std::vector<ClientWait> waits;
  more = 0;
  const auto add = [&](const char* name, InodeId inode, Duration age, std::uint32_t pid,
                       const Obstacle& obstacle) {
    if (waits.size() == count_max) {
      ++more;
      return;
    }
    ClientWait wait = describe(obstacle);
    wait.operation = name;
    wait.inode = inode;
    wait.pid = pid;
    wait.waited_ms = ms_of(age);
    waits.push_back(std::move(wait));
  };
  for (const auto& [id, operation] : operations_) {
    if (operation.since + kWaitNoted > now) {
      break;
    }
    add(operation.name, operation.inode, now - operation.since, operation.pid, obstacle(operation));
  }
  for (const StuckFile& file : write_back_.stuck(kToldWaitsMax)) {
    add("store", file.inode, file.age, 0, write_back_.obstacle(file.inode, {}));
  }
  return waits;
}

void Client::Impl::tell_waits(KeepAliveRequest& request) {
  if (does_anything_wait()) {
    request.waits = waiting(kToldWaitsMax, request.waits_untold);
  }
  told_waits_ = !request.waits.empty();
}

}  // namespace dfs::client
