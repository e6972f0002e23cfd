// Client to master: the session. Every request of a client carries its session in the envelope.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/fields.h"
#include "proto/limits.h"
#include "proto/message_type.h"
#include "proto/wait_messages.h"

namespace dfs {

struct PingReply {
  std::uint64_t incarnation = 0;  // differs after each start of the answering process
  DFS_FIELDS(incarnation)
};
// Answered by the RPC layer of every server at once, whatever its logic is doing.
struct PingRequest {
  static constexpr MessageType kType = MessageType::kPing;
  using Reply = PingReply;
  DFS_NO_FIELDS
};

struct OpenSessionReply {
  SessionId session;
  std::string cluster_id;         // 32 hex digits
  std::uint64_t incarnation = 0;  // of the master process
  std::uint32_t keep_alive_ms = 0;
  std::uint32_t session_timeout_ms = 0;
  std::uint64_t losses = 0;  // how often the master may have lost changes nobody had made durable
  // The session was there already: its first answer was lost, and the master may have been started
  // anew since, and wait to be told what it holds.
  bool was_there = false;
  Timestamp now = {};  // by the master's clock
  DFS_FIELDS(session, cluster_id, incarnation, keep_alive_ms, session_timeout_ms, losses, was_there,
             now)
};
struct OpenSessionRequest {
  static constexpr MessageType kType = MessageType::kOpenSession;
  using Reply = OpenSessionReply;
  std::string client_name;  // host, mount point: for people
  std::uint64_t nonce = 0;  // random: a repeated request gets the same session
  // Nonces of sessions whose clients are surely dead: they end now, and nobody waits for them.
  std::vector<std::uint64_t> ends;
  // Of the sessions before this one; empty at the first. Another cluster's master refuses it.
  std::string cluster_id = {};
  DFS_FIELDS(client_name, nonce, ends, cluster_id)
};

struct KeepAliveReply {
  std::uint64_t incarnation = 0;
  bool wants_replay = false;  // it may have lost changes of this session: see ReplayChanges
  Timestamp now = {};         // by the master's clock
  DFS_FIELDS(incarnation, wants_replay, now)
};
// Says that the session lives, and which inodes it has open: an unlinked inode is kept while any
// session pins it. Sent at once before an operation that could free a newly opened inode, else
// with the regular keep-alive, and each second while calls wait. Repeating it is harmless.
struct KeepAliveRequest {
  static constexpr MessageType kType = MessageType::kKeepAlive;
  using Reply = KeepAliveReply;
  bool full = false;  // `pinned` is everything the session has open; else a change
  std::vector<InodeId> pinned;
  std::vector<InodeId> unpinned;
  std::uint64_t sequence = 0;  // rising: a late duplicate of an older one is ignored
  // All calls that wait, the oldest first, as many as there is room for; and how many more.
  std::vector<ClientWait> waits = {};
  std::uint64_t waits_untold = 0;
  DFS_FIELDS(full, pinned, unpinned, sequence, waits, waits_untold)
};

// A full list that was on its way while the master made and pinned a new inode does not name it. So
// such a pin outlives the full lists of its first moments.
inline constexpr std::chrono::milliseconds kCreatedPinRest = 2 * kSessionKeepAlive;
struct ReplayChangesReply {
  std::vector<std::uint16_t> codes;  // ErrorCode; one for each change: kOk, or why it is lost
  std::uint64_t losses = 0;          // as in OpenSessionReply
  DFS_FIELDS(codes, losses)
};
// Every change of the session that was answered and is not known to be durable, for a master that
// asks for it in KeepAliveReply. In pages, each answered when the changes of all sessions are
// applied, in the order of their indices: then all of them are durable. The changes lie in it as
// they were sent first, each with its stamp in the envelope.
struct ReplayChangesRequest {
  static constexpr MessageType kType = MessageType::kReplayChanges;
  using Reply = ReplayChangesReply;
  std::uint64_t incarnation = 0;  // of the master that asked
  std::uint32_t page = 0;
  std::uint32_t pages = 1;
  std::vector<std::string> changes;  // encoded heads
  DFS_FIELDS(incarnation, page, pages, changes)
};

struct CloseSessionReply {
  DFS_NO_FIELDS
};
struct CloseSessionRequest {
  static constexpr MessageType kType = MessageType::kCloseSession;
  using Reply = CloseSessionReply;
  DFS_NO_FIELDS
};

}  // namespace dfs
