// Reads a whole directory tree through a client: everything a model can be compared with.
//
// One call at a time; ends with the first error. Destroyed together with (before) the client, or
// when it has answered.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fuse-client/core/client.h"
#include "tests/sim/sim_random.h"

namespace dfs::sim {

struct ObservedNode {
  Attributes attributes;
  std::map<std::string, InodeId> children;
  std::string symlink_target;
  std::map<std::string, std::string> xattrs;
  std::string contents;
};

struct ObservedTree {
  InodeId root;
  std::map<InodeId, ObservedNode> nodes;
};

class Walker {
 public:
  // `done` runs once, from a callback of the client; it must not destroy the walker.
  Walker(client::Client& client, SimRandom random, InodeId root, client::Done<ObservedTree> done);
  void start();

 private:
  using Step = std::function<void()>;

  void next();
  void fail(const std::string& where, const Error& error);
  // Hands a callback's value on, or ends the walk.
  template <class T>
  client::Done<T> expect(std::string where, std::function<void(T)> then) {
    return [this, place = std::move(where), go_on = std::move(then)](Result<T> result) {
      if (!result) {
        fail(place, result.error());
        return;
      }
      go_on(std::move(*result));
    };
  }

  void list(InodeId directory, std::uint64_t cookie);
  void take_page(InodeId directory, const ReadDirectoryReply& page);
  void look_up(InodeId directory, const DirectoryEntry& entry);
  void take_node(const Attributes& attributes);
  void read_xattrs(InodeId inode);
  void read_file(InodeId inode);
  void read_on(InodeId inode, client::HandleId handle);

  client::Client& client_;
  SimRandom random_;
  client::Done<ObservedTree> done_;
  ObservedTree tree_;
  std::deque<Step> steps_;
};

}  // namespace dfs::sim
