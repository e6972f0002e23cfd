#include "master/core/lease_changes.h"

#include <algorithm>
#include <optional>
#include <string>

#include "master/core/namespace_rows.h"

namespace dfs::master {
namespace {

LeaseChange& change_of(LeaseChanges& changes, InodeId inode) {
  const auto known =
      std::find_if(changes.begin(), changes.end(),
                   [inode](const LeaseChange& change) { return change.inode == inode; });
  if (known != changes.end()) {
    return *known;
  }
  changes.push_back({.inode = inode, .contents = false, .names = {}, .new_names = {}});
  return changes.back();
}

// What the name stands for now, or nothing.
Result<std::optional<InodeId>> named(OpContext& context, InodeId parent, const std::string& name) {
  DFS_TRY(const NamePlace place, find_name(context, parent, name));
  return place.entry ? std::optional(place.entry->inode) : std::nullopt;
}

// The name, and what it stood for, are told of.
Status add_name(OpContext& context, LeaseChanges& changes, InodeId parent,
                const std::string& name) {
  DFS_TRY(const auto inode, named(context, parent, name));
  LeaseChange& directory = change_of(changes, parent);
  if (inode) {
    directory.names.push_back(name);
    change_of(changes, *inode);
  } else {
    directory.new_names.push_back(name);
  }
  return ok();
}

Result<LeaseChanges> removed_name(OpContext& context, InodeId parent, const std::string& name) {
  LeaseChanges changes;
  DFS_CHECK_OK(add_name(context, changes, parent, name));
  return changes;
}

LeaseChanges attributes_of(InodeId inode) {
  LeaseChanges changes;
  change_of(changes, inode);
  return changes;
}

LeaseChanges contents_of(InodeId inode) {
  LeaseChanges changes;
  change_of(changes, inode).contents = true;
  return changes;
}

}  // namespace

bool is_only_access(const SetAttributesRequest& request) {
  return request.was_read && !request.mode && !request.uid && !request.gid && !request.size_bytes &&
         !request.atime && !request.mtime && !request.atime_now && !request.mtime_now &&
         !request.clear_set_id;
}

Result<LeaseChanges> lease_changes(OpContext&, const SetAttributesRequest& request) {
  if (is_only_access(request)) {
    return LeaseChanges{};
  }
  return request.size_bytes ? contents_of(request.inode) : attributes_of(request.inode);
}

Result<LeaseChanges> lease_changes(OpContext& context, const CreateRequest& request) {
  LeaseChanges changes;
  if (request.is_unnamed) {
    return changes;
  }
  DFS_TRY(const auto existing, named(context, request.parent, request.name));
  if (!existing) {
    change_of(changes, request.parent).new_names.push_back(request.name);
  }
  return changes;
}

Result<LeaseChanges> lease_changes(OpContext& context, const UnlinkRequest& request) {
  return removed_name(context, request.parent, request.name);
}

Result<LeaseChanges> lease_changes(OpContext& context, const RemoveDirectoryRequest& request) {
  return removed_name(context, request.parent, request.name);
}

Result<LeaseChanges> lease_changes(OpContext& context, const RenameRequest& request) {
  LeaseChanges changes;
  DFS_CHECK_OK(add_name(context, changes, request.parent, request.name));
  DFS_CHECK_OK(add_name(context, changes, request.new_parent, request.new_name));
  return changes;
}

Result<LeaseChanges> lease_changes(OpContext&, const LinkRequest& request) {
  LeaseChanges changes = attributes_of(request.inode);
  change_of(changes, request.new_parent).new_names.push_back(request.new_name);
  return changes;
}

Result<LeaseChanges> lease_changes(OpContext&, const SetXattrRequest& request) {
  return attributes_of(request.inode);
}

Result<LeaseChanges> lease_changes(OpContext&, const RemoveXattrRequest& request) {
  return attributes_of(request.inode);
}

Result<LeaseChanges> lease_changes(OpContext&, const AllocateRequest& request) {
  return contents_of(request.inode);
}

Result<LeaseChanges> lease_changes(OpContext&, const CloneRangeRequest& request) {
  LeaseChanges changes = contents_of(request.destination);
  if (request.source != request.destination) {
    change_of(changes, request.source).settle = true;
  }
  return changes;
}

Result<LeaseChanges> lease_changes(OpContext&, const SetPolicyRequest& request) {
  return attributes_of(request.inode);
}

Result<LeaseChanges> lease_changes(OpContext&, const TakeWriteLeaseRequest& request) {
  return contents_of(request.inode);
}

}  // namespace dfs::master
