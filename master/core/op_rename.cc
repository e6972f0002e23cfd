// rename(2) and renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE.
#include <optional>
#include <utility>

#include "master/core/namespace_rows.h"
#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

// Directories above one another that a move looks through. A path this deep cannot be named whole.
constexpr std::size_t kAncestorsMax = 65536;

// Everything a rename touches, read and checked before the first change.
struct Plan {
  InodeRow parent;
  std::optional<InodeRow> other_parent;  // the new one, when it is not the same
  EntryRow source;
  InodeRow moved;
  NamePlace target;
  std::optional<InodeRow> replaced;  // what the target names; with kExchange the other one moved
  RenameMode mode = RenameMode::kReplace;

  InodeRow& new_parent() { return other_parent ? *other_parent : parent; }
  bool moves_between_directories() const { return other_parent.has_value(); }
};

// Whether `directory` is `ancestor` or below it.
Result<bool> is_within(OpContext& context, InodeId directory, InodeId ancestor) {
  InodeId current = directory;
  for (std::size_t depth = 0; depth < kAncestorsMax; ++depth) {
    if (current == ancestor) {
      return true;
    }
    if (current == kRootInode) {
      return false;
    }
    DFS_TRY(const InodeRow row, require_directory(context, current));
    current = row.parent;
  }
  return make_error(ErrorCode::kInvalidArgument, "the directory is nested too deeply to be moved");
}

Result<Plan> read_rows(OpContext& context, const RenameRequest& request) {
  Plan plan;
  plan.mode = static_cast<RenameMode>(request.mode);
  DFS_TRY(plan.parent, require_directory(context, request.parent));
  if (request.new_parent != request.parent) {
    DFS_TRY(plan.other_parent, require_linked_directory(context, request.new_parent));
  }
  DFS_TRY(plan.source, require_entry(context, request.parent, request.name));
  DFS_TRY(plan.moved, require_inode(context, plan.source.inode));
  DFS_TRY(plan.target, find_name(context, request.new_parent, request.new_name));
  if (plan.target.entry) {
    DFS_TRY(plan.replaced, require_inode(context, plan.target.entry->inode));
  }
  return plan;
}

Status check_replacement(OpContext& context, const Plan& plan) {
  const Attributes& moved = plan.moved.attributes;
  const Attributes& replaced = plan.replaced->attributes;
  if (moved.is_directory() && !replaced.is_directory()) {
    return make_error(ErrorCode::kNotDirectory);
  }
  if (!moved.is_directory() && replaced.is_directory()) {
    return make_error(ErrorCode::kIsDirectory);
  }
  if (replaced.is_directory()) {
    DFS_TRY(const bool is_empty, is_directory_empty(context, replaced.inode));
    if (!is_empty) {
      return make_error(ErrorCode::kNotEmpty);
    }
  }
  return ok();
}

// No directory may come to lie within itself.
Status check_loops(OpContext& context, const Plan& plan, const RenameRequest& request) {
  if (!plan.moves_between_directories()) {
    return ok();
  }
  bool makes_loop = false;
  if (plan.moved.attributes.is_directory()) {
    DFS_TRY(makes_loop, is_within(context, request.new_parent, plan.source.inode));
  }
  if (!makes_loop && plan.mode == RenameMode::kExchange &&
      plan.replaced->attributes.is_directory()) {
    DFS_TRY(makes_loop, is_within(context, request.parent, plan.target.entry->inode));
  }
  if (makes_loop) {
    return make_error(ErrorCode::kInvalidArgument, "a directory cannot be moved into itself");
  }
  return ok();
}

// How a directory's count of subdirectories changes in the new parent.
int subdirectories_gained(const Plan& plan) {
  const int gained = plan.moved.attributes.is_directory() ? 1 : 0;
  const int lost = plan.replaced && plan.replaced->attributes.is_directory() ? 1 : 0;
  return gained - lost;
}

Status check(OpContext& context, Plan& plan, const RenameRequest& request) {
  if (plan.target.entry && plan.mode == RenameMode::kNoReplace) {
    return make_error(ErrorCode::kExists);
  }
  if (!plan.target.entry && plan.mode == RenameMode::kExchange) {
    return make_error(ErrorCode::kNotFound);
  }
  DFS_CHECK_OK(check_loops(context, plan, request));
  if (plan.target.entry && plan.mode == RenameMode::kReplace) {
    DFS_CHECK_OK(check_replacement(context, plan));
  }
  if (!plan.target.entry && plan.target.free_cookie == 0) {
    return make_error(ErrorCode::kNoSpace, "too many names with one hash in a directory");
  }
  if (!plan.moves_between_directories()) {
    return ok();
  }
  const int gained = subdirectories_gained(plan);
  const bool new_is_full = gained > 0 && plan.new_parent().attributes.link_count >= kLinkCountMax;
  const bool old_is_full = gained < 0 && plan.mode == RenameMode::kExchange &&
                           plan.parent.attributes.link_count >= kLinkCountMax;
  if (new_is_full || old_is_full) {
    return make_error(ErrorCode::kTooManyLinks);
  }
  return ok();
}

void add_subdirectory_links(InodeRow& directory, int difference) {
  if (difference > 0) {
    ++directory.attributes.link_count;
  } else if (difference < 0) {
    remove_subdirectory_link(directory);
  }
}

void count_links(Plan& plan) {
  const int gained = subdirectories_gained(plan);
  if (!plan.moves_between_directories()) {
    if (plan.mode == RenameMode::kReplace && plan.replaced) {
      add_subdirectory_links(plan.parent, plan.replaced->attributes.is_directory() ? -1 : 0);
    }
    return;
  }
  add_subdirectory_links(plan.new_parent(), gained);
  const bool source_left = plan.moved.attributes.is_directory();
  add_subdirectory_links(plan.parent, plan.mode == RenameMode::kExchange ? -gained
                                      : source_left                      ? -1
                                                                         : 0);
}

Status put_moved(OpContext& context, InodeRow& row, InodeId new_parent) {
  row.attributes.ctime = context.now;
  row.parent = new_parent;
  return context.store.put_inode(row);
}

// What a union filesystem takes for "removed here": a character device 0:0.
Result<InodeId> make_whiteout(OpContext& context, const Plan& plan, const RenameRequest& request) {
  InodeRow row;
  row.parent = plan.parent.attributes.inode;
  DFS_TRY(const std::uint64_t number, context.take_number(Counter::kNextInode));
  Attributes& attributes = row.attributes;
  attributes.inode = InodeId{number};
  attributes.mode = kModeCharacterDevice;
  attributes.uid = request.uid;
  attributes.gid = request.gid;
  attributes.link_count = 1;
  attributes.atime = attributes.mtime = attributes.ctime = context.now;
  attributes.policy = plan.parent.attributes.policy;
  attributes.xattr_kinds = 0;
  DFS_TRY(attributes.data_version, context.take_number(Counter::kDataVersion));
  DFS_CHECK_OK(context.store.put_inode(row));
  DFS_CHECK_OK(context.add_to_counter(Counter::kInodes, 1));
  return attributes.inode;
}

Status move_names(OpContext& context, Plan& plan, const RenameRequest& request) {
  const std::uint64_t target_cookie =
      plan.target.entry ? plan.target.entry->cookie : plan.target.free_cookie;
  DFS_CHECK_OK(context.store.put_entry({.parent = request.new_parent,
                                        .cookie = target_cookie,
                                        .name = request.new_name,
                                        .inode = plan.source.inode}));
  InodeId left_behind;
  if (plan.mode == RenameMode::kExchange) {
    left_behind = plan.target.entry->inode;
  } else if (request.leaves_whiteout) {
    DFS_TRY(left_behind, make_whiteout(context, plan, request));
  } else {
    return context.store.erase_entry(request.parent, plan.source.cookie);
  }
  return context.store.put_entry({.parent = request.parent,
                                  .cookie = plan.source.cookie,
                                  .name = request.name,
                                  .inode = left_behind});
}

// A row in two roles would be written twice with different contents. The checks before leave that
// to a damaged database only.
bool stands_for_two(Plan& plan) {
  const InodeId moved = plan.moved.attributes.inode;
  const InodeId parent = plan.parent.attributes.inode;
  const InodeId new_parent = plan.new_parent().attributes.inode;
  const InodeId replaced = plan.replaced ? plan.replaced->attributes.inode : InodeId{};
  return moved == parent || moved == new_parent || replaced == parent || replaced == new_parent;
}

Result<RenameReply> carry_out(OpContext& context, Plan& plan, const RenameRequest& request) {
  RenameReply reply;
  reply.moved = plan.source.inode;
  count_links(plan);
  DFS_CHECK_OK(move_names(context, plan, request));
  DFS_CHECK_OK(put_moved(context, plan.moved, request.new_parent));
  if (plan.replaced && plan.mode == RenameMode::kExchange) {
    DFS_CHECK_OK(put_moved(context, *plan.replaced, request.parent));
    reply.changed.push_back(plan.replaced->attributes);
  } else if (plan.replaced) {
    DFS_CHECK_OK(drop_link(context, *plan.replaced));
    reply.replaced = plan.replaced->attributes.inode;
    reply.replaced_link_count = plan.replaced->attributes.link_count;
    reply.replaced_is_open_elsewhere = is_open_elsewhere(context, reply.replaced);
  }
  DFS_CHECK_OK(touch_directory(context, plan.parent));
  DFS_CHECK_OK(context.store.put_inode(plan.parent));
  reply.changed.push_back(plan.moved.attributes);
  reply.changed.push_back(plan.parent.attributes);
  if (plan.other_parent) {
    DFS_CHECK_OK(touch_directory(context, *plan.other_parent));
    DFS_CHECK_OK(context.store.put_inode(*plan.other_parent));
    reply.changed.push_back(plan.other_parent->attributes);
  }
  for (const Attributes& attributes : reply.changed) {
    context.grant(attributes);
  }
  return reply;
}

}  // namespace

Result<RenameReply> apply(OpContext& context, const RenameRequest& request) {
  DFS_CHECK_OK(check_name(request.name));
  DFS_CHECK_OK(check_name(request.new_name));
  const bool is_exchange = request.mode == static_cast<std::uint8_t>(RenameMode::kExchange);
  if (request.mode > kRenameModeMax || (is_exchange && request.leaves_whiteout)) {
    return make_error(ErrorCode::kInvalidArgument, "unknown rename mode");
  }
  DFS_TRY(Plan plan, read_rows(context, request));
  const bool is_same_inode = plan.target.entry && plan.target.entry->inode == plan.source.inode;
  if (is_same_inode && plan.mode != RenameMode::kNoReplace) {
    // POSIX: two names of one inode, both stay.
    RenameReply nothing_changed;
    nothing_changed.moved = plan.source.inode;
    return nothing_changed;
  }
  DFS_CHECK_OK(check(context, plan, request));
  if (stands_for_two(plan)) {
    return make_error(ErrorCode::kCorrupt, "the database has a directory within itself");
  }
  return carry_out(context, plan, request);
}

}  // namespace dfs::master
