// Identities that are never handed out twice, not even after a power loss.
//
// Most commits are not synced one by one, so a power loss can take the newest of them, and with
// them the counter an id came from, while a chunkserver or a client still knows the id. So each
// kNext… counter has a kReserved… bound, raised in large steps by durable commits: ids below the
// bound may have been seen by somebody. A start of the master continues at the bound. The result
// depends on the store alone, so a rollback needs no care.
#pragma once

#include <cstdint>

#include "common/result.h"
#include "master/core/store.h"

namespace dfs::master {

// The next number of a kNext… counter or of kDataVersion. Sets `durable` when the bound was raised:
// the transaction must then be committed durably before the number is told to anybody. What
// OpContext::take_number does. Precondition: inside a transaction. Errors of the Store.
Result<std::uint64_t> take_reserved_number(Store& store, Counter counter, bool& durable);

// Continues every counter at its bound. Called once at each start, before anything is taken; need
// not be committed durably. Precondition: inside a transaction. Errors of the Store.
Status skip_reserved_numbers(Store& store);

}  // namespace dfs::master
