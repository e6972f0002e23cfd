#include "tests/sim/cluster/model.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/sim/cluster/cut_check.h"

namespace dfs::sim {
namespace {

using Kind = TreeChange::Kind;

TEST(FileContents, a_killed_client_leaves_old_or_new_bytes_but_no_others) {
  FileContents file;
  file.begin_write(0, "aaaa");
  file.finish_write(0, "aaaa");
  file.synced();
  file.begin_write(2, "bbbb");
  file.finish_write(2, "bbbb");
  EXPECT_EQ(file.now(), "aabbbb");
  EXPECT_FALSE(file.mismatch("aaaa", Loss::kClient));
  EXPECT_FALSE(file.mismatch("aabbbb", Loss::kClient));
  EXPECT_FALSE(file.mismatch("aaba", Loss::kClient));
  EXPECT_TRUE(file.mismatch("aaxa", Loss::kClient));
  EXPECT_TRUE(file.mismatch("aaa", Loss::kClient));
  EXPECT_TRUE(file.mismatch("aabbbbb", Loss::kClient));
  EXPECT_TRUE(file.mismatch(std::string("a\0bbbb", 6), Loss::kClient)) << "zeros instead of data";
  EXPECT_TRUE(file.mismatch("aaaa", Loss::kNothing));
}

TEST(FileContents, an_answered_truncation_survives_a_client_but_not_the_masters_power) {
  FileContents file;
  file.begin_write(0, "aaaa");
  file.finish_write(0, "aaaa");
  file.synced();
  file.begin_truncate(1);
  file.finish_truncate(1);
  EXPECT_FALSE(file.mismatch("a", Loss::kClient));
  EXPECT_TRUE(file.mismatch("aaaa", Loss::kClient));
  EXPECT_FALSE(file.mismatch("aaaa", Loss::kMaster));
  EXPECT_FALSE(file.mismatch("a", Loss::kMaster));
}

TEST(FileContents, an_interrupted_truncation_came_to_be_or_not_and_costs_nothing_else) {
  FileContents file;
  file.begin_write(0, "aaaa");
  file.finish_write(0, "aaaa");
  file.begin_truncate(1);
  EXPECT_FALSE(file.mismatch("a", Loss::kAnswer));
  EXPECT_FALSE(file.mismatch("aaaa", Loss::kAnswer));
  EXPECT_TRUE(file.mismatch("aa", Loss::kAnswer));
  EXPECT_TRUE(file.mismatch("", Loss::kAnswer));
}

TEST(FileContents, a_write_that_was_given_up_is_seen_nowhere) {
  FileContents file;
  file.begin_write(0, "aaaa");
  file.finish_write(0, "aaaa");
  file.begin_write(0, "bbbb");
  file.give_up_write();
  EXPECT_FALSE(file.mismatch("aaaa", Loss::kClient));
  EXPECT_TRUE(file.mismatch("bbbb", Loss::kClient));
  EXPECT_FALSE(file.mismatch("aaaa", Loss::kMaster));
}

class ModelTest : public ::testing::Test {
 protected:
  TreeChange make(const std::string& name) {
    TreeChange change;
    change.parent = Tree::kRoot;
    change.name = name;
    change.node = model_.new_key();
    change.mode = kModeDirectory | 0755;
    return change;
  }
  // Made and answered, as inode 100, 101, …
  void made(const std::string& name, const Positions& known = {}) {
    model_.begin(make(name), known);
    EXPECT_FALSE(model_.finish(ErrorCode::kOk, InodeId{next_inode_++}));
  }
  ObservedTree observed(const std::vector<std::pair<std::string, std::uint64_t>>& names) {
    ObservedTree tree;
    tree.root = InodeId{10};
    ObservedNode& root = tree.nodes[tree.root];
    root.attributes.mode = kModeDirectory | 0755;
    root.attributes.link_count = 2 + static_cast<std::uint32_t>(names.size());
    for (const auto& [name, inode] : names) {
      root.children[name] = InodeId{inode};
      ObservedNode& node = tree.nodes[InodeId{inode}];
      node.attributes.mode = kModeDirectory | 0755;
      node.attributes.link_count = 2;
    }
    return tree;
  }

  Model model_{InodeId{10}};
  std::uint64_t next_inode_ = 100;
};

TEST_F(ModelTest, a_wrong_answer_is_noticed) {
  made("a");
  model_.begin(make("a"), {});
  EXPECT_TRUE(model_.finish(ErrorCode::kOk, InodeId{200}));
}

TEST_F(ModelTest, nothing_answered_may_be_missing_after_the_death_of_a_client) {
  made("a");
  model_.lose(Loss::kClient);
  EXPECT_FALSE(model_.reconcile(observed({})));
  EXPECT_TRUE(model_.reconcile(observed({{"a", 100}})));
}

TEST_F(ModelTest, the_change_under_way_came_to_be_or_not) {
  for (const bool came : {true, false}) {
    Model model(InodeId{10});
    TreeChange change = make("a");
    change.node = model.new_key();
    model.begin(change, {});
    model.lose(Loss::kClient);
    const auto tree = came ? observed({{"a", 100}}) : observed({});
    EXPECT_TRUE(model.reconcile(tree));
    EXPECT_EQ(model.tree().child(Tree::kRoot, "a").has_value(), came);
  }
}

TEST_F(ModelTest, power_loss_leaves_a_beginning_that_holds_what_was_durable) {
  made("a");
  model_.durable_up_to(1);
  made("b");
  made("c");
  model_.lose(Loss::kMaster);
  EXPECT_FALSE(model_.reconcile(observed({})));
  EXPECT_FALSE(model_.reconcile(observed({{"a", 100}, {"c", 102}}))) << "not a beginning";
  const auto cut = model_.reconcile(observed({{"a", 100}, {"b", 101}}));
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->position_min, 2u);
  EXPECT_EQ(cut->position_max, 2u);
  EXPECT_EQ(model_.loss(), Loss::kNothing);
}

TEST_F(ModelTest, another_inode_under_a_known_name_is_noticed) {
  made("a");
  EXPECT_FALSE(model_.reconcile(observed({{"a", 555}})));
}

TEST(CutCheck, a_change_that_survived_needs_what_was_answered_before_it) {
  CutCheck check;
  // Actor 0 was cut behind 5 answers; actor 1 has a change made when actor 0 had 7.
  EXPECT_FALSE(check.add(0, {.position_min = 5, .position_max = 5, .known = {}}));
  EXPECT_TRUE(check.add(1, {.position_min = 3, .position_max = 3, .known = {7, 2}}));
  check.begin();
  EXPECT_FALSE(check.add(0, {.position_min = 7, .position_max = 9, .known = {}}));
  EXPECT_FALSE(check.add(1, {.position_min = 3, .position_max = 3, .known = {7, 2}}));
}

}  // namespace
}  // namespace dfs::sim
