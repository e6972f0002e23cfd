// The ports every core is given by its constructor. Nothing else in a core reaches out.
#pragma once

#include "common/log.h"
#include "common/random.h"
#include "common/scheduler.h"
#include "common/transport.h"

namespace dfs {

// References, not ownership: whoever makes a World outlives what it is given to.
struct World {
  Scheduler& scheduler;
  Random& random;
  Log& log;
  Transport& transport;
};

}  // namespace dfs
