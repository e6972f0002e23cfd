// A request that has come and waits at the master, as dfs-admin why tells of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/scheduler.h"
#include "proto/message_type.h"
#include "proto/wait_messages.h"

namespace dfs::master {

// What a request is about: an inode, or a name in a directory.
struct RequestSubject {
  InodeId inode;
  std::string name;
};

struct ParkedRequest {
  MessageType type = MessageType::kPing;
  SessionId session;
  std::uint64_t request_id = 0;
  MonoTime since{};
  WaitCause cause = WaitCause::kNotice;
  RequestSubject subject;
  std::vector<InodeId> changes;    // what it is about to change, too
  std::vector<SessionId> awaited;  // each once
};

}  // namespace dfs::master
