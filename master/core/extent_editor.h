// Changes which extents a file has: everything is worked out in memory first, then written.
//
// For operations on ranges that a request bounds. What an edit displaces loses its live bytes;
// what it lays gains them, whether the bytes are new or already belong to another file: a chunk
// lives as long as any file refers to it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "common/result.h"
#include "master/core/chunk_changes.h"
#include "master/core/op_context.h"
#include "proto/extent.h"

namespace dfs::master {

// A regular file that somebody can have open. Fails with kStale (gone, or being freed),
// kInvalidArgument (another type).
Result<InodeRow> require_file(OpContext& context, InodeId inode);

class ExtentEditor {
 public:
  ExtentEditor(OpContext& context, InodeId inode) : context_(context), inode_(inode) {}

  // Lays the extent over what is there.
  Status lay(const Extent& extent);
  // Makes [begin, end) a hole.
  Status remove(std::uint64_t begin, std::uint64_t end);
  // Pieces in the fullest window touched; above kWindowPiecesMax the edit must not be written.
  std::uint32_t window_pieces_most() const;
  // Writes the windows, corrects used_bytes of `row` (which the caller writes) and tells `changes`.
  Status write(InodeRow& row, ChunkChanges& changes) const;

 private:
  Result<ExtentList*> window(std::uint64_t index);
  Status load(std::uint64_t first, std::uint64_t last);

  OpContext& context_;
  InodeId inode_;
  std::map<std::uint64_t, ExtentList> windows_;  // those touched, as they will be
  std::vector<Extent> laid_;
  std::vector<Extent> displaced_;
};

}  // namespace dfs::master
