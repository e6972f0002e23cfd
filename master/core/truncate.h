// Cutting off the end of a file.
#pragma once

#include <cstdint>

#include "common/result.h"
#include "master/core/op_context.h"
#include "master/core/store.h"

namespace dfs::master {

// Removes the extents of `inode` at and beyond `size_bytes` and corrects its used_bytes; the row
// itself (size, times) is the caller's to write.
//
// A file may have millions of windows, so only a few are cut on the spot. More of them are given
// to a new inode number that nobody ever learns, as an orphan for the reclaimer, which frees them
// in slices. Rejected: an indirection from inodes to their contents, which would make this
// constant-time but cost a column and a look-up in every operation on extents.
Status cut_extents(OpContext& context, InodeRow& inode, std::uint64_t size_bytes);

}  // namespace dfs::master
