// A directory that a program has open: the page of entries last fetched, served piece by piece.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/namespace_messages.h"

namespace dfs::fuse {

struct OpenDirectory {
  InodeId inode;
  InodeId parent;
  std::uint64_t page_after = 0;  // the page holds the entries behind this cookie
  std::vector<DirectoryEntry> page;
  bool page_is_last = false;
  bool page_is_valid = false;
  MonoTime fetched;
};

}  // namespace dfs::fuse
