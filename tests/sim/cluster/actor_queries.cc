// The operations that only ask.
#include "tests/sim/cluster/actor.h"

namespace dfs::sim {
namespace {

// Caches of another client may be this old, and a little more for the way.
constexpr std::chrono::milliseconds kStrangersSeeAfter{1300};
constexpr std::uint32_t kPeekBytes = 1u << 20;

}  // namespace

void Actor::op_stat() {
  const auto file = random_file(false);
  const auto node = random_node(nullptr);
  const NodeKey key = file && random_.below(3) == 0 ? file->key : node.value_or(Tree::kRoot);
  const InodeId inode = model_.inode(key);
  begin("stat inode " + std::to_string(inode.value));
  ask_client([this, key, inode](client::Client& client) {
    return client.get_attributes(inode, answer<Attributes>([this, key](Result<Attributes> result) {
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
  ask_client([this, inode, name = name, expected](client::Client& client) {
    return client.lookup(
        inode, name, answer<Attributes>([this, expected](Result<Attributes> result) {
          if (!expected && is_sure() && !is_interrupted(result.code())) {
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
  ask_client([this, inode, cookie, page, take](client::Client& client) {
    return client.read_directory(inode, cookie, page, answer<ReadDirectoryReply>(take));
  });
}

void Actor::op_read_link() {
  const auto key = random_node(&TreeNode::is_symlink);
  if (!key) {
    return;
  }
  begin("readlink");
  ask_client([this, key = *key](client::Client& client) {
    return client.read_link(
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
  const std::string name = random_xattr();
  begin("get xattr of key " + std::to_string(key.value));
  const auto check = [this, key, name](Result<std::string> got) {
    const auto& xattrs = model_.tree().has(key) ? model_.tree().node(key).xattrs
                                                : std::map<std::string, std::string>();
    const auto expected = xattrs.find(name);
    if (is_sure() && !is_interrupted(got.code()) && expected == xattrs.end()) {
      if (got.code() != ErrorCode::kNoAttribute) {
        fail(std::string("expected no_attribute got ") + error_code_name(got.code()));
      }
    } else if (is_checkable(got.code()) && *got != expected->second) {
      fail("xattr differs");
    }
    end_operation();
  };
  ask_client([this, key, name, check](client::Client& client) {
    return client.get_xattr(model_.inode(key), name, answer<std::string>(check));
  });
}

// What another client synced and has left alone for the cache time must be seen here as it is.
void Actor::op_peek() {
  const auto peek = random_peek();
  if (!peek) {
    return;
  }
  begin("look at a stranger's inode " +
        std::to_string(peek->owner->model().inode(peek->key).value));
  const auto opened = [this, peek = *peek](Result<client::OpenedFile> file) {
    if (is_still_true(peek, file.code())) {
      peek_read(peek, *file);
      return;
    }
    if (file) {
      host_.client()->release(file->handle);
    }
    end_operation();
  };
  const auto looked_up = [this, peek = *peek, opened](Result<Attributes> got) {
    if (!is_still_true(peek, got.code())) {
      end_operation();
      return;
    }
    if (const auto wrong = peek.owner->model().attributes_mismatch(peek.key, *got)) {
      fail("a stranger's attributes: " + *wrong);
    }
    ask_client([this, inode = got->inode, opened](client::Client& client) {
      return client.open(inode, {}, answer<client::OpenedFile>(opened));
    });
  };
  ask_client([this, peek = *peek, looked_up](client::Client& client) {
    return client.lookup(peek.parent, peek.name, answer<Attributes>(looked_up));
  });
}

std::optional<Actor::Peek> Actor::random_peek() {
  const auto strangers = host_.strangers();
  if (strangers.empty()) {
    return std::nullopt;
  }
  const Actor& owner = *strangers[random_.below(strangers.size())];
  if (!owner.is_quiet(kStrangersSeeAfter)) {
    return std::nullopt;
  }
  std::vector<Peek> found;
  const Model& model = owner.model();
  for (const auto& [directory, node] : model.tree().nodes()) {
    for (const auto& [name, key] : node.children) {
      if (model.tree().node(key).is_regular() && !model.is_unsynced(key)) {
        found.push_back({&owner, owner.stamp(), key, model.inode(directory), name});
      }
    }
  }
  return found.empty() ? std::nullopt : std::optional(found[random_.below(found.size())]);
}

bool Actor::is_still_true(const Peek& peek, ErrorCode code) {
  const bool is_unchanged = is_sure() && peek.owner->stamp() == peek.stamp;
  return is_unchanged ? is_checkable(code) : false;
}

void Actor::peek_read(const Peek& peek, const client::OpenedFile& file) {
  const auto read = [this, peek, handle = file.handle](Result<std::vector<Buffer>> got) {
    host_.client()->release(handle);
    if (is_still_true(peek, got.code())) {
      std::string all;
      for (const Buffer& piece : *got) {
        all += piece.text();
      }
      const std::string expected = peek.owner->model().now(peek.key).substr(0, kPeekBytes);
      if (const auto wrong = first_difference(expected, all)) {
        fail("a stranger's contents " + *wrong);
      }
    }
    end_operation();
  };
  ask_client([this, handle = file.handle, read](client::Client& client) {
    return client.read(handle, 0, kPeekBytes, answer<std::vector<Buffer>>(read));
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
  ask_client([this, key, check](client::Client& client) {
    return client.list_xattrs(model_.inode(key), answer<std::vector<std::string>>(check));
  });
}

}  // namespace dfs::sim
