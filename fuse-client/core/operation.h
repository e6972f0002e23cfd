// A call of the Client that is not answered yet: how it can be interrupted, and what to ask what it
// waits for.
#pragma once

#include <cstdint>
#include <functional>

#include "common/ids.h"
#include "common/scheduler.h"

namespace dfs::client {

enum class Step {
  kAsks,    // a call of the master
  kReads,   // a read of the Reader
  kWrites,  // a write of the WriteBack
  kLocks,   // an op of the LockClient
  kStores,  // until what was written is stored
};

struct Operation {
  const char* name = "";
  InodeId inode;  // 0: all of them
  MonoTime since{};
  std::uint32_t pid = 0;
  Step step = Step::kStores;
  std::uint64_t number = 0;         // of the step
  std::function<void()> interrupt;  // null: cannot be given up now
};

}  // namespace dfs::client
