// The grace period: after a start of the master the clients say what they keep in their caches
// (leases, which were in the memory of the last process only), and, when it may have lost
// transactions, again what they were answered.
//
// Until each session of the store has reclaimed its leases, or is over, nobody's caches could be
// told of a change. As to losses: most commits are written and not synced. A killed process loses
// none of them, and neither does an orderly stop, which syncs; but the machine can lose the newest
// with its power. So the store names the run of the machine (its boot id) it was last used in, or
// none after an orderly stop. When it names another one, or a sync failed, after which the machine
// may have forgotten what it could not write, every session of the store is asked for
// its changes that were answered and not known to be durable (ReplayChanges); when each has told
// them, or is over, they are applied in the order of their indices, durably, and the period ends.
// Until then nothing is answered that tells of names, sizes or contents: requests wait. The boot id
// is written down at the end, so a master that dies in between begins again.
//
// What remains lost: changes of clients that ended before they could tell, and of what others did
// after them the part that builds on those. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/world.h"
#include "master/core/internal_operations.h"
#include "master/core/lease_table.h"
#include "master/core/op_context.h"
#include "master/core/session_table.h"
#include "proto/rpc_server.h"

namespace dfs::master {

class Grace {
 public:
  // `boot_id`: of the machine's present run; empty: not known, then only an orderly stop counts.
  Grace(World world, InternalOperations& operations, SessionTable& sessions, LeaseTable& leases,
        std::string boot_id);

  // Decides whether there must be one, and writes down what a next start must know. Once, in a
  // transaction that is then committed durably, before the sessions are loaded.
  Status decide(Store& store);
  // With the sessions loaded. `ended` is called when it is over, perhaps inside.
  void start(std::function<void()> ended);
  // The last act of an orderly stop, in a transaction that is then committed durably: the next
  // start has lost nothing.
  Status note_orderly_stop(Store& store) const;

  bool is_on() const { return state_ != State::kOver; }
  // Sessions have told something or ended: goes on if they were the last.
  void look();

 private:
  enum class State { kOver, kCollecting, kApplying };

  void start_collecting_changes();
  void apply_next();
  Status apply_slice(OpContext& context);
  void slice_done(const Status& status);
  void finish();

  World world_;
  InternalOperations& operations_;
  SessionTable& sessions_;
  LeaseTable& leases_;
  std::string boot_id_;
  State state_ = State::kCollecting;
  bool has_losses_ = false;  // or may have: changes are collected, too
  std::function<void()> ended_;
  MonoTime begun_{};
  std::size_t sessions_asked_ = 0;
  std::size_t sessions_told_ = 0;
  std::vector<RpcRequest> changes_;
  std::size_t next_ = 0;   // of changes_
  std::size_t slice_ = 0;  // how many at once
  struct Numbers {
    std::size_t was_there = 0;
    std::size_t applied = 0;
    std::size_t refused = 0;
  };
  Numbers slice_numbers_;
  Numbers numbers_;
  Timer retry_timer_;
};

}  // namespace dfs::master
