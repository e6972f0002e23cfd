// Client and master: what the client may keep in its caches, and what it must drop.
//
// A reply that tells of inodes and bears a `lease` number may be kept by the session: until the
// master sends it a notice that names the inode, nothing of what it said changes. Before a change
// of another session is applied, every session that may have kept something it changes is sent a
// notice, and has said that it has dropped that everywhere (or is over). Notices of a session are
// numbered; `lease` is the number of the newest one when the reply was made, so a reply that
// crossed a notice is recognised: it is true, but not to be kept.
//
// Bytes are buffered in a client only under a write lease: then no other session has any lease on
// the file, and whoever asks about it waits until the writer was sent a notice and has stored what
// it buffers. Each write lease that is given has an **epoch**, a number that is given once, which
// every commit of bytes written under it bears. Without it a commit is refused, so what a client
// still sends after its lease was taken changes nothing, whatever lease it has got since.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/attributes.h"
#include "proto/fields.h"
#include "proto/message_type.h"
#include "proto/shared_replies.h"

namespace dfs {

// What is about to change of an inode. Its attributes always are.
struct LeaseChange {
  InodeId inode;
  bool contents = false;  // of a file: also size, extents and bytes; the lease ends
  // Nothing changes, but another session asks: the write lease ends when all is stored that was
  // written under it. What is kept stays true.
  bool settle = false;
  // Of a directory: names that will stand for something else, or for nothing; and new names.
  std::vector<std::string> names;
  std::vector<std::string> new_names;
  DFS_FIELDS(inode, contents, settle, names, new_names)
  friend bool operator==(const LeaseChange&, const LeaseChange&) = default;
};

struct LeaseNotice {
  std::uint64_t number = 0;
  std::vector<LeaseChange> changes;
  DFS_FIELDS(number, changes)
};
struct WaitForNoticesReply {
  std::uint64_t incarnation = 0;          // of the master process
  std::vector<LeaseNotice> notices = {};  // in the order of their numbers
  DFS_FIELDS(incarnation, notices)
};
// Answered when there is a notice after `received`, or another such request of the session, or the
// master is another one than `incarnation`. Says that what the notices up to `handled`, and those
// in `also_handled`, name is dropped and stored. Those in `held_up` are not, and may
// not be before a truncation of the session is answered: what of the file is kept meanwhile.
struct WaitForNoticesRequest {
  static constexpr MessageType kType = MessageType::kWaitForNotices;
  using Reply = WaitForNoticesReply;
  std::uint64_t incarnation = 0;
  std::uint64_t received = 0;
  std::uint64_t handled = 0;
  std::vector<std::uint64_t> also_handled = {};
  std::vector<std::uint64_t> held_up = {};
  DFS_FIELDS(incarnation, received, handled, also_handled, held_up)
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
  std::vector<InodeId> written = {};       // more of them, with a write lease
  std::vector<std::uint64_t> epochs = {};  // of each of these leases
  DFS_FIELDS(incarnation, page, pages, inodes, written, epochs)
};

struct TakeWriteLeaseReply {
  Attributes attributes;
  std::uint64_t lease = 0;  // as in EntryReply; 0: ask again
  std::uint64_t epoch = 0;
  DFS_FIELDS(attributes, lease, epoch)
};
// Answered when no other session has a lease on the file. Fails with kLeaseLost: its contents are
// not those of `data_version` any more (0: any will do), so that bytes written over those, under a
// lease of a session that is over, may not be stored.
struct TakeWriteLeaseRequest {
  static constexpr MessageType kType = MessageType::kTakeWriteLease;
  using Reply = TakeWriteLeaseReply;
  InodeId inode;
  std::uint64_t data_version = 0;
  DFS_FIELDS(inode, data_version)
};

// Nothing written to these files is not stored: others may ask for them freely. What is kept of
// them is kept on.
struct ReleaseWriteLeasesRequest {
  static constexpr MessageType kType = MessageType::kReleaseWriteLeases;
  using Reply = EmptyReply;
  std::vector<InodeId> inodes;  // at most kReleasedLeasesMax
  DFS_FIELDS(inodes)
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
