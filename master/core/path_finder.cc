#include "master/core/path_finder.h"

#include <algorithm>
#include <sstream>

#include "master/core/name_hash.h"
#include "master/core/namespace_rows.h"
#include "proto/limits.h"

namespace dfs::master {
namespace {

constexpr std::size_t kEntriesPerScan = 1024;

}  // namespace

Result<PathFinder::Found> PathFinder::find(InodeId inode) {
  Found found;
  InodeId current = inode;
  while (current != kRootInode) {
    DFS_TRY(const auto row, context_.store.inode(current));
    if (!row || row->attributes.link_count == 0) {
      return Found{.path = {}, .is_removed = true};
    }
    DFS_TRY(const Name name, name_of(current, row->parent));
    if (name.name.empty() || found.path.size() + name.name.size() >= kWaitPathBytesMax) {
      return Found{};
    }
    found.path.insert(0, "/" + name.name);
    current = name.parent;
  }
  if (found.path.empty()) {
    found.path = "/";
  }
  return found;
}

Result<PathFinder::Name> PathFinder::name_of(InodeId inode, InodeId parent) {
  const auto known = names_.find(inode);
  if (known != names_.end() || !parent.is_set()) {
    return known != names_.end() ? known->second : Name{};
  }
  Name name{.parent = parent, .name = {}};
  for (std::uint64_t first = 0; name.name.empty() && entries_left_ > 0;) {
    const std::size_t limit = std::min(entries_left_, kEntriesPerScan);
    DFS_TRY(const auto entries, context_.store.entries(parent, first, kLastCookie, limit));
    entries_left_ -= entries.size();
    for (const EntryRow& entry : entries) {
      if (entry.inode == inode) {
        name.name = entry.name;
      }
    }
    if (entries.size() < limit || entries.back().cookie == kLastCookie) {
      break;
    }
    first = entries.back().cookie + 1;
  }
  names_.emplace(inode, name);
  return name;
}

Result<InodeId> PathFinder::resolve(const std::string& path) {
  if (path.size() > kWaitPathBytesMax) {
    return make_error(ErrorCode::kNameTooLong);
  }
  InodeId current = kRootInode;
  std::istringstream names(path);
  std::string name;
  std::string walked;
  while (std::getline(names, name, '/')) {
    if (name.empty() || name == ".") {
      continue;
    }
    walked += "/" + name;
    const auto refuse = [&](ErrorCode code) {
      return make_error(code, "there is no " + walked + " in the filesystem");
    };
    DFS_TRY(const auto directory, context_.store.inode(current));
    if (!directory || !directory->attributes.is_directory()) {
      return refuse(ErrorCode::kNotDirectory);
    }
    if (name == "..") {
      current = current == kRootInode ? current : directory->parent;
      continue;
    }
    DFS_TRY(const NamePlace place, find_name(context_, current, name));
    if (!place.entry) {
      return refuse(ErrorCode::kNotFound);
    }
    current = place.entry->inode;
  }
  return current;
}

}  // namespace dfs::master
