#include "tests/sim/cluster/model.h"

#include <algorithm>

#include "common/assert.h"

namespace dfs::sim {
namespace {

std::string hex(const std::string& bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

// Names are bytes: those that can be shown are.
std::string printable(const std::string& name) {
  const bool is_plain =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; });
  return is_plain ? name : "x'" + hex(name) + "'";
}

std::string names_of(const std::map<std::string, NodeKey>& children) {
  std::string text;
  for (const auto& [name, key] : children) {
    text += " " + printable(name);
  }
  return text;
}

std::string names_of(const std::map<std::string, InodeId>& children) {
  std::string text;
  for (const auto& [name, inode] : children) {
    text += " " + printable(name);
  }
  return text;
}

std::string difference(const std::string& what, std::uint64_t expected, std::uint64_t got) {
  return what + " expected " + std::to_string(expected) + " got " + std::to_string(got);
}

}  // namespace

Model::Model(InodeId root) { inodes_[Tree::kRoot] = root; }

std::string Model::now(NodeKey key) const {
  const auto known = contents_.find(key);
  return known == contents_.end() ? std::string() : known->second.now();
}

bool Model::is_unsynced(NodeKey key) const {
  const auto known = contents_.find(key);
  return known != contents_.end() && known->second.is_unsynced();
}

void Model::note_write(NodeKey key, Positions known) {
  if (!now_.has(key)) {
    return;  // nameless: no state of the tree shows it
  }
  TreeChange change;
  change.kind = TreeChange::Kind::kSetAttributes;
  change.node = key;
  change.sets_size = true;
  now_.apply(change);
  log_.push_back({std::move(change), std::move(known)});
}

void Model::begin(TreeChange change, Positions known) {
  DFS_ASSERT(!pending_);
  pending_ = LoggedChange{std::move(change), std::move(known)};
}

std::optional<std::string> Model::finish(ErrorCode code, InodeId made) {
  DFS_ASSERT(pending_.has_value());
  if (made.is_set()) {
    inodes_[pending_->change.node] = made;
  }
  if (loss_ != Loss::kNothing) {
    pending_answer_ = code;
    return std::nullopt;
  }
  LoggedChange done = std::move(*pending_);
  pending_.reset();
  const ErrorCode expected = now_.verdict(done.change);
  if (code != expected) {
    return std::string("expected ") + error_code_name(expected) + " got " + error_code_name(code);
  }
  if (code == ErrorCode::kOk) {
    now_.apply(done.change);
    log_.push_back(std::move(done));
  }
  return std::nullopt;
}

void Model::durable_up_to(std::uint64_t position) {
  DFS_ASSERT(position <= this->position());
  for (; base_position_ < position; ++base_position_) {
    base_.apply(log_.front().change);
    log_.pop_front();
  }
}

void Model::lose(Loss loss) { loss_ = std::max(loss_, loss); }

std::vector<Tree> Model::with_pending(const Tree& tree) const {
  if (!pending_) {
    return {tree};
  }
  std::vector<Tree> made;
  const ErrorCode verdict = tree.verdict(pending_->change);
  const bool may_fit = !pending_answer_ || *pending_answer_ == verdict;
  if (may_fit) {
    made.push_back(tree);
    if (verdict == ErrorCode::kOk) {
      made.back().apply(pending_->change);
    }
  }
  // It can have been answered before the loss, and been lost itself; without an answer it may not
  // have been made at all.
  if (!pending_answer_ ||
      (loss_ == Loss::kMaster && *pending_answer_ == now_.verdict(pending_->change))) {
    made.push_back(tree);
  }
  return made;
}

Result<Cut> Model::reconcile(const ObservedTree& observed) {
  Tree tree = loss_ == Loss::kMaster ? base_ : now_;
  std::uint64_t at = loss_ == Loss::kMaster ? 0 : log_.size();
  std::optional<Tree> match;
  Binding match_binding;
  Cut cut;
  std::string why;  // not, for each state
  for (;; ++at) {
    for (const Tree& candidate : with_pending(tree)) {
      Binding binding = inodes_;
      if (auto mismatch = tree_mismatch(candidate, observed, binding)) {
        why += "\n  state " + std::to_string(at) + ": " + *mismatch;
        continue;
      }
      if (!match) {
        match = candidate;
        match_binding = std::move(binding);
        cut.position_min = base_position_ + at;
        cut.known = at > 0 ? log_[at - 1].known : Positions{};
      }
      cut.position_max = base_position_ + at;
    }
    if (at >= log_.size()) {
      break;
    }
    tree.apply(log_[at].change);
  }
  if (!match) {
    return make_error(ErrorCode::kInternal, "it is none of the states that may be left:" + why);
  }
  if (auto mismatch = contents_mismatch(*match, observed, match_binding)) {
    return make_error(ErrorCode::kInternal, *mismatch);
  }
  settle(std::move(*match), std::move(match_binding), observed);
  return cut;
}

std::optional<std::string> Model::tree_mismatch(const Tree& tree, const ObservedTree& observed,
                                                Binding& binding) const {
  if (binding.at(Tree::kRoot) != observed.root) {
    return "another root";
  }
  for (std::vector<std::pair<NodeKey, InodeId>> todo{{Tree::kRoot, observed.root}};
       !todo.empty();) {
    const auto [key, inode] = todo.back();
    todo.pop_back();
    const auto [bound, is_new] = binding.emplace(key, inode);
    if (!is_new && bound->second != inode) {
      return difference("inode", bound->second.value, inode.value);
    }
    const auto node = observed.nodes.find(inode);
    if (node == observed.nodes.end()) {
      return "inode " + std::to_string(inode.value) + " was not walked";
    }
    if (auto mismatch = node_mismatch(tree, key, node->second)) {
      return "inode " + std::to_string(inode.value) + ": " + *mismatch;
    }
    const auto& expected = tree.node(key).children;
    const auto& got = node->second.children;
    const bool same_names =
        std::equal(expected.begin(), expected.end(), got.begin(), got.end(),
                   [](const auto& a, const auto& b) { return a.first == b.first; });
    if (!same_names) {
      return "directory " + std::to_string(inode.value) + ": names expected" + names_of(expected) +
             "; got" + names_of(got);
    }
    for (const auto& [name, child] : expected) {
      todo.emplace_back(child, got.at(name));
    }
  }
  return std::nullopt;
}

std::optional<std::string> Model::node_mismatch(const Tree& tree, NodeKey key,
                                                const ObservedNode& node) const {
  const TreeNode& expected = tree.node(key);
  const Attributes& got = node.attributes;
  if (got.mode != expected.mode) {
    return difference("mode", expected.mode, got.mode);
  }
  if (key != Tree::kRoot && (got.uid != expected.uid || got.gid != expected.gid)) {
    return difference("owner", expected.uid, got.uid);
  }
  if (got.link_count != tree.link_count(key)) {
    return difference("link count", tree.link_count(key), got.link_count);
  }
  if (node.symlink_target != expected.symlink_target) {
    return "symlink target differs";
  }
  if (node.xattrs != expected.xattrs) {
    return "xattrs differ";
  }
  const auto known = contents_.find(key);
  const bool is_unsynced = known != contents_.end() && known->second.is_unsynced();
  if (expected.mtime && !is_unsynced && got.mtime != *expected.mtime) {
    return difference("mtime", static_cast<std::uint64_t>(expected.mtime->seconds),
                      static_cast<std::uint64_t>(got.mtime.seconds));
  }
  if (expected.is_regular() && got.size_bytes != node.contents.size()) {
    return difference("size", got.size_bytes, node.contents.size());
  }
  return std::nullopt;
}

std::optional<std::string> Model::contents_mismatch(const Tree& tree, const ObservedTree& observed,
                                                    const Binding& binding) const {
  for (const auto& [key, node] : tree.nodes()) {
    if (!node.is_regular()) {
      continue;
    }
    const InodeId inode = binding.at(key);
    const auto known = contents_.find(key);
    const FileContents none;
    const FileContents& expected = known == contents_.end() ? none : known->second;
    if (auto mismatch = expected.mismatch(observed.nodes.at(inode).contents, loss_)) {
      return "contents of key " + std::to_string(key.value) + " inode " +
             std::to_string(inode.value) + ": " + *mismatch;
    }
  }
  return std::nullopt;
}

void Model::settle(Tree tree, Binding binding, const ObservedTree& observed) {
  const std::uint64_t end = position();
  std::map<NodeKey, FileContents> settled;
  Binding bound;
  for (const auto& [key, node] : tree.nodes()) {
    const InodeId inode = binding.at(key);
    bound[key] = inode;
    if (node.is_regular()) {
      const auto known = contents_.find(key);
      if (known != contents_.end() && known->second.is_unsynced()) {
        tree.forget_mtime(key);
      }
      settled[key].settle(observed.nodes.at(inode).contents);
    }
  }
  now_ = tree;
  base_ = std::move(tree);
  inodes_ = std::move(bound);
  contents_ = std::move(settled);
  base_position_ = end;
  log_.clear();
  pending_.reset();
  pending_answer_.reset();
  loss_ = Loss::kNothing;
}

std::optional<std::string> Model::attributes_mismatch(NodeKey key,
                                                      const Attributes& attributes) const {
  if (inodes_.contains(key) && attributes.inode != inode(key)) {
    return difference("inode", inode(key).value, attributes.inode.value);
  }
  if (!now_.has(key)) {
    return attributes.link_count == 0
               ? std::nullopt
               : std::optional(difference("link count", 0, attributes.link_count));
  }
  const TreeNode& expected = now_.node(key);
  if (attributes.mode != expected.mode) {
    return difference("mode", expected.mode, attributes.mode);
  }
  if (key != Tree::kRoot && (attributes.uid != expected.uid || attributes.gid != expected.gid)) {
    return difference("owner", expected.uid, attributes.uid);
  }
  if (attributes.link_count != now_.link_count(key)) {
    return difference("link count", now_.link_count(key), attributes.link_count);
  }
  const auto known = contents_.find(key);
  const std::uint64_t size = known == contents_.end() ? 0 : known->second.now().size();
  if (expected.is_regular() && attributes.size_bytes != size) {
    return difference("size", size, attributes.size_bytes);
  }
  if (expected.mtime && attributes.mtime != *expected.mtime) {
    return difference("mtime", static_cast<std::uint64_t>(expected.mtime->seconds),
                      static_cast<std::uint64_t>(attributes.mtime.seconds));
  }
  return std::nullopt;
}

}  // namespace dfs::sim
