// What the rows say about one replica, and the one way to change it.
#pragma once

#include <string>

#include "master/core/op_context.h"

namespace dfs::master {

// Marks a good replica as kDamaged or kMissing, a missing one as kDamaged or, found again, as
// kGood. Anything else stays: a damaged replica is not healed by being there, and one that is being
// deleted concerns nobody. No effect if there is no such replica. Returns whether it changed, and
// then logs it, with `why`, once the transaction is committed. Errors of the Store.
Result<bool> mark_replica(OpContext& context, ReplicaRow replica, const std::string& why);

// For the many marks that one message of a server can cause (a disk was lost, say): the first few
// are logged one by one, the rest as a number.
class ReplicaMarks {
 public:
  explicit ReplicaMarks(OpContext& context) : context_(context) {}
  Status mark(ReplicaRow replica, const std::string& why);
  void log_rest(NodeId node) const;  // once, at the end

 private:
  static constexpr std::size_t kLinesMax = 16;

  OpContext& context_;
  std::size_t changed_ = 0;
};

const char* replica_state_name(ReplicaRowState state);

}  // namespace dfs::master
