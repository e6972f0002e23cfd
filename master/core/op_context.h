// What an operation is given: the store inside an open transaction, the batch's time, and the
// counters. An operation is a function of these and its request, with no other input, so that the
// same sequence of operations makes the same database.
#pragma once

#include <cstdint>

#include "common/ids.h"
#include "common/result.h"
#include "master/core/store.h"

namespace dfs::master {

class ChunkManager;  // chunk_manager.h: servers, placement, sealing, live-byte accounting
class SessionTable;  // session_table.h: sessions, pins, keep-alives

struct OpContext {
  Store& store;
  ChunkManager& chunks;
  SessionTable& sessions;
  Timestamp now;         // of the batch, from the master's clock
  SessionId session;     // whose request it is; 0 for servers and administrators
  bool durable = false;  // set by an operation whose answer must wait for stable storage

  // The next number of a kNext… counter; never handed out twice.
  Result<std::uint64_t> take_number(Counter counter);
  Status add_to_counter(Counter counter, std::int64_t difference);
};

}  // namespace dfs::master
