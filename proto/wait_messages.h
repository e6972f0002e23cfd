// What calls wait for: clients tell the master with their keep-alives (ClientWait), dfs-admin why
// asks it (ListWaits). A call that has waited for less than kWaitNoted is not spoken of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/fields.h"
#include "proto/message_type.h"

namespace dfs {

enum class WaitCause : std::uint8_t {
  kMaster = 0,   // the master's answer
  kNotice = 1,   // other clients, to say that they keep nothing of what changes
  kWriter = 2,   // other clients, to store what they have written
  kChange = 3,   // a change of the same file, which waits itself
  kLock = 4,     // who holds a lock
  kStart = 5,    // the master was started anew, and clients have yet to tell what they keep
  kServer = 6,   // the answer of a chunkserver
  kServers = 7,  // chunkservers: too few of them can be reached
  kSpace = 8,    // space on chunkservers
  kMemory = 9,   // memory of the client, which other calls use
  kOthers = 10,  // other calls of the same client
};
inline constexpr std::uint8_t kWaitCauseMax = 10;

// A call that waits in a client, as that client sees it.
struct ClientWait {
  std::string operation;  // a word, as "write"; at most kWaitWordBytesMax
  InodeId inode;          // 0: of the whole filesystem
  std::uint32_t pid = 0;  // of the caller; 0: the client itself, or not known
  std::uint64_t waited_ms = 0;
  std::uint8_t cause = 0;        // WaitCause
  std::string server;            // kServer: its address, if known; at most kWaitNameBytesMax
  std::uint64_t asked = 0;       // kMaster: the id of the request; kLock: of the wait; 0: not known
  std::uint64_t ends_in_ms = 0;  // then it fails, with EIO or ENOSPC; 0: it does not by itself
  DFS_FIELDS(operation, inode, pid, waited_ms, cause, server, asked, ends_in_ms)
  friend bool operator==(const ClientWait&, const ClientWait&) = default;
};

// A client that is spoken of: who waits, or is waited for.
struct WaitingClient {
  SessionId session;
  std::string name;              // the beginning of what it calls itself
  std::uint64_t silent_ms = 0;   // since it was heard
  std::uint64_t ends_in_ms = 0;  // its session, unless it is heard before
  DFS_FIELDS(session, name, silent_ms, ends_in_ms)
};

struct ListedWait {
  std::string operation;
  InodeId inode;
  std::string path;  // of the inode, or of the name in it that is concerned; empty: not known
  bool is_removed = false;  // the inode has no name any more
  SessionId session;        // who waits
  std::uint32_t pid = 0;
  std::uint64_t waited_ms = 0;
  std::uint8_t cause = 0;              // WaitCause
  std::vector<SessionId> others = {};  // whom it waits for, at most kListedOthersMax
  std::uint32_t others_total = 0;
  std::string server;
  std::uint64_t ends_in_ms = 0;   // as in ClientWait
  std::uint64_t told_ms_ago = 0;  // by the client; 0 also for what the master knows itself
  DFS_FIELDS(operation, inode, path, is_removed, session, pid, waited_ms, cause, others,
             others_total, server, ends_in_ms, told_ms_ago)
};
struct ListWaitsReply {
  std::vector<ListedWait> waits;
  std::vector<WaitingClient> clients;  // those of `waits`, by session
  std::uint64_t total = 0;             // of waits there are
  std::uint64_t unlisted = 0;          // more, which clients had no room to tell of
  bool end = false;
  DFS_FIELDS(waits, clients, total, unlisted, end)
};
// The calls that wait now, those that wait longest first; a page of them, since `skipped` were had.
// `path`: only those concerning the inode it names in the filesystem or, of a directory, what lies
// below it; empty: all. Answered in the grace period, too. Fails with kNotFound, kNotDirectory.
struct ListWaitsRequest {
  static constexpr MessageType kType = MessageType::kListWaits;
  using Reply = ListWaitsReply;
  std::string path;
  std::uint64_t skipped = 0;
  DFS_FIELDS(path, skipped)
};

}  // namespace dfs
