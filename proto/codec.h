// Messages to bytes and back, with msgpack. A head is the envelope's array, then the body's.
//
// The first element of the envelope is the protocol version in every version there will be, so
// that old and new peers can at least tell each other apart. Everything decoded is checked for
// type, range and the limits of proto/limits.h; what does not fit is kBadMessage, whatever bytes
// came. Arrays longer than this version knows are read up to what it knows; shorter ones leave
// the defaults.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "common/buffer.h"
#include "common/cluster_tag.h"
#include "common/ids.h"
#include "common/result.h"
#include "proto/fields.h"
#include "proto/message_type.h"

namespace dfs {

enum class MessageKind : std::uint8_t { kRequest = 1, kReply = 2 };

// What a change was given besides its request and the store. A master that has lost the change
// makes the same of it again with these. (Data versions are taken anew: that only makes caches
// ask.)
struct ChangeStamp {
  std::uint64_t index = 0;  // its place among all changes, from 1; 0: no stamp
  Timestamp time;           // of the master, when it was applied
  InodeId inode;            // the number for an inode it took, or 0
  DFS_FIELDS(index, time, inode)
  friend bool operator==(const ChangeStamp&, const ChangeStamp&) = default;
};

struct Envelope {
  std::uint32_t version = 0;
  MessageKind kind = MessageKind::kRequest;
  MessageType type = MessageType::kPing;
  std::uint64_t request_id = 0;     // the sender's; the reply repeats it
  SessionId session;                // 0 outside sessions
  std::uint64_t sequence = 0;       // of a change within the session, from 1; 0: changes nothing
  std::uint64_t acknowledged = 0;   // every change up to here was answered: forget its answer
  std::uint32_t deadline_ms = 0;    // how long the sender will wait from now; 0: no limit
  ErrorCode code = ErrorCode::kOk;  // of a reply; with an error there is no body
  std::string detail;               // of an error
  ChangeStamp stamp = {};           // of an applied change: in its reply, and when it is replayed
  // In a reply of the master: every change up to this index is on stable storage. 0: not known.
  std::uint64_t durable_index = 0;
  ClusterTag cluster = {};  // of a request: a server of another one refuses it; 0: of any
};

// Precondition: fits kHeadBytesMax (senders bound what they put in).
template <class Body>
Buffer encode_message(const Envelope& envelope, const Body& body);
Buffer encode_error(const Envelope& envelope);

struct DecodedHead {
  Envelope envelope;
  std::span<const std::byte> body;  // within the bytes given
};
// Fails with kVersionMismatch (the first element is another version: envelope fields unknown) or
// kBadMessage.
Result<DecodedHead> decode_head(std::span<const std::byte> head);

template <class Body>
Result<Body> decode_body(std::span<const std::byte> body);

}  // namespace dfs
