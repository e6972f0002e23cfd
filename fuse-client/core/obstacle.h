// What a call of this client waits for, as one of its parts sees it.
#pragma once

#include <string>

#include "proto/rpc_client.h"
#include "proto/wait_messages.h"

namespace dfs::client {

struct Obstacle {
  WaitCause cause = WaitCause::kMaster;
  std::string server = {};      // kServer
  CallId asked = {};            // kMaster: the call of MasterLink, if known
  std::uint64_t lock_wait = 0;  // kLock: as the master knows it
  Duration ends_in{};           // the wait, by itself; zero: it does not
};

}  // namespace dfs::client
