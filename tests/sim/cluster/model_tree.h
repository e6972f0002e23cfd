// The model of a directory tree: nodes, names, attributes. Contents of files are apart
// (model_contents.h), since they do not follow the order of the master's operations.
//
// A TreeChange is one operation of the master. apply() is a function of tree and change, so the
// states that a power loss may leave are made by applying ever shorter beginnings of a history.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/error_code.h"
#include "common/ids.h"
#include "proto/attributes.h"
#include "proto/namespace_messages.h"
#include "proto/xattr_messages.h"

namespace dfs::sim {

// A node's identity in the model, never reused.
using NodeKey = StrongId<struct NodeKeyTag, std::uint64_t>;

struct TreeNode {
  std::uint32_t mode = 0;  // type and permissions
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t name_count = 0;    // not of directories
  std::optional<Timestamp> mtime;  // when an application set it and nothing has changed it since
  std::string symlink_target;
  std::map<std::string, std::string> xattrs;
  std::map<std::string, NodeKey> children;  // of directories
  NodeKey parent;                           // of directories

  bool is_directory() const { return (mode & kModeTypeMask) == kModeDirectory; }
  bool is_regular() const { return (mode & kModeTypeMask) == kModeRegular; }
  bool is_symlink() const { return (mode & kModeTypeMask) == kModeSymlink; }
};

struct TreeChange {
  enum class Kind {
    kCreate,
    kUnlink,
    kRemoveDirectory,
    kRename,
    kLink,
    kSetAttributes,  // size is not part of the tree
    kSetXattr,
    kRemoveXattr,
  };
  Kind kind = Kind::kCreate;
  NodeKey parent;
  std::string name;
  NodeKey new_parent;          // rename, link
  std::string new_name;        // rename, link
  NodeKey node;                // made, linked, or changed
  std::uint8_t mode_flag = 0;  // RenameMode, XattrMode
  std::uint32_t mode = 0;      // create, set attributes
  std::uint32_t umask = 0;     // create
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool sets_mode = false;
  bool sets_owner = false;
  bool sets_size = false;  // changes the mtime, if nothing else
  std::optional<Timestamp> mtime;
  std::string text;   // symlink target, xattr name
  std::string value;  // of the xattr
};

class Tree {
 public:
  static constexpr NodeKey kRoot{1};

  Tree();

  // The answer the change must get: kOk, or why it is refused.
  ErrorCode verdict(const TreeChange& change) const;
  // Precondition: verdict(change) is kOk. Nodes that lose their last name disappear.
  void apply(const TreeChange& change);

  bool has(NodeKey key) const { return nodes_.contains(key); }
  // Precondition: has(key).
  const TreeNode& node(NodeKey key) const { return nodes_.at(key); }
  const std::map<NodeKey, TreeNode>& nodes() const { return nodes_; }
  std::optional<NodeKey> child(NodeKey directory, const std::string& name) const;
  // 2 and one for each sub-directory; or the number of names.
  std::uint32_t link_count(NodeKey key) const;
  // Whether `inner` is `outer` or below it. Both are directories.
  bool is_below(NodeKey inner, NodeKey outer) const;
  // Contents were written: the mtime is not what was set any more.
  void forget_mtime(NodeKey key);
  std::string path(NodeKey directory, const std::string& name) const;

 private:
  ErrorCode rename_verdict(const TreeChange& change) const;
  ErrorCode xattr_verdict(const TreeChange& change) const;
  void apply_create(const TreeChange& change);
  void apply_rename(const TreeChange& change);
  void apply_attributes(const TreeChange& change);
  void apply_xattr(const TreeChange& change);
  void drop_name(NodeKey directory, const std::string& name);
  void put_name(NodeKey directory, const std::string& name, NodeKey key);

  std::map<NodeKey, TreeNode> nodes_;
};

}  // namespace dfs::sim
