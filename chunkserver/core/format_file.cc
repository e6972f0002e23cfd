#include "chunkserver/core/format_file.h"

#include <cstddef>
#include <string_view>
#include <vector>

namespace dfs::chunkserver {

namespace {

constexpr std::string_view kTitle = "dfs chunkserver data";
constexpr std::string_view kNoCluster = "none";
constexpr std::size_t kFileBytesMax = 4096;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

// What stands behind "key " in `line`; empty when that is not how it begins.
std::string_view value_of(std::string_view line, std::string_view key) {
  if (line.size() <= key.size() + 1 || line.substr(0, key.size()) != key ||
      line[key.size()] != ' ') {
    return {};
  }
  return line.substr(key.size() + 1);
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 9 &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

Error not_ours(const std::string& path) {
  return make_error(ErrorCode::kWrongFormat,
                    path + ": its format file is not one of a dfs chunkserver");
}

}  // namespace

bool is_identity_text(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string encode_format_file(const DirectoryIdentity& identity) {
  std::string text(kTitle);
  text += "\nformat " + std::to_string(kDirectoryFormat);
  text += "\ncluster ";
  text += identity.cluster_id.empty() ? std::string(kNoCluster) : identity.cluster_id;
  text += "\nnode " + identity.node_uuid + "\n";
  return text;
}

Result<DirectoryIdentity> decode_format_file(const std::string& path, const std::string& contents) {
  if (contents.size() > kFileBytesMax) {
    return not_ours(path);
  }
  const std::vector<std::string_view> lines = lines_of(contents);
  if (lines.size() < 2 || lines[0] != kTitle || !is_number(value_of(lines[1], "format"))) {
    return not_ours(path);
  }
  const std::string format(value_of(lines[1], "format"));
  if (format != std::to_string(kDirectoryFormat)) {
    return make_error(ErrorCode::kWrongFormat, path + ": has data format " + format +
                                                   ", this version knows format " +
                                                   std::to_string(kDirectoryFormat) + " only");
  }
  if (lines.size() < 4) {
    return not_ours(path);
  }
  DirectoryIdentity identity{std::string(value_of(lines[2], "cluster")),
                             std::string(value_of(lines[3], "node"))};
  if (identity.cluster_id == kNoCluster) {
    identity.cluster_id.clear();
  } else if (!is_identity_text(identity.cluster_id)) {
    return not_ours(path);
  }
  if (!is_identity_text(identity.node_uuid)) {
    return not_ours(path);
  }
  return identity;
}

}  // namespace dfs::chunkserver
