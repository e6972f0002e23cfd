// Decides what is flushed when, and follows it until the master has committed it or it is lost.
//
// A flush freezes buffered bytes into blocks, which are placed, appended, synced and committed. It
// starts at the age of the oldest byte, when much is buffered, when memory is short, and for
// whoever waits: flush, cut. A large file written in a row is frozen block by block as these fill
// up. Files are erased only by posted tasks, so that a FileState lasts through the current one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "fuse-client/core/block_placer.h"
#include "fuse-client/core/committer.h"
#include "fuse-client/core/window_rewriter.h"

namespace dfs::client {

class Flusher {
 public:
  // `room_answered`: as ChunkPool::Events::answered, after this flusher did its part.
  Flusher(World world, MasterLink& master, ChunkLinks& links, MemoryBudget& memory,
          const WriteBackOptions& options, const WriteBackEvents& events,
          std::function<void(const StoragePolicy&, const Status&)> room_answered);

  FileTable& files() { return files_; }
  const FileTable& files() const { return files_; }
  FileState* find(InodeId inode) const;
  FileState& get(InodeId inode);  // makes it
  ChunkPool& pool() { return pool_; }

  void set_policy(FileState& file, const StoragePolicy& policy) {
    placer_.set_policy(file, policy);
  }
  // A write went into the file: its times and promise are updated, flushes may start.
  void wrote(FileState& file, std::uint64_t offset, std::uint64_t size_bytes);
  // What is written to the file from here on is written under the lease that is had now.
  void note_epoch(FileState& file);
  // Memory was refused to a writer.
  void relieve_memory();
  // Memory was released after somebody was refused.
  void memory_released();

  void flush(InodeId inode, bool durable, Done<Unit> done);
  void settle(InodeId inode, Done<Unit> done);
  bool is_settled(InodeId inode) const;
  void flush_all(bool durable, Done<Unit> done);
  // Starts a flush of everything buffered.
  void flush_everything();

  WriteBack::WaitId cut(InodeId inode, std::uint64_t size_bytes, Done<bool> done);
  void interrupt_cut(InodeId inode, WriteBack::WaitId wait);
  void make_cut(InodeId inode, std::uint64_t size_bytes);
  // True if writes of the inode may go on.
  bool release_cut(InodeId inode);
  void discard(InodeId inode);

  // As WriteBack's.
  void lease_taken(InodeId inode);
  void lease_refused(InodeId inode, const Error& error);

  void session_replaced();
  void seal_all(Done<Unit> done) { pool_.seal_all(std::move(done)); }

  // As WriteBack's, for a file without a waiting write.
  Obstacle obstacle(InodeId inode) const;
  std::vector<StuckFile> stuck(std::size_t count_max) const;

  // Forgets the file's state in a moment, if nothing needs it.
  void reap_soon(InodeId inode);
  std::uint64_t lost_writes(InodeId inode) const;
  void forget(InodeId inode);

 private:
  void freeze(FileState& file, DirtyFile::Freeze what);
  void flush_file(FileState& file);
  void note_age(FileState& file);
  void clear_age(FileState& file);
  void arm_age_timer();
  void flush_old();
  void update_counts(FileState& file);

  void blocks_stable(const std::vector<FlightBlockPtr>& blocks);
  std::optional<CommitPart> take_commit(InodeId inode, std::size_t extents_max);
  void commit_answered(CommitPart part, Result<FileCommitResult> result);
  void committed(FileState& file, const CommitPart& part, const FileCommitResult& result);
  void commit_failed(FileState& file, const CommitPart& part, const Error& error);
  void commit_if_ready(const FileState& file);
  std::vector<ChunkLocation> locations_of(const CommitPart& part);

  void rewritten(FileState& file);
  void drop(FileState& file, const std::vector<FlightBlockPtr>& blocks);
  void lose(FileState& file, const std::vector<FlightBlockPtr>& blocks, const Error& error);
  void lose_all(FileState& file, const Error& error);
  void drop_all(FileState& file);
  void drop_blocks(FileState& file, const std::vector<FlightBlockPtr>& blocks);
  // `durable`: what was just committed is on the master's stable storage.
  void check_waiters(FileState& file, bool durable);
  void end_settlers(InodeId inode);
  void note_lost_lease(FileState& file);
  void check_cuts(FileState& file);
  void flush_what_was_held(FileState& file);
  void reap();

  World world_;
  MasterLink& master_;
  MemoryBudget& memory_;
  const WriteBackOptions options_;
  const WriteBackEvents& events_;
  std::function<void(const StoragePolicy&, const Status&)> room_answered_;
  FileTable files_;
  ChunkPool pool_;
  BlockPlacer placer_;
  Committer committer_;
  WindowRewriter rewriter_;
  std::uint64_t next_cut_ = 1;
  std::uint64_t next_order_ = 1;
  std::uint64_t buffered_bytes_ = 0;
  std::set<std::pair<MonoTime, InodeId>> ages_;
  Timer age_timer_;
  std::map<InodeId, std::uint64_t> lost_;
  std::map<InodeId, std::vector<Done<Unit>>> settlers_;  // who waits in settle
  std::set<InodeId> reap_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
