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

const char* replica_state_name(ReplicaRowState state);

}  // namespace dfs::master
