// What an operation is given: the store inside an open transaction, the batch's time, and the
// counters. An operation is a function of these and its request, with no other input, so that the
// same sequence of operations makes the same database.
//
// An operation validates first and writes then: when it returns an error it must not have written
// anything. An error of the store is different: it marks the transaction broken
// (Store::is_broken), the whole batch is rolled back, and its operations are tried one by one.
// So an operation may run more than once. What it changes in memory it must either change
// in `after_commit`, or undo in `on_rollback`.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "master/core/parked_requests.h"
#include "master/core/store.h"
#include "proto/codec.h"

namespace dfs::master {

class LeaseTable;    // lease_table.h: who may keep what in caches
class ChunkManager;  // chunk_manager.h: servers, placement, sealing, live-byte accounting
class LockService;   // lock_service.h: locks of programs
class SessionTable;  // session_table.h: sessions, pins, keep-alives

// Indices of changes that a restart may skip, and how rarely a commit is synced for their sake.
inline constexpr std::uint64_t kChangeIndexStep = std::uint64_t{1} << 20;

// What happens when the batch's transaction ends. The loop runs one of the two lists.
struct BatchEnd {
  std::vector<std::function<void()>> committed;    // in order
  std::vector<std::function<void()>> rolled_back;  // newest first
};

struct OpContext {
  Store& store;
  ChunkManager& chunks;
  SessionTable& sessions;
  LeaseTable& leases;
  LockService& locks;
  Timestamp now;         // of the batch, from the master's clock
  SessionId session;     // whose request it is; 0 for servers and administrators
  bool durable = false;  // set by an operation whose answer must wait for stable storage
  BatchEnd* batch_end = nullptr;
  Duration uptime{};    // of the master process, for people
  MonoTime mono_now{};  // as `now`, for people
  // Requests that have waited for so long, for people. Null outside of the request loop.
  std::function<std::vector<ParkedRequest>(Duration age_min)> parked = {};

  // Changes (Effect::kOnce) are numbered. All 0 in the grace period, when none is answered.
  std::uint64_t index = 0;          // of the newest
  std::uint64_t index_bound = 0;    // as kReservedChange, above every index
  std::uint64_t durable_index = 0;  // the newest on stable storage when the batch began
  ChangeStamp stamp = {};           // of the change that is being applied
  // Others kept some of what the operation changes, and were told.
  bool others_were_told = false;
  bool is_replay = false;       // of what the session has been told is done
  InodeId replayed_inode = {};  // of a replay: the number it took the first time, until it takes it

  // The reply tells of this inode, and the session may keep that if possible. What another session
  // has written of it must be stored first: see `unsettled`.
  void grant(const Attributes& attributes);
  // The same, and nothing is kept.
  void tell(InodeId inode);
  // What the reply made now bears: 0 unless all it tells may be kept.
  std::uint64_t lease() const;
  // Another reply begins.
  void begin_reply() {
    granted = Granted::kNothing;
    unsettled.clear();
  }

  // Gives the change that is about to be applied its stamp. Errors of the Store.
  Status stamp_change();
  enum class Granted { kNothing, kAll, kNotAll };
  Granted granted = Granted::kNothing;  // of what the reply tells
  std::vector<InodeId> unsettled = {};  // of that, what others may have written and not stored

  // What a reply made now can say is on stable storage, if the batch comes to be.
  std::uint64_t durable_with_batch() const { return durable ? index : durable_index; }

  // The next number of a kNext… counter, from 1; never handed out twice. The inode of a
  // replay is what it was the first time; kCorrupt if that cannot be.
  Result<std::uint64_t> take_number(Counter counter);
  Status add_to_counter(Counter counter, std::int64_t difference);

  // Runs `task` once the transaction is committed (on stable storage if the batch was durable),
  // before replies are sent. For sending messages and for changes nobody in this batch needs.
  void after_commit(std::function<void()> task) {
    if (batch_end != nullptr) {
      batch_end->committed.push_back(std::move(task));
    }
  }
  // Runs `task` if the transaction does not come to be: undo of a change in memory.
  void on_rollback(std::function<void()> task) {
    if (batch_end != nullptr) {
      batch_end->rolled_back.push_back(std::move(task));
    }
  }

 private:
  Result<std::uint64_t> take_replayed_inode();
};

}  // namespace dfs::master
