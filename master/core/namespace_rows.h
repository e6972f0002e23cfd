// What the operations on names share: checked reading of inodes and names, and the bookkeeping
// that goes with a name's coming and going. All run inside a transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/ids.h"
#include "common/result.h"
#include "master/core/op_context.h"
#include "master/core/store.h"
#include "proto/namespace_messages.h"

namespace dfs::master {

// The size every directory shows.
inline constexpr std::uint64_t kDirectorySizeBytes = 4096;

// Fails with kInvalidArgument (empty, ".", "..", '/' or NUL in it), kNameTooLong.
Status check_name(const std::string& name);

// Fails with kStale: it is not there (any more).
Result<InodeRow> require_inode(OpContext& context, InodeId inode);
// Also fails with kNotDirectory.
Result<InodeRow> require_directory(OpContext& context, InodeId inode);
// One that can have names: fails with kNotFound when it was removed and is only held open.
Result<InodeRow> require_linked_directory(OpContext& context, InodeId inode);

// The place of a name in a directory.
struct NamePlace {
  std::optional<EntryRow> entry;  // of that name
  std::uint64_t free_cookie = 0;  // where it could be put; 0: no cookie of this hash is free
};
Result<NamePlace> find_name(OpContext& context, InodeId parent, const std::string& name);
// Fails with kNotFound.
Result<EntryRow> require_entry(OpContext& context, InodeId parent, const std::string& name);
// The cookie for a new entry. Fails with kExists, kNoSpace (too many names of one hash).
Result<std::uint64_t> require_free_place(OpContext& context, InodeId parent,
                                         const std::string& name);

Result<bool> is_directory_empty(OpContext& context, InodeId directory);

// A directory has a link from the ".." of each directory in it. Does not write the row.
void remove_subdirectory_link(InodeRow& parent);

// Sets times and data version of a directory whose entries change; does not write the row.
Status touch_directory(OpContext& context, InodeRow& directory);

// Set-uid goes, and set-gid with group execution, as a write does; without group execution that bit
// once meant mandatory locking, and stays. Does not write the row.
void clear_set_id(Attributes& attributes);

// One name of the inode is gone: writes the row, and makes it an orphan when that was the last one
// (a directory loses all its links with its one name).
Status drop_link(OpContext& context, InodeRow& inode);

// Whether another session has the inode open, or may: it has said so, or was told of this change
// and may have opened it before and say so later.
bool is_open_elsewhere(const OpContext& context, InodeId inode);

// The answer about an inode, with the extents of a small file.
Result<EntryReply> make_entry_reply(OpContext& context, const InodeRow& inode);

}  // namespace dfs::master
