// Changes that no request asked for: the steps of sealing, reclaiming, expiry.
//
// They run where requests run, inside the transaction of the next batch, so that there is one
// order of changes and one writer of the database. Implemented by Master; the loop thread only.
#pragma once

#include <functional>

#include "common/result.h"

namespace dfs::master {

struct OpContext;

class InternalOperations {
 public:
  // Works in bounded slices. Fails only with an error of the Store (everything else is checked
  // before anything is changed, and ends the operation with success and no effect); then the whole
  // batch is rolled back. May be run again in a later batch if its own was rolled back, so what it
  // leaves outside of `ctx` it sets anew each time.
  using Operation = std::function<Status(OpContext&)>;
  // With success: the transaction is committed, and on stable storage if that was asked for. With
  // an error: nothing of it happened. Called outside of any transaction.
  using Done = std::function<void(Status)>;

  virtual ~InternalOperations() = default;

  // Never runs `operation` inside this call. With `durable` the batch commits to stable storage.
  virtual void submit(Operation operation, Done done, bool durable) = 0;
};

}  // namespace dfs::master
