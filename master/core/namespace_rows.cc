#include "master/core/namespace_rows.h"

#include <string_view>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/lease_table.h"
#include "master/core/name_hash.h"
#include "master/core/session_table.h"
#include "proto/limits.h"

namespace dfs::master {

Status check_name(const std::string& name) {
  if (name.size() > kNameBytesMax) {
    return make_error(ErrorCode::kNameTooLong);
  }
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument, "not a name an entry can have");
  }
  return ok();
}

Result<InodeRow> require_inode(OpContext& context, InodeId inode) {
  DFS_TRY(std::optional<InodeRow> row, context.store.inode(inode));
  if (!row) {
    return make_error(ErrorCode::kStale);
  }
  return std::move(*row);
}

Result<InodeRow> require_directory(OpContext& context, InodeId inode) {
  DFS_TRY(InodeRow row, require_inode(context, inode));
  if (!row.attributes.is_directory()) {
    return make_error(ErrorCode::kNotDirectory);
  }
  return row;
}

Result<InodeRow> require_linked_directory(OpContext& context, InodeId inode) {
  DFS_TRY(InodeRow row, require_directory(context, inode));
  if (row.attributes.link_count == 0) {
    return make_error(ErrorCode::kNotFound, "the directory was removed");
  }
  return row;
}

Result<NamePlace> find_name(OpContext& context, InodeId parent, const std::string& name) {
  const std::uint64_t first = first_cookie(name);
  DFS_TRY(std::vector<EntryRow> rows,
          context.store.entries(parent, first, last_cookie(name), kCookieSlots));
  NamePlace place;
  std::uint64_t candidate = first;
  for (EntryRow& row : rows) {
    if (row.cookie == candidate) {
      ++candidate;
    }
    if (row.name == name) {
      place.entry = std::move(row);
    }
  }
  place.free_cookie = candidate <= last_cookie(name) ? candidate : 0;
  return place;
}

Result<EntryRow> require_entry(OpContext& context, InodeId parent, const std::string& name) {
  DFS_TRY(NamePlace place, find_name(context, parent, name));
  if (!place.entry) {
    return make_error(ErrorCode::kNotFound);
  }
  return std::move(*place.entry);
}

Result<std::uint64_t> require_free_place(OpContext& context, InodeId parent,
                                         const std::string& name) {
  DFS_TRY(const NamePlace place, find_name(context, parent, name));
  if (place.entry) {
    return make_error(ErrorCode::kExists);
  }
  if (place.free_cookie == 0) {
    return make_error(ErrorCode::kNoSpace, "too many names with one hash in a directory");
  }
  return place.free_cookie;
}

Result<bool> is_directory_empty(OpContext& context, InodeId directory) {
  DFS_TRY(const std::vector<EntryRow> rows, context.store.entries(directory, 0, kLastCookie, 1));
  return rows.empty();
}

void remove_subdirectory_link(InodeRow& parent) {
  // Two of them are its own; a damaged count stops there.
  if (parent.attributes.link_count > 2) {
    --parent.attributes.link_count;
  }
}

Status touch_directory(OpContext& context, InodeRow& directory) {
  DFS_ASSERT(directory.attributes.is_directory());
  DFS_TRY(directory.attributes.data_version, context.take_number(Counter::kDataVersion));
  directory.attributes.mtime = context.now;
  directory.attributes.ctime = context.now;
  return ok();
}

void clear_set_id(Attributes& attributes) {
  constexpr std::uint32_t kModeGroupExecute = 0010;
  attributes.mode &= ~kModeSetUid;
  if ((attributes.mode & kModeGroupExecute) != 0) {
    attributes.mode &= ~kModeSetGid;
  }
}

bool is_open_elsewhere(const OpContext& context, InodeId inode) {
  return context.others_were_told || context.sessions.is_pinned_by_others(context.session, inode);
}

Status drop_link(OpContext& context, InodeRow& inode) {
  Attributes& attributes = inode.attributes;
  attributes.ctime = context.now;
  if (attributes.is_directory() || attributes.link_count <= 1) {
    attributes.link_count = 0;
  } else {
    --attributes.link_count;
  }
  if (!attributes.is_directory() && attributes.link_count == 0) {
    inode.parent = {};  // one that is set means that it never had a name
  }
  DFS_CHECK_OK(context.store.put_inode(inode));
  if (attributes.link_count > 0) {
    return ok();
  }
  // Who removes a file has told before that it has it open; of directories it tells later, like
  // everybody else.
  const SessionId has_told = attributes.is_directory() ? SessionId{} : context.session;
  DFS_CHECK_OK(context.store.put_orphan(
      {.inode = attributes.inode, .since = context.now, .unlinked_by = has_told}));
  context.chunks.wake_reclaimer();
  return ok();
}

Result<EntryReply> make_entry_reply(OpContext& context, const InodeRow& inode) {
  EntryReply reply;
  reply.attributes = inode.attributes;
  context.grant(inode.attributes);
  if (context.leases.is_changing(inode.attributes.inode)) {
    return reply;  // bytes read by these extents could be kept above any cache of ours
  }
  if (!inode.attributes.is_regular() || inode.attributes.size_bytes > kExtentWindowBytes) {
    return reply;
  }
  if (inode.attributes.used_bytes > 0) {
    DFS_TRY(std::vector<WindowRow> windows, context.store.windows(inode.attributes.inode, 0, 0, 1));
    if (!windows.empty()) {
      if (windows.front().extents.size() > kLookupExtentsMax) {
        return reply;
      }
      reply.extents = std::move(windows.front().extents);
      DFS_TRY(reply.locations, context.chunks.locations(context, reply.extents));
    }
  }
  reply.has_extents = true;
  return reply;
}

}  // namespace dfs::master
