// A directory that a program has open, and as much of its listing as was fetched last.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/namespace_messages.h"

namespace dfs::fuse {

// An open directory: the page of entries last fetched, served piece by piece.
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
