// Client to master: names and attributes. Permissions are the kernel's work
// (`default_permissions`); the master enforces structure. Requests that change something carry a
// sequence number in the envelope and are applied once however often they arrive.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "proto/attributes.h"
#include "proto/fields.h"
#include "proto/message_type.h"
#include "proto/shared_replies.h"

namespace dfs {

// Fails with kNotFound, kNotDirectory, kNameTooLong, kStale (the parent is gone).
// "." and ".." are answered too.
struct LookupRequest {
  static constexpr MessageType kType = MessageType::kLookup;
  using Reply = EntryReply;
  InodeId parent;
  std::string name;
  DFS_FIELDS(parent, name)
};

// Fails with kStale.
struct GetAttributesRequest {
  static constexpr MessageType kType = MessageType::kGetAttributes;
  using Reply = AttributesReply;
  InodeId inode;
  DFS_FIELDS(inode)
};

// Each member that is set is changed. Fails with kStale, kFileTooBig, kIsDirectory (size of a
// directory), kInvalidArgument. ctime becomes the master's time; mtime too when the size changes
// and mtime is not given. A new size drops the extents beyond it; a new mode is the access ACL's,
// too.
struct SetAttributesRequest {
  static constexpr MessageType kType = MessageType::kSetAttributes;
  using Reply = AttributesReply;
  InodeId inode;
  std::optional<std::uint32_t> mode;  // permission bits
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<std::uint64_t> size_bytes;
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  bool atime_now = false;  // the master's time
  bool mtime_now = false;
  bool clear_set_id = false;  // drop set-uid and (if group-executable) set-gid, as on a write
  // Somebody read the file: atime becomes the master's time, and that alone does not move ctime.
  bool was_read = false;
  DFS_FIELDS(inode, mode, uid, gid, size_bytes, atime, mtime, atime_now, mtime_now, clear_set_id,
             was_read)
};

// Makes an inode of any type with one name. A set-gid parent gives its group, and to directories
// the bit. A parent with a default ACL gives that, and then the umask does not count. Fails with
// kExists, kNotFound or kStale (the parent is gone), kNotDirectory, kNameTooLong, kTooManyLinks,
// kInvalidArgument (an impossible name or type).
struct CreateRequest {
  static constexpr MessageType kType = MessageType::kCreate;
  using Reply = EntryReply;
  InodeId parent;
  std::string name;
  std::uint32_t mode = 0;  // type and permissions
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t device = 0;
  std::string symlink_target;
  bool pin = false;         // the session holds the new inode open
  std::uint32_t umask = 0;  // the caller's
  // O_TMPFILE: a regular file with `pin` and without a name. LinkRequest can give it one.
  bool is_unnamed = false;
  DFS_FIELDS(parent, name, mode, uid, gid, device, symlink_target, pin, umask, is_unnamed)
};

struct UnlinkReply {
  InodeId inode;                 // what the name stood for
  std::uint32_t link_count = 0;  // what is left
  Attributes parent;             // the directory as it is now
  std::uint64_t lease = 0;       // as in EntryReply
  // Another session has it open, or may: what this one has written and not stored is to be read.
  bool is_open_elsewhere = false;
  DFS_FIELDS(inode, link_count, parent, lease, is_open_elsewhere)
};
// Fails with kNotFound, kIsDirectory, kStale.
struct UnlinkRequest {
  static constexpr MessageType kType = MessageType::kUnlink;
  using Reply = UnlinkReply;
  InodeId parent;
  std::string name;
  DFS_FIELDS(parent, name)
};

// Fails with kNotFound, kNotDirectory, kNotEmpty, kStale.
struct RemoveDirectoryRequest {
  static constexpr MessageType kType = MessageType::kRemoveDirectory;
  using Reply = UnlinkReply;
  InodeId parent;
  std::string name;
  DFS_FIELDS(parent, name)
};

enum class RenameMode : std::uint8_t { kReplace = 0, kNoReplace = 1, kExchange = 2 };
inline constexpr std::uint8_t kRenameModeMax = 2;

struct RenameReply {
  InodeId moved;
  InodeId replaced;  // lost this name, or 0
  std::uint32_t replaced_link_count = 0;
  // As they are now: what was moved (with an exchange, both) and the directories.
  std::vector<Attributes> changed;
  std::uint64_t lease = 0;                  // as in EntryReply
  bool replaced_is_open_elsewhere = false;  // as in UnlinkReply
  DFS_FIELDS(moved, replaced, replaced_link_count, changed, lease, replaced_is_open_elsewhere)
};
// POSIX rename(2) and the flags of renameat2(2). Fails with kNotFound, kExists, kNotEmpty,
// kIsDirectory, kNotDirectory, kInvalidArgument (a directory into itself), kTooManyLinks, kStale.
struct RenameRequest {
  static constexpr MessageType kType = MessageType::kRename;
  using Reply = RenameReply;
  InodeId parent;
  std::string name;
  InodeId new_parent;
  std::string new_name;
  std::uint8_t mode = 0;         // RenameMode
  bool leaves_whiteout = false;  // under the old name, owned as said; not with kExchange
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  DFS_FIELDS(parent, name, new_parent, new_name, mode, leaves_whiteout, uid, gid)
};

// Fails with kExists, kTooManyLinks, kNotPermitted (a directory), kStale, kNotFound (it lost its
// last name).
struct LinkRequest {
  static constexpr MessageType kType = MessageType::kLink;
  using Reply = EntryReply;
  InodeId inode;
  InodeId new_parent;
  std::string new_name;
  DFS_FIELDS(inode, new_parent, new_name)
};

struct ReadLinkReply {
  std::string target;
  DFS_FIELDS(target)
};
// Fails with kInvalidArgument (not a symlink), kStale.
struct ReadLinkRequest {
  static constexpr MessageType kType = MessageType::kReadLink;
  using Reply = ReadLinkReply;
  InodeId inode;
  DFS_FIELDS(inode)
};

struct DirectoryEntry {
  std::string name;
  std::uint64_t cookie = 0;  // stable while the entry lives; unique in its directory
  Attributes attributes;
  bool is_written = false;  // by another session: the attributes are not the newest
  DFS_FIELDS(name, cookie, attributes, is_written)
};
struct ReadDirectoryReply {
  std::vector<DirectoryEntry> entries;  // in cookie order
  bool end = false;                     // nothing behind the last entry
  InodeId parent;                       // of the directory itself, for ".."
  std::uint64_t lease = 0;              // as in EntryReply
  DFS_FIELDS(entries, end, parent, lease)
};
// The entries whose cookie is greater than `cookie` (0: from the start; no entry has cookie 0, and
// none is above 2^63 - 1). Entries that exist all through a listing appear once in it.
// Fails with kNotDirectory, kNotFound (removed, and only held open), kStale.
struct ReadDirectoryRequest {
  static constexpr MessageType kType = MessageType::kReadDirectory;
  using Reply = ReadDirectoryReply;
  InodeId inode;
  std::uint64_t cookie = 0;
  std::uint32_t entries_max = 0;
  DFS_FIELDS(inode, cookie, entries_max)
};

struct StatFilesystemReply {
  std::uint64_t total_bytes = 0;      // at the policy's replica count
  std::uint64_t available_bytes = 0;  // what users can still write at it
  std::uint64_t inodes_used = 0;
  std::uint64_t inodes_max = 0;
  bool is_preliminary = false;  // the master was started just now, and servers are missing in it
  DFS_FIELDS(total_bytes, available_bytes, inodes_used, inodes_max, is_preliminary)
};
// By the policy of `inode`.
struct StatFilesystemRequest {
  static constexpr MessageType kType = MessageType::kStatFilesystem;
  using Reply = StatFilesystemReply;
  InodeId inode;
  DFS_FIELDS(inode)
};

}  // namespace dfs
