// A call to the master that is not answered yet, as MasterLink keeps it: whether it is under way,
// and what it takes to send it again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "common/ids.h"
#include "common/result.h"
#include "fuse-client/core/kept_changes.h"
#include "proto/rpc_client.h"

namespace dfs::client {

struct MasterCall {
  bool may_pin = false;  // the inode it makes
  bool is_change = false;
  bool is_repeatable = false;
  std::uint64_t pins_needed = 0;  // pin generation the master must have confirmed; 0: none
  std::shared_ptr<const KeptRequest> request;  // of a change to be kept
  std::function<CallId(const CallOptions&)> send;
  std::function<void(Error)> fail;
  CallId rpc;                      // set while sent
  std::uint64_t sequence = 0;      // of a change, once given
  SessionId session;               // it was sent in
  std::uint64_t acknowledged = 0;  // it said so
  std::uint32_t busy_count = 0;
  std::uint32_t withdrawals = 0;
  MonoTime not_before{};     // to be sent (again)
  bool interrupted = false;  // to be given up as soon as the master is unreachable
};

}  // namespace dfs::client
