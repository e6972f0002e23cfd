// The operations that only ask.
#include "tests/sim/cluster/actor.h"

namespace dfs::sim {

void Actor::op_stat() {
  const auto file = random_file(false);
  const auto node = random_node(nullptr);
  const NodeKey key = file && random_.below(3) == 0 ? file->key : node.value_or(Tree::kRoot);
  const InodeId inode = model_.inode(key);
  begin("stat inode " + std::to_string(inode.value));
  in_client([this, key, inode](client::Client& client) {
    client.get_attributes(inode, answer<Attributes>([this, key](Result<Attributes> result) {
                            if (is_checkable(result.code())) {
                              check_attributes(key, *result);
                            }
                            end_operation();
                          }));
  });
}

void Actor::op_lookup() {
  const auto [directory, name] = random_entry();
  const auto expected = model_.tree().child(directory, name);
  const InodeId inode = model_.inode(directory);
  begin("lookup " + model_.tree().path(directory, name));
  in_client([this, inode, name = name, expected](client::Client& client) {
    client.lookup(
        inode, name, answer<Attributes>([this, expected](Result<Attributes> result) {
          if (!expected && is_sure()) {
            if (result.code() != ErrorCode::kNotFound) {
              fail(std::string("expected not_found got ") + error_code_name(result.code()));
            }
          } else if (is_checkable(result.code())) {
            check_attributes(*expected, *result);
          }
          end_operation();
        }));
  });
}

void Actor::op_list() {
  const NodeKey directory = random_directory();
  begin("list inode " + std::to_string(model_.inode(directory).value));
  listed_.clear();
  list_on(directory, 0);
}

void Actor::list_on(NodeKey directory, std::uint64_t cookie) {
  const auto page = static_cast<std::uint32_t>(1 + random_.below(10));
  const InodeId inode = model_.inode(directory);
  const auto take = [this, directory](Result<ReadDirectoryReply> reply) {
    if (!is_checkable(reply.code())) {
      end_operation();
      return;
    }
    for (const DirectoryEntry& entry : reply->entries) {
      const auto child = model_.tree().child(directory, entry.name);
      if (!child || !listed_.emplace(entry.name, entry.cookie).second) {
        fail("an entry that is not there, or there twice: " + entry.name);
        return;
      }
      check_attributes(*child, entry.attributes);
    }
    if (!reply->end && !reply->entries.empty()) {
      list_on(directory, reply->entries.back().cookie);
      return;
    }
    if (listed_.size() != model_.tree().node(directory).children.size()) {
      fail("entries are missing");
    }
    end_operation();
  };
  in_client([this, inode, cookie, page, take](client::Client& client) {
    client.read_directory(inode, cookie, page, answer<ReadDirectoryReply>(take));
  });
}

void Actor::op_read_link() {
  const auto key = random_node(&TreeNode::is_symlink);
  if (!key) {
    return;
  }
  begin("readlink");
  in_client([this, key = *key](client::Client& client) {
    client.read_link(
        model_.inode(key), answer<std::string>([this, key](Result<std::string> got) {
          if (is_checkable(got.code()) && *got != model_.tree().node(key).symlink_target) {
            fail("symlink target differs");
          }
          end_operation();
        }));
  });
}

void Actor::op_get_xattr() {
  const NodeKey key = random_node(nullptr).value_or(Tree::kRoot);
  const std::string name = "user." + std::to_string(random_.below(3));
  begin("get xattr");
  const auto check = [this, key, name](Result<std::string> got) {
    const auto& xattrs = model_.tree().has(key) ? model_.tree().node(key).xattrs
                                                : std::map<std::string, std::string>();
    const auto expected = xattrs.find(name);
    if (is_sure() && expected == xattrs.end()) {
      if (got.code() != ErrorCode::kNoAttribute) {
        fail(std::string("expected no_attribute got ") + error_code_name(got.code()));
      }
    } else if (is_checkable(got.code()) && *got != expected->second) {
      fail("xattr differs");
    }
    end_operation();
  };
  in_client([this, key, name, check](client::Client& client) {
    client.get_xattr(model_.inode(key), name, answer<std::string>(check));
  });
}

void Actor::op_list_xattrs() {
  const NodeKey key = random_node(nullptr).value_or(Tree::kRoot);
  begin("list xattrs");
  const auto check = [this, key](Result<std::vector<std::string>> got) {
    if (is_checkable(got.code())) {
      std::vector<std::string> expected;
      for (const auto& [name, value] : model_.tree().node(key).xattrs) {
        expected.push_back(name);
      }
      if (*got != expected) {
        fail("names of xattrs differ");
      }
    }
    end_operation();
  };
  in_client([this, key, check](client::Client& client) {
    client.list_xattrs(model_.inode(key), answer<std::vector<std::string>>(check));
  });
}

}  // namespace dfs::sim
