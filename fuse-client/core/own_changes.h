// What this client's own changes that are under way may be changing at this moment.
//
// The master tells other clients of a change and then makes it, and they may know the outcome
// before its answer is here (a message may be lost, and be sent again much later). Nobody tells the
// changing client. So while a change is under way, what is kept of what it concerns answers no
// questions: the master does.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "proto/lease_messages.h"

namespace dfs::client {

struct ConcernedByChange {
  std::vector<std::pair<InodeId, std::string>> names;  // in which directory
  std::vector<InodeId> inodes;
  // And one more that is not known, which a name stands for.
  bool any_inode = false;
  // Links come or go: names tell of that.
  bool changes_links = false;
};

class OwnChanges {
 public:
  void begin(const ConcernedByChange& what);
  void end(const ConcernedByChange& what);
  // Another change, of this client or not, made the name stand for something else. What is under
  // way may come after it, and then concerns that.
  void name_changes(InodeId directory, const std::string& name);

  bool concern(InodeId inode) const { return concern_links_of(inode) || inodes_.contains(inode); }
  bool concern_links_of(InodeId inode) const {
    return any_inode_ > 0 || !changed_names_.empty() || linked_.contains(inode);
  }
  bool concern(InodeId directory, const std::string& name) const {
    return !names_.empty() && names_.contains({directory, name});
  }

 private:
  // How many changes under way concern each.
  std::map<std::pair<InodeId, std::string>, std::uint32_t> names_;
  std::set<std::pair<InodeId, std::string>> changed_names_;  // of these, since it began
  std::map<InodeId, std::uint32_t> inodes_;
  std::map<InodeId, std::uint32_t> linked_;
  std::uint32_t any_inode_ = 0;
};

}  // namespace dfs::client
