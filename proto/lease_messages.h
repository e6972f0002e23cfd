// Client and master: what the client may keep in its caches, and what it must drop.
//
// A reply that tells of inodes and bears a `lease` number may be kept by the session: until the
// master sends it a notice that names the inode, nothing of what it said changes. Before a change
// of another session is applied, every session that may have kept something it changes is sent a
// notice, and has said that it has dropped that everywhere (or is over). Notices of a session are
// numbered; `lease` is the number of the newest one when the reply was made, so a reply that
// crossed a notice is recognised: it is true, but not to be kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/fields.h"
#include "proto/message_type.h"

namespace dfs {

// What is about to change of an inode. Its attributes always are.
struct LeaseChange {
  InodeId inode;
  bool contents = false;  // of a file: also size, extents and bytes; the lease ends
  // Of a directory: names that will stand for something else, or for nothing; and new names.
  std::vector<std::string> names;
  std::vector<std::string> new_names;
  DFS_FIELDS(inode, contents, names, new_names)
  friend bool operator==(const LeaseChange&, const LeaseChange&) = default;
};

struct WaitForNoticesReply {
  std::uint64_t incarnation = 0;  // of the master process
  std::uint64_t number = 0;       // of the newest notice in it; that asked with, if it has none
  std::vector<LeaseChange> changes;
  DFS_FIELDS(incarnation, number, changes)
};
// Answered when there is a notice after `received`, or another such request of the session, or the
// master is another one than `incarnation`. Says that everything up to `handled` is dropped.
struct WaitForNoticesRequest {
  static constexpr MessageType kType = MessageType::kWaitForNotices;
  using Reply = WaitForNoticesReply;
  std::uint64_t incarnation = 0;
  std::uint64_t received = 0;
  std::uint64_t handled = 0;
  DFS_FIELDS(incarnation, received, handled)
};

struct ReclaimLeasesReply {
  std::uint64_t lease = 0;  // the number that notices of this master begin after
  DFS_FIELDS(lease)
};
// To a master that was started anew: what the session still keeps. In pages, at least one; nothing
// is changed by anybody before every session has sent all of its own, or is over.
struct ReclaimLeasesRequest {
  static constexpr MessageType kType = MessageType::kReclaimLeases;
  using Reply = ReclaimLeasesReply;
  std::uint64_t incarnation = 0;  // of the master it is meant for
  std::uint32_t page = 0;
  std::uint32_t pages = 1;
  std::vector<InodeId> inodes;
  DFS_FIELDS(incarnation, page, pages, inodes)
};

struct WithdrawReply {
  bool was_waiting = false;
  DFS_FIELDS(was_waiting)
};
// The caller of the change with that sequence was interrupted. A change that still waits for other
// sessions is not made then, and answered with kInterrupted.
struct WithdrawRequest {
  static constexpr MessageType kType = MessageType::kWithdraw;
  using Reply = WithdrawReply;
  std::uint64_t sequence = 0;
  DFS_FIELDS(sequence)
};

}  // namespace dfs
