// What one application knows about its own directory, and what it may find there after a loss.
//
// The application makes one change at a time. Answered changes form a log; a durable answer makes a
// beginning of it sure. After the death of a client the tree is the newest one, with or without the
// change that was under way. A power loss of the master takes nothing while the client lives, which
// tells the master again; if the client dies before that, it is the tree after some beginning of
// the log that is at least the sure one. reconcile() finds out which, by what is observed, and goes
// on from there as from a sure state.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "tests/sim/cluster/model_contents.h"
#include "tests/sim/cluster/model_tree.h"
#include "tests/sim/cluster/walker.h"

namespace dfs::sim {

// How many changes of each application had been answered (and not been lost) at some moment.
using Positions = std::vector<std::uint64_t>;

// Where a power loss cut a log: after at least and at most so many changes.
struct Cut {
  std::uint64_t position_min = 0;
  std::uint64_t position_max = 0;
  Positions known;  // when the last change that surely survived was asked for; empty: none did
};

class Model {
 public:
  explicit Model(InodeId root);

  const Tree& tree() const { return now_; }
  NodeKey new_key() { return NodeKey{next_key_++}; }
  // Precondition: the inode of the node is known.
  InodeId inode(NodeKey key) const { return inodes_.at(key); }
  FileContents& contents(NodeKey key) { return contents_[key]; }
  std::string now(NodeKey key) const;
  bool is_unsynced(NodeKey key) const;
  // The file was written: its mtime is not known any more.
  void note_write(NodeKey key, Positions known);

  // --- Changes ---
  void begin(TreeChange change, Positions known);
  bool has_pending() const { return pending_.has_value(); }
  void drop_pending() { pending_.reset(); }
  // The pending change was answered. Why the answer is wrong, if it is. While something may be
  // lost, the answer is only noted for reconcile(). `made`: the inode of a new node.
  std::optional<std::string> finish(ErrorCode code, InodeId made = {});

  // --- Certainty ---
  std::uint64_t position() const { return base_position_ + log_.size(); }
  std::uint64_t durable_position() const { return base_position_; }
  void durable_up_to(std::uint64_t position);
  void lose(Loss loss);
  Loss loss() const { return loss_; }
  // Finds the state that was observed among those that may be left, and makes it the sure one.
  // The error says how the best candidate differs.
  Result<Cut> reconcile(const ObservedTree& observed);

  // Why the attributes cannot be those of the node; nothing if they can.
  std::optional<std::string> attributes_mismatch(NodeKey key, const Attributes& attributes) const;

 private:
  struct LoggedChange {
    TreeChange change;
    Positions known;
  };
  using Binding = std::map<NodeKey, InodeId>;

  // What the pending change can have made of `tree`: nothing if it cannot have been answered so.
  std::vector<Tree> with_pending(const Tree& tree) const;
  std::optional<std::string> tree_mismatch(const Tree& tree, const ObservedTree& observed,
                                           Binding& binding) const;
  std::optional<std::string> node_mismatch(const Tree& tree, NodeKey key,
                                           const ObservedNode& node) const;
  std::optional<std::string> contents_mismatch(const Tree& tree, const ObservedTree& observed,
                                               const Binding& binding) const;
  void settle(Tree tree, Binding binding, const ObservedTree& observed);

  Tree base_;  // sure
  std::uint64_t base_position_ = 0;
  std::deque<LoggedChange> log_;  // since
  Tree now_;
  std::optional<LoggedChange> pending_;
  std::optional<ErrorCode> pending_answer_;
  Loss loss_ = Loss::kNothing;
  Binding inodes_;
  std::map<NodeKey, FileContents> contents_;
  std::uint64_t next_key_ = 2;
};

}  // namespace dfs::sim
