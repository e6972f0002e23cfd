// Checks the whole database against itself, in bounded slices, while it is in use.
//
// Sums that need a pass over everything (names of an inode, bytes of a chunk) are made for a range
// of ids at a time, in memory that is bounded by the range. What changed since its range was begun
// is left out: inodes by their ctime or data_version, chunks because ChunkChanges tells. So a
// problem that is reported is one. One check at a time: another one ends it. Nothing is changed.
//
// Passes: (1) names: each entry names an inode, link counts are what the entries say, an inode
// without names is an orphan; (2) contents: extents are sorted, inside their window, the file and
// their chunk, used_bytes is their sum, live_bytes of each chunk is the sum of what refers to it.
// Loop thread only.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "master/core/op_context.h"
#include "proto/admin_messages.h"

namespace dfs::master {

inline constexpr std::size_t kCheckRowsPerSlice = 2048;
inline constexpr std::uint64_t kCheckInodesPerRange = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kCheckChunksPerRange = std::uint64_t{1} << 18;
inline constexpr std::size_t kCheckProblemsPerSlice = 4096;

class MetadataCheck {
 public:
  // The next slice. An empty cursor begins; the cursor of the slice before is answered again (its
  // answer was lost). Fails with kStale: another check was begun or the master restarted.
  Result<CheckMetadataReply> next(OpContext& context, const std::string& cursor);

  // The chunk's live_bytes changed, or it is gone.
  void chunk_changed(ChunkId chunk);

 private:
  enum class Step : std::uint8_t { kEntries, kInodes, kContents, kCutOff, kChunks, kDone };

  void begin(OpContext& context);
  std::string cursor() const;
  Status run_slice(OpContext& context);
  void report(InodeId inode, ChunkId chunk, std::string problem);

  // Pass 1: metadata_check.cc. Ranges of inodes.
  Status begin_inode_range(OpContext& context);
  Status check_entries(OpContext& context);
  Status check_entry(OpContext& context, const EntryRow& entry);
  Status check_inodes(OpContext& context);
  Status check_link_count(OpContext& context, const InodeRow& inode);
  Status check_xattrs(OpContext& context, const InodeRow& inode);
  Status check_is_orphan(OpContext& context, InodeId inode);

  // Pass 2: metadata_check_contents.cc. Ranges of chunks.
  Status begin_chunk_range(OpContext& context);
  Status check_contents(OpContext& context);
  Status check_cut_off(OpContext& context);
  Result<bool> check_windows(OpContext& context, const InodeRow& inode);
  Status check_window(OpContext& context, const InodeRow& inode, const WindowRow& window);
  Status check_extent(OpContext& context, const InodeRow& inode, const Extent& extent);
  Status check_chunks(OpContext& context);
  Status check_chunk(OpContext& context, const ChunkRow& chunk);
  void count_live(const Extent& extent);

  std::uint64_t id_ = 0;  // of the check; 0: none was begun
  std::uint64_t slice_ = 0;
  std::string answered_;       // the cursor `answer_` was the answer to
  CheckMetadataReply answer_;  // of the slice before, or the one being made
  Step step_ = Step::kDone;
  bool is_first_range_ = true;  // what does not depend on the range is checked in the first
  Timestamp range_begun_;
  std::uint64_t range_first_ = 1;

  std::vector<std::uint32_t> names_;    // of inode range_first_ + index
  std::vector<std::uint32_t> subdirs_;  // likewise
  InodeId entry_parent_;
  std::uint64_t entry_cookie_ = 0;

  std::vector<std::uint64_t> live_bytes_;      // of chunk range_first_ + index
  std::unordered_set<std::uint64_t> changed_;  // chunks of the range; for membership only
  InodeId inode_after_;
  InodeId partial_;  // its windows before window_next_ are counted
  std::uint64_t window_next_ = 0;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t data_version_ = 0;
  ChunkId chunk_after_;
};

}  // namespace dfs::master
