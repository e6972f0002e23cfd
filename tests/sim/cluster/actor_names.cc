// The operations on names and attributes.
#include <tuple>

#include "tests/sim/cluster/actor.h"
#include "tests/sim/cluster/model_acl.h"

namespace dfs::sim {
namespace {

using Kind = TreeChange::Kind;

constexpr std::size_t kNodesMax = 60;

// Not set-uid and set-gid: what a write does to them is another test's subject.
constexpr std::uint32_t kModeChoices[] = {0644, 0600, 0755, 0400, 01777};
constexpr std::uint32_t kUmaskChoices[] = {0, 022, 077};

}  // namespace

void Actor::op_create() {
  if (files_.size() >= kFilesOpenMax || model_.tree().nodes().size() > kNodesMax) {
    return;
  }
  TreeChange change;
  change.parent = random_directory();
  change.name = random_name();
  change.node = model_.new_key();
  change.mode = kModeRegular | kModeChoices[random_.below(5)];
  change.uid = static_cast<std::uint32_t>(random_.below(3));
  change.gid = static_cast<std::uint32_t>(random_.below(3));
  client::CreateArguments arguments;
  arguments.parent = model_.inode(change.parent);
  arguments.name = change.name;
  arguments.mode = change.mode;
  arguments.uid = change.uid;
  arguments.gid = change.gid;
  arguments.umask = change.umask = kUmaskChoices[random_.below(3)];
  const NodeKey key = change.node;
  begin_change(change, "create " + model_.tree().path(change.parent, change.name));
  ask_client([this, arguments, key](client::Client& client) {
    return client.create(arguments, {.write = true},
                         answer<client::OpenedFile>([this, key](Result<client::OpenedFile> opened) {
                           if (opened) {
                             files_.push_back({opened->handle, key, true});
                             model_.contents(key) = FileContents();
                           }
                           end_change(opened.code(), opened ? &opened->attributes : nullptr);
                           if (opened) {
                             check_attributes(key, opened->attributes);
                           }
                         }));
  });
}

void Actor::op_make() {
  if (model_.tree().nodes().size() > kNodesMax) {
    return;
  }
  TreeChange change;
  change.parent = random_directory();
  change.name = random_name();
  change.node = model_.new_key();
  change.uid = static_cast<std::uint32_t>(random_.below(3));
  change.gid = static_cast<std::uint32_t>(random_.below(3));
  const std::uint64_t kind = random_.below(10);
  if (kind < 7) {
    change.mode = kModeDirectory | 0755;
  } else if (kind < 9) {
    change.mode = kModeSymlink | 0777;
    change.text = "to/" + std::string(random_.below(100), 'x');
  } else {
    change.mode = kModeFifo | 0600;
  }
  client::CreateArguments arguments;
  arguments.parent = model_.inode(change.parent);
  arguments.name = change.name;
  arguments.mode = change.mode;
  arguments.uid = change.uid;
  arguments.gid = change.gid;
  arguments.umask = change.umask = kUmaskChoices[random_.below(3)];
  arguments.symlink_target = change.text;
  const NodeKey key = change.node;
  begin_change(change, "make " + model_.tree().path(change.parent, change.name));
  ask_client([this, arguments, key](client::Client& client) {
    return client.make(arguments, answer<Attributes>([this, key](Result<Attributes> made) {
                         end_change(made.code(), made ? &*made : nullptr);
                         if (made) {
                           check_attributes(key, *made);
                         }
                       }));
  });
}

void Actor::op_unlink() {
  TreeChange change;
  change.kind = Kind::kUnlink;
  std::tie(change.parent, change.name) = random_entry();
  const InodeId parent = model_.inode(change.parent);
  begin_change(change, "unlink " + model_.tree().path(change.parent, change.name));
  ask_client([this, parent, name = change.name](client::Client& client) {
    return client.unlink(parent, name,
                         answer<Unit>([this](Result<Unit> result) { end_change(result.code()); }));
  });
}

void Actor::op_remove_directory() {
  TreeChange change;
  change.kind = Kind::kRemoveDirectory;
  std::tie(change.parent, change.name) = random_entry();
  const InodeId parent = model_.inode(change.parent);
  begin_change(change, "rmdir " + model_.tree().path(change.parent, change.name));
  ask_client([this, parent, name = change.name](client::Client& client) {
    return client.remove_directory(
        parent, name, answer<Unit>([this](Result<Unit> result) { end_change(result.code()); }));
  });
}

void Actor::op_rename() {
  TreeChange change;
  change.kind = Kind::kRename;
  std::tie(change.parent, change.name) = random_entry();
  if (random_.below(2) == 0) {
    std::tie(change.new_parent, change.new_name) = random_entry();
  } else {
    change.new_parent = random_directory();
    change.new_name = random_name();
  }
  const std::uint64_t kind = random_.below(10);
  const RenameMode mode = kind < 7   ? RenameMode::kReplace
                          : kind < 8 ? RenameMode::kNoReplace
                                     : RenameMode::kExchange;
  change.mode_flag = static_cast<std::uint8_t>(mode);
  RenameRequest request;
  request.parent = model_.inode(change.parent);
  request.name = change.name;
  request.new_parent = model_.inode(change.new_parent);
  request.new_name = change.new_name;
  request.mode = change.mode_flag;
  begin_change(change, "rename " + model_.tree().path(change.parent, change.name) + " to " +
                           model_.tree().path(change.new_parent, change.new_name) + " mode " +
                           std::to_string(change.mode_flag));
  ask_client([this, request](client::Client& client) {
    return client.rename(request, answer<RenameReply>([this](const Result<RenameReply>& result) {
                           end_change(result.code());
                         }));
  });
}

void Actor::op_link() {
  const auto source = random_node(nullptr);
  if (!source) {
    return;
  }
  TreeChange change;
  change.kind = Kind::kLink;
  change.node = *source;
  change.new_parent = random_directory();
  change.new_name = random_name();
  const InodeId inode = model_.inode(*source);
  const InodeId parent = model_.inode(change.new_parent);
  begin_change(change, "link " + model_.tree().path(change.new_parent, change.new_name));
  ask_client([this, inode, parent, change](client::Client& client) {
    return client.link(inode, parent, change.new_name,
                       answer<Attributes>([this, key = change.node](Result<Attributes> linked) {
                         end_change(linked.code());
                         if (linked) {
                           check_attributes(key, *linked);
                         }
                       }));
  });
}

void Actor::op_set_attributes() {
  const auto node = random_node(nullptr);
  if (!node || model_.tree().node(*node).is_symlink()) {
    return;
  }
  TreeChange change;
  change.kind = Kind::kSetAttributes;
  change.node = *node;
  change.sets_mode = random_.below(2) == 0;
  change.mode = kModeChoices[random_.below(5)];
  change.sets_owner = random_.below(2) == 0;
  change.uid = static_cast<std::uint32_t>(random_.below(1000));
  change.gid = static_cast<std::uint32_t>(random_.below(1000));
  if (random_.below(2) == 0) {
    // Before 1970 and after 2038 too.
    change.mtime = Timestamp{static_cast<std::int64_t>(random_.below(1ull << 34)) - (1ll << 32),
                             static_cast<std::uint32_t>(random_.below(1'000'000'000))};
  }
  client::AttributeChange request;
  request.inode = model_.inode(*node);
  if (change.sets_mode) {
    request.mode = change.mode;
  }
  if (change.sets_owner) {
    request.uid = change.uid;
    request.gid = change.gid;
  }
  request.mtime = change.mtime;
  begin_change(change, "set attributes of inode " + std::to_string(request.inode.value));
  ask_client([this, request, key = *node](client::Client& client) {
    return client.set_attributes(request,
                                 answer<Attributes>([this, key](Result<Attributes> result) {
                                   end_change(result.code());
                                   if (result) {
                                     check_attributes(key, *result);
                                   }
                                 }));
  });
}

void Actor::op_set_xattr() {
  const auto node = random_node(nullptr);
  TreeChange change;
  change.kind = Kind::kSetXattr;
  change.node = node.value_or(Tree::kRoot);
  change.text = random_xattr();
  change.value = is_acl_name(change.text) ? random_acl() : random_data(random_.below(200));
  change.mode_flag = static_cast<std::uint8_t>(random_.below(3));
  SetXattrRequest request;
  request.inode = model_.inode(change.node);
  request.name = change.text;
  request.value = change.value;
  request.mode = change.mode_flag;
  begin_change(change,
               "set xattr " + change.text + " of inode " + std::to_string(request.inode.value));
  ask_client([this, request](client::Client& client) {
    return client.set_xattr(
        request, answer<Unit>([this](Result<Unit> result) { end_change(result.code()); }));
  });
}

void Actor::op_remove_xattr() {
  const auto node = random_node(nullptr);
  TreeChange change;
  change.kind = Kind::kRemoveXattr;
  change.node = node.value_or(Tree::kRoot);
  change.text = random_xattr();
  const InodeId inode = model_.inode(change.node);
  begin_change(change, "remove xattr " + change.text + " of inode " + std::to_string(inode.value));
  ask_client([this, inode, name = change.text](client::Client& client) {
    return client.remove_xattr(
        inode, name, answer<Unit>([this](Result<Unit> result) { end_change(result.code()); }));
  });
}

}  // namespace dfs::sim
