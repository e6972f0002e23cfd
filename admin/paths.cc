// Paths: from a local mount to the filesystem, and from names to inodes.
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "admin/commands.h"
#include "admin/table.h"
#include "proto/namespace_messages.h"

namespace dfs::admin {
namespace {

constexpr const char* kFilesystemType = "fuse.dfs";

std::string unescape(const std::string& field) {
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size()) {
      int code = 0;
      for (std::size_t digit = 1; digit <= 3; ++digit) {
        code = code * 8 + (field[i + digit] - '0');
      }
      out.push_back(static_cast<char>(code));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

// With one slash where there are several, and none at the end.
std::string tidy(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c != '/' || !out.ends_with('/')) {
      out.push_back(c);
    }
  }
  if (out.size() > 1 && out.ends_with('/')) {
    out.pop_back();
  }
  return out;
}

struct MountEntry {
  std::string root;  // what of the filesystem is mounted: "/" but for bind mounts
  std::string directory;
  std::string type;
  std::string source;
};

// 36 35 98:0 /root /mount/point options [optional…] - type source super-options
MountEntry parse_mount(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  MountEntry entry;
  for (int field = 0; field < 5 && words >> word; ++field) {
    entry.root = std::exchange(entry.directory, unescape(word));
  }
  while (words >> word && word != "-") {
  }
  words >> entry.type >> word;
  entry.source = unescape(word);
  return entry;
}

bool is_inside(const std::string& path, const std::string& directory) {
  return path.starts_with(directory) &&
         (path.size() == directory.size() || directory == "/" || path[directory.size()] == '/');
}

}  // namespace

std::string path_in_filesystem(const std::string& path, const std::string& mountinfo,
                               std::string& master) {
  std::istringstream lines(mountinfo);
  std::string line;
  MountEntry best;
  while (std::getline(lines, line)) {
    MountEntry entry = parse_mount(line);
    if (is_inside(path, entry.directory) && entry.directory.size() >= best.directory.size()) {
      best = std::move(entry);
    }
  }
  if (best.type != kFilesystemType) {
    return path;
  }
  const std::size_t slash = std::min(best.source.find('/'), best.source.size());
  std::string address = best.source.substr(0, slash);
  if (address.ends_with(':')) {
    address.pop_back();
  }
  master = address;
  return tidy(best.source.substr(slash) + "/" + best.root + "/" +
              path.substr(best.directory.size()));
}

Result<Attributes> resolve_path(ClusterCalls& calls, const std::string& path) {
  DFS_TRY(const AttributesReply root, calls.master(GetAttributesRequest{.inode = kRootInode}));
  Attributes found = root.attributes;
  std::istringstream names(path);
  std::string name;
  std::string walked;
  while (std::getline(names, name, '/')) {
    if (name.empty() || name == ".") {
      continue;
    }
    walked += "/" + name;
    auto entry = calls.master(LookupRequest{.parent = found.inode, .name = name});
    if (!entry) {
      Error error = std::move(entry).error();
      if (error.code == ErrorCode::kNotFound || error.code == ErrorCode::kNotDirectory) {
        error.detail = "there is no " + escape(walked) + " in the filesystem";
      }
      return error;
    }
    found = entry->attributes;
  }
  return found;
}

}  // namespace dfs::admin
