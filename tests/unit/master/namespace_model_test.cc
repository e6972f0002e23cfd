// Random operations on names against a model that is simple enough to be believed, with restarts
// and power losses in between; at the end the whole database is checked against itself.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/admin_messages.h"
#include "proto/data_messages.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

struct ModelNode {
  bool is_directory = false;
  InodeId inode;
  ModelNode* parent = nullptr;                 // of a directory
  std::map<std::string, ModelNode*> children;  // of a directory
  std::uint32_t names = 0;                     // entries that lead here
};

// POSIX in a few lines: pointers for inodes, maps for directories.
class Model {
 public:
  Model() {
    nodes_.push_back(std::make_unique<ModelNode>());
    root()->is_directory = true;
    root()->inode = kRootInode;
    root()->parent = root();
  }

  ModelNode* root() { return nodes_.front().get(); }

  ModelNode* find(ModelNode* directory, const std::string& name) {
    const auto found = directory->children.find(name);
    return found == directory->children.end() ? nullptr : found->second;
  }
  ModelNode* create(ModelNode* directory, const std::string& name, bool is_directory) {
    nodes_.push_back(std::make_unique<ModelNode>());
    ModelNode* made = nodes_.back().get();
    made->is_directory = is_directory;
    enter(directory, name, made);
    return made;
  }
  void enter(ModelNode* directory, const std::string& name, ModelNode* node) {
    directory->children[name] = node;
    ++node->names;
    if (node->is_directory) {
      node->parent = directory;
    }
  }
  void leave(ModelNode* directory, const std::string& name) {
    --directory->children.at(name)->names;
    directory->children.erase(name);
  }
  static bool is_within(ModelNode* directory, ModelNode* ancestor) {
    for (; directory != ancestor; directory = directory->parent) {
      if (directory->parent == directory) {
        return false;
      }
    }
    return true;
  }
  static bool may_replace(ModelNode* moved, ModelNode* target) {
    return moved->is_directory == target->is_directory && target->children.empty();
  }

  bool rename(ModelNode* from, const std::string& name, ModelNode* to, const std::string& new_name,
              RenameMode mode) {
    ModelNode* moved = find(from, name);
    ModelNode* target = find(to, new_name);
    const bool is_exchange = mode == RenameMode::kExchange;
    if (moved == nullptr || (target != nullptr && mode == RenameMode::kNoReplace) ||
        (target == nullptr && is_exchange)) {
      return false;
    }
    if (moved == target) {
      return true;
    }
    if ((moved->is_directory && is_within(to, moved)) ||
        (is_exchange && target->is_directory && is_within(from, target)) ||
        (target != nullptr && !is_exchange && !may_replace(moved, target))) {
      return false;
    }
    leave(from, name);
    if (target != nullptr) {
      leave(to, new_name);
    }
    enter(to, new_name, moved);
    if (is_exchange) {
      enter(from, name, target);
    }
    return true;
  }

  // All directories that have a name, in the order they were made.
  std::vector<ModelNode*> directories() {
    std::vector<ModelNode*> all;
    for (const auto& node : nodes_) {
      if (node->is_directory && (node->names > 0 || node.get() == root())) {
        all.push_back(node.get());
      }
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<ModelNode>> nodes_;
};

class NamespaceModel : public MasterRig, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  std::string pick_name() { return std::string(1, static_cast<char>('a' + random_.below(8))); }
  ModelNode* pick_directory() {
    const auto all = model_.directories();
    return all[random_.below(all.size())];
  }

  void create() {
    ModelNode* parent = pick_directory();
    const std::string name = pick_name();
    const bool is_directory = random_.below(2) == 0;
    const std::uint32_t mode = is_directory ? kModeDirectory | 0755 : kModeRegular | 0644;
    const auto reply = client->change(create_request(parent->inode, name, mode));
    ASSERT_EQ(reply.has_value(), model_.find(parent, name) == nullptr);
    if (reply) {
      model_.create(parent, name, is_directory)->inode = reply->attributes.inode;
    }
  }
  void remove() {
    ModelNode* parent = pick_directory();
    const std::string name = pick_name();
    ModelNode* node = model_.find(parent, name);
    const bool as_directory = random_.below(2) == 0;
    const ErrorCode code =
        as_directory
            ? client->change(RemoveDirectoryRequest{.parent = parent->inode, .name = name}).code()
            : client->unlink(name, parent->inode);
    const bool should_work =
        node != nullptr && node->is_directory == as_directory && node->children.empty();
    ASSERT_EQ(code == ErrorCode::kOk, should_work) << error_code_name(code);
    if (should_work) {
      model_.leave(parent, name);
    }
  }
  void rename() {
    ModelNode* from = pick_directory();
    ModelNode* to = random_.below(3) == 0 ? from : pick_directory();
    const std::string name = pick_name();
    const std::string new_name = pick_name();
    const auto mode = static_cast<RenameMode>(random_.below(3));
    const auto reply = client->change(RenameRequest{.parent = from->inode,
                                                    .name = name,
                                                    .new_parent = to->inode,
                                                    .new_name = new_name,
                                                    .mode = static_cast<std::uint8_t>(mode)});
    ASSERT_EQ(reply.has_value(), model_.rename(from, name, to, new_name, mode))
        << error_code_name(reply.code());
  }
  void link() {
    ModelNode* from = pick_directory();
    ModelNode* to = pick_directory();
    const std::string new_name = pick_name();
    ModelNode* node = model_.find(from, pick_name());
    if (node == nullptr) {
      return;
    }
    const auto reply = client->change(
        LinkRequest{.inode = node->inode, .new_parent = to->inode, .new_name = new_name});
    ASSERT_EQ(reply.has_value(), !node->is_directory && model_.find(to, new_name) == nullptr);
    if (reply) {
      model_.enter(to, new_name, node);
    }
  }
  void disturb() {
    if (random_.below(2) == 0) {
      restart_after_kill();
    } else {
      ASSERT_TRUE(client->ask(SyncMetadataRequest{}));
      restart_after_power_loss();
    }
  }

  void compare() {
    std::set<InodeId> inodes;
    for (ModelNode* directory : model_.directories()) {
      const auto page = client->ask(
          ReadDirectoryRequest{.inode = directory->inode, .cookie = 0, .entries_max = 0});
      ASSERT_TRUE(page);
      ASSERT_TRUE(page->end);
      EXPECT_EQ(page->parent, directory->parent->inode);
      ASSERT_EQ(page->entries.size(), directory->children.size());
      std::uint32_t links = 2;
      for (const DirectoryEntry& entry : page->entries) {
        ModelNode* node = model_.find(directory, entry.name);
        ASSERT_NE(node, nullptr) << entry.name;
        EXPECT_EQ(entry.attributes.inode, node->inode);
        links += node->is_directory ? 1 : 0;
        if (!node->is_directory) {
          EXPECT_EQ(entry.attributes.link_count, node->names);
        }
        inodes.insert(node->inode);
      }
      EXPECT_EQ(client->attributes(directory->inode).link_count, links);
    }
    inodes_ = inodes.size() + 1;
  }
  void check_database() {
    CheckMetadataRequest request;
    do {
      const auto reply = client->ask(request);
      ASSERT_TRUE(reply) << error_code_name(reply.code());
      for (const MetadataProblem& problem : reply->problems) {
        ADD_FAILURE() << problem.problem << " inode " << problem.inode.value;
      }
      request.cursor = reply->cursor;
    } while (!request.cursor.empty());
  }

  Model model_;
  sim::SimRandom random_{GetParam()};
  std::size_t inodes_ = 0;
};

TEST_P(NamespaceModel, random_operations_do_what_posix_says) {
  for (int step = 0; step < 1500 && !HasFatalFailure(); ++step) {
    const std::uint64_t choice = random_.below(100);
    if (choice < 30) {
      create();
    } else if (choice < 50) {
      remove();
    } else if (choice < 85) {
      rename();
    } else if (choice < 98) {
      link();
    } else {
      disturb();
    }
  }
  compare();
  // Nothing is open: what lost its last name is freed, and the counts say so.
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client->keep_alive({}, {}, true));
    run_for(std::chrono::seconds(5));
  }
  EXPECT_EQ(*store().orphan_count(), 0u);
  EXPECT_EQ(*store().counter(Counter::kInodes), inodes_);
  check_database();
}

INSTANTIATE_TEST_SUITE_P(Seeds, NamespaceModel, ::testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace dfs::master
