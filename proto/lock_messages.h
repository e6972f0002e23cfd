// Client to master: locks of fcntl(2) and flock(2). They live in the master's memory; clients keep
// what they hold and tell it again after a start of the master (ReclaimLocks), before which no lock
// is granted to anybody.
//
// Messages may be lost, repeated and overtake each other, so each SetLock has a number: it is
// applied once, and one that comes after its sender has heard the answer is ignored. A lock is
// taken by the answer to a SetLock and by nothing else: who waits is told when it is its turn
// (AwaitLocks), the lock is kept free for it, and it asks again.
#pragma once

#include <cstdint>
#include <vector>

#include "common/ids.h"
#include "proto/fields.h"
#include "proto/lock_ranges.h"
#include "proto/message_type.h"

namespace dfs {

struct SetLockReply {
  // ErrorCode: kOk, kLockConflict (only without `wait`), kDeadlock, kTooManyLocks,
  // kInvalidArgument. Not in the envelope: to the connection each of these is an answer.
  std::uint16_t code = 0;
  bool waits = false;  // neither given nor refused: it is in the queue
  DFS_FIELDS(code, waits)
};
// Gives an owner a lock, or takes one away. An flock that is changed to another mode is given up
// first, whatever comes of it, as flock(2) has it; a range that cannot be had changes nothing.
struct SetLockRequest {
  static constexpr MessageType kType = MessageType::kSetLock;
  using Reply = SetLockReply;
  InodeId inode;
  std::uint8_t kind = 0;      // LockKind
  std::uint64_t owner = 0;    // within the session
  std::uint8_t mode = 0;      // LockMode; kNone unlocks
  std::uint64_t start = 0;    // kFlock: 0
  std::uint64_t end = 0;      // the last byte; kFlock: kLockOffsetMax
  std::uint64_t wait = 0;     // names the wait within the session, also when asked again; 0: none
  std::uint64_t number = 0;   // of SetLocks of the session, rising from 1
  std::uint64_t settled = 0;  // every number up to here was answered or is given up
  DFS_FIELDS(inode, kind, owner, mode, start, end, wait, number, settled)
};

struct TestLockReply {
  bool is_locked = false;
  bool is_own_session = false;
  std::uint64_t owner = 0;  // in its session
  std::uint8_t mode = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  DFS_FIELDS(is_locked, is_own_session, owner, mode, start, end)
};
// The first lock of a range that forbids `owner` this one.
struct TestLockRequest {
  static constexpr MessageType kType = MessageType::kTestLock;
  using Reply = TestLockReply;
  InodeId inode;
  std::uint64_t owner = 0;
  std::uint8_t mode = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  DFS_FIELDS(inode, owner, mode, start, end)
};

struct AwaitLocksReply {
  std::vector<std::uint64_t> ready;  // of `waits`: to be asked for again
  DFS_FIELDS(ready)
};
// Everything the session waits for; answered when it is the turn of any of it. Waits that are not
// named are over, unless asked for later. One at a time: a new one replaces the last.
struct AwaitLocksRequest {
  static constexpr MessageType kType = MessageType::kAwaitLocks;
  using Reply = AwaitLocksReply;
  std::uint64_t number = 0;   // rising: an older one that comes late is ignored
  std::uint64_t settled = 0;  // as in SetLock
  std::uint64_t newest = 0;   // number of the last SetLock before this
  std::vector<std::uint64_t> waits;
  std::vector<std::uint64_t> asking;  // being asked for: perhaps their turn has come
  DFS_FIELDS(number, settled, newest, waits, asking)
};

struct LockClaim {
  InodeId inode;
  std::uint8_t kind = 0;
  std::uint64_t owner = 0;
  std::uint8_t mode = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  DFS_FIELDS(inode, kind, owner, mode, start, end)
};
struct ReclaimLocksReply {
  std::vector<std::uint32_t>
      refused;  // places in `claims`; none, unless a session was taken for dead
  DFS_FIELDS(refused)
};
// Everything the session holds, to a master that was started anew. Requests of the session before
// this one are ignored.
struct ReclaimLocksRequest {
  static constexpr MessageType kType = MessageType::kReclaimLocks;
  using Reply = ReclaimLocksReply;
  std::uint64_t incarnation = 0;  // of the master it is meant for
  std::uint64_t settled = 0;      // as in SetLock
  std::vector<LockClaim> claims;
  DFS_FIELDS(incarnation, settled, claims)
};

}  // namespace dfs
