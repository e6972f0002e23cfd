// Client to master: extended attributes, with POSIX ACLs among them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/fields.h"
#include "proto/message_type.h"
#include "proto/shared_replies.h"

namespace dfs {

struct GetXattrReply {
  std::string value;
  DFS_FIELDS(value)
};
// Fails with kNoAttribute, kStale.
struct GetXattrRequest {
  static constexpr MessageType kType = MessageType::kGetXattr;
  using Reply = GetXattrReply;
  InodeId inode;
  std::string name;
  DFS_FIELDS(inode, name)
};

enum class XattrMode : std::uint8_t { kSet = 0, kCreateOnly = 1, kReplaceOnly = 2 };
inline constexpr std::uint8_t kXattrModeMax = 2;

// Fails with kExists, kNoAttribute, kBufferTooSmall (name), kNotSupported (its namespace),
// kArgumentTooBig (value), kNoSpace (the list of names would exceed its limit), kStale. An ACL is
// given as the kernel encodes it, and taken whatever the mode says: an access ACL also sets the
// permission bits, and is not kept if these say all of it; an empty one removes what there is.
// kInvalidArgument: malformed; kAccessDenied: a default ACL for what is not a directory.
struct SetXattrRequest {
  static constexpr MessageType kType = MessageType::kSetXattr;
  using Reply = EmptyReply;
  InodeId inode;
  std::string name;
  std::string value;
  std::uint8_t mode = 0;       // XattrMode
  bool clear_set_gid = false;  // with an access ACL, of a caller not in the inode's group
  DFS_FIELDS(inode, name, value, mode, clear_set_gid)
};

struct ListXattrsReply {
  std::vector<std::string> names;  // sorted
  DFS_FIELDS(names)
};
struct ListXattrsRequest {
  static constexpr MessageType kType = MessageType::kListXattrs;
  using Reply = ListXattrsReply;
  InodeId inode;
  DFS_FIELDS(inode)
};

// Fails with kNoAttribute (not for an ACL: its absence is what is wanted), kStale.
struct RemoveXattrRequest {
  static constexpr MessageType kType = MessageType::kRemoveXattr;
  using Reply = EmptyReply;
  InodeId inode;
  std::string name;
  DFS_FIELDS(inode, name)
};

}  // namespace dfs
