#include "tests/sim/cluster/model_tree.h"

#include "common/assert.h"
#include "proto/xattr_kinds.h"
#include "tests/sim/cluster/model_acl.h"

namespace dfs::sim {

using Kind = TreeChange::Kind;

namespace {

const std::string kAccessAcl(kAccessAclName);
const std::string kDefaultAcl(kDefaultAclName);

}  // namespace

Tree::Tree() { nodes_[kRoot].mode = kModeDirectory | 0755; }

std::optional<NodeKey> Tree::child(NodeKey directory, const std::string& name) const {
  const auto& children = node(directory).children;
  const auto it = children.find(name);
  return it == children.end() ? std::nullopt : std::optional(it->second);
}

std::uint32_t Tree::link_count(NodeKey key) const {
  const TreeNode& self = node(key);
  if (!self.is_directory()) {
    return self.name_count;
  }
  std::uint32_t count = 2;
  for (const auto& [name, child_key] : self.children) {
    count += node(child_key).is_directory() ? 1 : 0;
  }
  return count;
}

bool Tree::is_below(NodeKey inner, NodeKey outer) const {
  for (NodeKey at = inner; at.is_set(); at = node(at).parent) {
    if (at == outer) {
      return true;
    }
  }
  return false;
}

std::string Tree::path(NodeKey directory, const std::string& name) const {
  constexpr std::size_t kShownBytes = 20;
  std::string result = "/" + name.substr(0, kShownBytes);
  for (NodeKey at = directory; at != kRoot; at = node(at).parent) {
    for (const auto& [own_name, key] : node(node(at).parent).children) {
      if (key == at) {
        result = "/" + own_name.substr(0, kShownBytes) + result;
      }
    }
  }
  return result;
}

ErrorCode Tree::verdict(const TreeChange& change) const {
  const auto existing = [&](NodeKey directory, const std::string& name) {
    return has(directory) ? child(directory, name) : std::nullopt;
  };
  switch (change.kind) {
    case Kind::kCreate:
      if (!has(change.parent)) {
        return ErrorCode::kStale;
      }
      return existing(change.parent, change.name) ? ErrorCode::kExists : ErrorCode::kOk;
    case Kind::kUnlink:
    case Kind::kRemoveDirectory: {
      if (!has(change.parent)) {
        return ErrorCode::kStale;
      }
      const auto target = existing(change.parent, change.name);
      if (!target) {
        return ErrorCode::kNotFound;
      }
      const TreeNode& victim = node(*target);
      if (change.kind == Kind::kUnlink) {
        return victim.is_directory() ? ErrorCode::kIsDirectory : ErrorCode::kOk;
      }
      if (!victim.is_directory()) {
        return ErrorCode::kNotDirectory;
      }
      return victim.children.empty() ? ErrorCode::kOk : ErrorCode::kNotEmpty;
    }
    case Kind::kRename: return rename_verdict(change);
    case Kind::kLink:
      if (!has(change.node) || !has(change.new_parent)) {
        return ErrorCode::kStale;
      }
      if (node(change.node).is_directory()) {
        return ErrorCode::kNotPermitted;
      }
      return existing(change.new_parent, change.new_name) ? ErrorCode::kExists : ErrorCode::kOk;
    case Kind::kSetAttributes: return has(change.node) ? ErrorCode::kOk : ErrorCode::kStale;
    case Kind::kSetXattr:
    case Kind::kRemoveXattr: return xattr_verdict(change);
  }
  return ErrorCode::kInternal;
}

ErrorCode Tree::rename_verdict(const TreeChange& change) const {
  if (!has(change.parent) || !has(change.new_parent)) {
    return ErrorCode::kStale;
  }
  const auto moved = child(change.parent, change.name);
  if (!moved) {
    return ErrorCode::kNotFound;
  }
  const auto target = child(change.new_parent, change.new_name);
  const auto mode = static_cast<RenameMode>(change.mode_flag);
  if (mode == RenameMode::kExchange && !target) {
    return ErrorCode::kNotFound;
  }
  if (mode == RenameMode::kNoReplace && target) {
    return ErrorCode::kExists;
  }
  if (node(*moved).is_directory() && is_below(change.new_parent, *moved)) {
    return ErrorCode::kInvalidArgument;
  }
  if (!target) {
    return ErrorCode::kOk;
  }
  if (mode == RenameMode::kExchange) {
    const bool into_itself = node(*target).is_directory() && is_below(change.parent, *target);
    return into_itself ? ErrorCode::kInvalidArgument : ErrorCode::kOk;
  }
  if (*target == *moved) {
    return ErrorCode::kOk;  // two names of one file: nothing happens
  }
  if (node(*target).is_directory()) {
    if (!node(*moved).is_directory()) {
      return ErrorCode::kIsDirectory;
    }
    return node(*target).children.empty() ? ErrorCode::kOk : ErrorCode::kNotEmpty;
  }
  return node(*moved).is_directory() ? ErrorCode::kNotDirectory : ErrorCode::kOk;
}

ErrorCode Tree::xattr_verdict(const TreeChange& change) const {
  if (!has(change.node)) {
    return ErrorCode::kStale;
  }
  if (is_acl_name(change.text)) {
    const bool is_set = change.kind == Kind::kSetXattr;
    if (is_set && node(change.node).is_symlink()) {
      return ErrorCode::kNotSupported;
    }
    const bool is_misplaced = change.text == kDefaultAcl && !node(change.node).is_directory();
    return is_set && is_misplaced ? ErrorCode::kAccessDenied : ErrorCode::kOk;
  }
  const bool is_there = node(change.node).xattrs.contains(change.text);
  if (change.kind == Kind::kRemoveXattr) {
    return is_there ? ErrorCode::kOk : ErrorCode::kNoAttribute;
  }
  switch (static_cast<XattrMode>(change.mode_flag)) {
    case XattrMode::kSet: return ErrorCode::kOk;
    case XattrMode::kCreateOnly: return is_there ? ErrorCode::kExists : ErrorCode::kOk;
    case XattrMode::kReplaceOnly: return is_there ? ErrorCode::kOk : ErrorCode::kNoAttribute;
  }
  return ErrorCode::kInternal;
}

void Tree::apply(const TreeChange& change) {
  DFS_ASSERT(verdict(change) == ErrorCode::kOk);
  switch (change.kind) {
    case Kind::kCreate: apply_create(change); return;
    case Kind::kUnlink:
    case Kind::kRemoveDirectory: drop_name(change.parent, change.name); return;
    case Kind::kRename: apply_rename(change); return;
    case Kind::kLink: put_name(change.new_parent, change.new_name, change.node); return;
    case Kind::kSetAttributes: apply_attributes(change); return;
    case Kind::kSetXattr: apply_xattr(change); return;
    case Kind::kRemoveXattr: nodes_.at(change.node).xattrs.erase(change.text); return;
  }
}

// The umask counts where no default ACL does.
void Tree::apply_create(const TreeChange& change) {
  TreeNode made;
  made.mode = change.mode;
  made.uid = change.uid;
  made.gid = change.gid;
  made.symlink_target = change.text;
  const auto& around = node(change.parent).xattrs;
  const auto inherited = around.find(kDefaultAcl);
  if (made.is_symlink()) {
    // It has neither permissions nor an ACL.
  } else if (inherited == around.end()) {
    made.mode &= ~change.umask;
  } else {
    if (made.is_directory()) {
      made.xattrs[kDefaultAcl] = inherited->second;
    }
    ModelAcl acl = ModelAcl::of(inherited->second);
    acl.set_permissions(acl.permissions() & made.mode);
    made.mode = (made.mode & ~kModeAccess) | acl.permissions();
    if (acl.is_extended) {
      made.xattrs[kAccessAcl] = acl.value();
    }
  }
  nodes_[change.node] = std::move(made);
  put_name(change.parent, change.name, change.node);
}

void Tree::apply_xattr(const TreeChange& change) {
  TreeNode& self = nodes_.at(change.node);
  self.xattrs[change.text] = change.value;
  if (change.text == kAccessAcl) {
    const ModelAcl acl = ModelAcl::of(change.value);
    self.mode = (self.mode & ~kModeAccess) | acl.permissions();
    if (!acl.is_extended) {
      self.xattrs.erase(kAccessAcl);  // the mode says all of it
    }
  }
}

void Tree::apply_rename(const TreeChange& change) {
  const NodeKey moved = *child(change.parent, change.name);
  const auto target = child(change.new_parent, change.new_name);
  if (target == moved) {
    return;
  }
  nodes_.at(change.parent).mtime.reset();
  nodes_.at(change.new_parent).mtime.reset();
  if (static_cast<RenameMode>(change.mode_flag) == RenameMode::kExchange) {
    nodes_.at(change.parent).children[change.name] = *target;
    nodes_.at(change.new_parent).children[change.new_name] = moved;
    if (node(*target).is_directory()) {
      nodes_.at(*target).parent = change.parent;
    }
  } else {
    if (target) {
      drop_name(change.new_parent, change.new_name);
    }
    nodes_.at(change.parent).children.erase(change.name);
    nodes_.at(change.new_parent).children[change.new_name] = moved;
  }
  if (node(moved).is_directory()) {
    nodes_.at(moved).parent = change.new_parent;
  }
}

void Tree::apply_attributes(const TreeChange& change) {
  TreeNode& self = nodes_.at(change.node);
  if (change.sets_mode) {
    self.mode = (self.mode & kModeTypeMask) | change.mode;
    if (const auto access = self.xattrs.find(kAccessAcl); access != self.xattrs.end()) {
      ModelAcl acl = ModelAcl::of(access->second);
      acl.set_permissions(change.mode);
      access->second = acl.value();
    }
  }
  if (change.sets_owner) {
    self.uid = change.uid;
    self.gid = change.gid;
  }
  if (change.sets_size) {
    self.mtime.reset();
  }
  if (change.mtime) {
    self.mtime = change.mtime;
  }
}

void Tree::forget_mtime(NodeKey key) {
  if (has(key)) {
    nodes_.at(key).mtime.reset();
  }
}

void Tree::drop_name(NodeKey directory, const std::string& name) {
  auto& children = nodes_.at(directory).children;
  const NodeKey key = children.at(name);
  children.erase(name);
  nodes_.at(directory).mtime.reset();
  TreeNode& victim = nodes_.at(key);
  if (victim.is_directory() || --victim.name_count == 0) {
    nodes_.erase(key);
  }
}

void Tree::put_name(NodeKey directory, const std::string& name, NodeKey key) {
  nodes_.at(directory).children[name] = key;
  nodes_.at(directory).mtime.reset();
  TreeNode& self = nodes_.at(key);
  if (self.is_directory()) {
    self.parent = directory;
  } else {
    ++self.name_count;
  }
}

}  // namespace dfs::sim
