// What the client keeps of an open file: once for each handle, and once for each inode. Of an open
// directory it keeps nothing but the attributes (InodeCache::hold).
#pragma once

#include <cstdint>

#include "fuse-client/core/read_ahead.h"
#include "proto/attributes.h"

namespace dfs::client {

struct Handle {
  InodeId inode;
  StoragePolicy policy;
  std::uint64_t lost_writes_told = 0;
  ReadAhead read_ahead;
  bool notes_access = true;  // until it was read once
};

struct OpenInode {
  std::uint32_t count = 0;  // handles, and opens under way
  bool is_unlinked = false;
  bool is_unnamed = false;  // created without a name, and not linked since
};

}  // namespace dfs::client
