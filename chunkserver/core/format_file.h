// The `format` file of a data directory: which format its files have, and whose they are.
#pragma once

#include <string>

#include "common/result.h"

namespace dfs::chunkserver {

inline constexpr unsigned kDirectoryFormat = 1;

struct DirectoryIdentity {
  std::string cluster_id;  // 32 hex digits; empty until a master has told it
  std::string node_uuid;   // 32 hex digits
  friend bool operator==(const DirectoryIdentity&, const DirectoryIdentity&) = default;
};

// Whether `text` is 32 lower-case hex digits, as ids of clusters and servers are.
bool is_identity_text(const std::string& text);

std::string encode_format_file(const DirectoryIdentity& identity);
// `path` names the directory in the error. Fails with kWrongFormat: not such a file, or newer.
Result<DirectoryIdentity> decode_format_file(const std::string& path, const std::string& contents);

}  // namespace dfs::chunkserver
