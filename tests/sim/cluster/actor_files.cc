// The operations on contents of files.
#include <algorithm>

#include "tests/sim/cluster/actor.h"

namespace dfs::sim {
namespace {

constexpr std::uint64_t kFileBytesMostly = 1u << 20;

}  // namespace

void Actor::op_open() {
  const auto key = random_node(&TreeNode::is_regular);
  if (!key || files_.size() >= kFilesOpenMax) {
    return;
  }
  const InodeId inode = model_.inode(*key);
  const client::OpenFlags flags{.write = random_.below(4) != 0, .truncate = false};
  const auto opened = [this, key = *key, flags](Result<client::OpenedFile>& result) {
    if (result) {
      files_.push_back({result->handle, key, flags.write});
    }
  };
  if (flags.write && random_.below(6) == 0) {
    TreeChange change;
    change.kind = TreeChange::Kind::kSetAttributes;
    change.node = *key;
    truncate_by(change, 0, [this, inode, opened](client::Client& client) {
      return client.open(
          inode, {.write = true, .truncate = true},
          answer<client::OpenedFile>([this, opened](Result<client::OpenedFile> result) {
            opened(result);
            end_change(result.code());
          }));
    });
    return;
  }
  begin("open inode " + std::to_string(inode.value));
  ask_client([this, inode, flags, opened, key = *key](client::Client& client) {
    return client.open(
        inode, flags,
        answer<client::OpenedFile>([this, opened, key](Result<client::OpenedFile> result) {
          opened(result);
          if (is_checkable(result.code())) {
            check_attributes(key, result->attributes);
          }
          end_operation();
        }));
  });
}

void Actor::op_release() {
  if (files_.empty()) {
    return;
  }
  const std::size_t index = random_.below(files_.size());
  const OpenFile file = files_[index];
  files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(index));
  begin("release");
  in_client([this, file](client::Client& client) {
    client.release(file.handle);
    end_operation();
  });
}

void Actor::op_write() {
  const auto file = random_file(true);
  if (!file) {
    return;
  }
  const std::uint64_t size = model_.contents(file->key).now().size();
  const std::uint64_t kind = random_.below(100);
  std::uint64_t offset = random_.below(size + 1);
  if (kind < 35) {
    offset = size;
  } else if (kind < 40) {
    offset = size + random_.below(100'000);  // leaves a hole
  } else if (kind < 41) {
    offset = (4u << 20) - random_.below(5'000);  // over the border of a window
  }
  if (size > kFileBytesMostly && offset > size) {
    offset = size;
  }
  write(*file, offset, random_data(random_size()));
}

void Actor::write(const OpenFile& file, std::uint64_t offset, std::string data) {
  begin("write inode " + std::to_string(file.key.value) + " at " + std::to_string(offset) +
        " bytes " + std::to_string(data.size()));
  model_.contents(file.key).begin_write(offset, data);
  ask_client([this, file, offset, data](client::Client& client) {
    return client.write(file.handle, {.offset = offset}, Buffer::copy_of(data),
                        answer<std::uint64_t>([this, file, offset, data](auto result) {
                          if (is_taken(file.key, result.code())) {
                            model_.contents(file.key).finish_write(offset, data);
                            model_.note_write(file.key, known_);
                            touched(file.key);
                          }
                          end_operation();
                        }));
  });
}

void Actor::op_append() {
  const auto file = random_file(true);
  if (!file) {
    return;
  }
  const std::uint64_t offset = model_.contents(file->key).now().size();
  std::string data = random_data(random_size());
  begin("append key " + std::to_string(file->key.value) + " bytes " + std::to_string(data.size()));
  model_.contents(file->key).begin_write(offset, data);
  ask_client([this, file = *file, offset, data](client::Client& client) {
    return client.write(
        file.handle, {}, Buffer::copy_of(data),
        answer<std::uint64_t>([this, file, offset, data](Result<std::uint64_t> at) {
          if (is_taken(file.key, at.code())) {
            if (*at != offset) {
              fail("appended at " + std::to_string(*at) + " instead of " + std::to_string(offset));
            }
            model_.contents(file.key).finish_write(offset, data);
            model_.note_write(file.key, known_);
            touched(file.key);
          }
          end_operation();
        }));
  });
}

void Actor::truncate_by(TreeChange change, std::uint64_t size_bytes, Call call) {
  change.sets_size = true;
  const NodeKey key = change.node;
  begin_change(change, "truncate inode " + std::to_string(model_.inode(key).value) + " to " +
                           std::to_string(size_bytes));
  model_.contents(key).begin_truncate(size_bytes);
  cut_ = {key, size_bytes};
  ask_client(std::move(call));
}

void Actor::op_truncate() {
  const auto key = random_node(&TreeNode::is_regular);
  if (!key) {
    return;
  }
  const std::uint64_t size = model_.contents(*key).now().size();
  TreeChange change;
  change.kind = TreeChange::Kind::kSetAttributes;
  change.node = *key;
  client::AttributeChange request;
  request.inode = model_.inode(*key);
  request.size_bytes =
      random_.below(4) == 0 ? size + random_.below(50'000) : random_.below(size + 1);
  truncate_by(change, *request.size_bytes, [this, request, key = *key](client::Client& client) {
    return client.set_attributes(request,
                                 answer<Attributes>([this, key](Result<Attributes> result) {
                                   end_change(result.code());
                                   if (result) {
                                     check_attributes(key, *result);
                                   }
                                 }));
  });
}

void Actor::op_read() {
  const auto file = random_file(false);
  if (!file) {
    return;
  }
  const std::uint64_t file_bytes = model_.contents(file->key).now().size();
  const bool is_whole = random_.below(3) == 0;
  const std::uint64_t offset = is_whole ? 0 : random_.below(file_bytes + 2);
  const auto bytes = static_cast<std::uint32_t>(
      is_whole ? std::min<std::uint64_t>(file_bytes + 1, 1u << 20) : 1 + random_.below(131'072));
  begin("read key " + std::to_string(file->key.value) + " at " + std::to_string(offset) +
        " bytes " + std::to_string(bytes));
  ask_client([this, file = *file, offset, bytes](client::Client& client) {
    return client.read(
        file.handle, offset, bytes,
        answer<std::vector<Buffer>>([this, file, offset, bytes](Result<std::vector<Buffer>> got) {
          if (is_checkable(got.code())) {
            std::string all;
            for (const Buffer& piece : *got) {
              all += piece.text();
            }
            const std::string& now = model_.contents(file.key).now();
            const std::string expected =
                offset < now.size() ? now.substr(offset, bytes) : std::string();
            if (const auto wrong = first_difference(expected, all)) {
              fail("contents " + *wrong);
            }
          }
          end_operation();
        }));
  });
}

void Actor::op_flush() {
  const auto file = random_file(false);
  if (!file) {
    return;
  }
  begin("flush");
  ask_client([this, file = *file](client::Client& client) {
    return client.flush(file.handle, answer<Unit>([this](Result<Unit> result) {
                          is_checkable(result.code());
                          end_operation();
                        }));
  });
}

void Actor::op_sync() {
  const auto file = random_file(false);
  if (!file) {
    return;
  }
  begin("fsync key " + std::to_string(file->key.value));
  ask_client([this, file = *file](client::Client& client) {
    return client.sync(file.handle, answer<Unit>([this, file](Result<Unit> result) {
                         if (is_checkable(result.code())) {
                           model_.contents(file.key).synced();
                           if (const auto known = touched_.find(file.key);
                               known != touched_.end()) {
                             host_.durable(known->second);
                           }
                         }
                         end_operation();
                       }));
  });
}

void Actor::op_sync_directory() {
  const InodeId inode = model_.inode(random_directory());
  begin("fsync of directory inode " + std::to_string(inode.value));
  ask_client([this, inode](client::Client& client) {
    return client.sync_directory(inode, answer<Unit>([this](Result<Unit> result) {
                                   if (is_checkable(result.code())) {
                                     sync_own();
                                   }
                                   end_operation();
                                 }));
  });
}

void Actor::op_sync_all() {
  begin("sync");
  ask_client([this](client::Client& client) {
    return client.sync_all(answer<Unit>([this](Result<Unit> result) {
      if (!result && host_.others_are_unsure()) {
        end_operation();
        return;
      }
      if (is_checkable(result.code())) {
        for (const auto& [key, node] : model_.tree().nodes()) {
          if (node.is_regular()) {
            model_.contents(key).synced();
          }
        }
        for (const OpenFile& file : files_) {
          model_.contents(file.key).synced();
        }
        sync_own();
      }
      end_operation();
    }));
  });
}

// Everything answered to this actor is durable, and so is all that came before it.
void Actor::sync_own() {
  master_answered();
  if (!last_touch_.empty()) {
    host_.durable(last_touch_);
  }
}

}  // namespace dfs::sim
