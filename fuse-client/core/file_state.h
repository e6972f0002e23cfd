// What write-back knows about one file with dirty bytes (or one being cut): shared by the classes
// that admit, flush, place and commit. Lives from the first write to the last commit.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "fuse-client/core/dirty_file.h"

namespace dfs::client {

struct FlushWaiter {
  std::uint64_t up_to = 0;  // order of the last block it waits for
  bool is_durable = false;
  Done<Unit> done;
  std::optional<Error> error;  // of the first block it waits for that was lost
};

// Asked for while nothing of the file may be flushed.
struct HeldFlush {
  bool is_durable = false;
  Done<Unit> done;
};

struct CutWaiter {
  WriteBack::WaitId id;
  std::uint64_t size_bytes = 0;
  Done<bool> done;
};

struct FileState {
  FileState(InodeId file_inode, MemoryBudget& memory) : inode(file_inode), dirty(inode, memory) {}

  InodeId inode;
  DirtyFile dirty;
  StoragePolicy policy;
  bool is_large = false;            // gets chunks of its own
  std::uint64_t waiting_room = 0;   // what blocks in flight without a place will take
  std::uint64_t promised = 0;       // room as the pool was told
  std::uint64_t counted_bytes = 0;  // buffered bytes as the flusher counted them
  std::optional<MonoTime> oldest;   // write that no flush took
  std::vector<FlushWaiter> waiters;
  std::vector<CutWaiter> cuts;
  std::uint32_t hold_count = 0;  // cuts not released: writes wait
  // One of these may make bytes void that are dirty: nothing is flushed until that is decided.
  bool is_void_in_part = false;
  bool is_flush_due = false;  // since then
  std::vector<HeldFlush> held_flushes;
  std::vector<Task> decided;   // whoever asks for what may be void
  bool is_committing = false;  // commits of one file go one after the other
  // Bytes that were discarded or lost are in the commit under way: it is waited for as if they
  // were not.
  bool is_discarded_committing = false;
  bool is_commit_held = false;  // a window must be rewritten first
  bool is_rewriting = false;    // a window is being read to be rewritten
  bool lacks_lease = false;     // a commit was refused for that: the next waits for it
  // Of the write lease that what is dirty was written under, or that was had for it anew.
  std::uint64_t write_epoch = 0;

  // Nothing written here can still reach the master.
  bool is_settled() const { return dirty.is_clean() && !is_discarded_committing; }
  bool is_needed() const {
    return !dirty.is_clean() || !waiters.empty() || !cuts.empty() || hold_count > 0 ||
           is_committing || is_rewriting;
  }
};

// By inode; pointers stay good until the file is erased.
using FileTable = std::map<InodeId, std::unique_ptr<FileState>>;

}  // namespace dfs::client
