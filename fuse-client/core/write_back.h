// The dirty buffer and its way to the chunkservers and the master.
//
// Written bytes are kept here until a CommitExtents that names them was answered; until then reads
// see them through dirty_ranges. A flush cuts them into blocks, appends those to chunks of this
// session, the last with `sync`, and commits. What could not be appended within write_wait, or was
// refused by the master, is dropped and counted as a lost write of its inode.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/client.h"
#include "fuse-client/core/master_link.h"
#include "fuse-client/core/memory_budget.h"
#include "fuse-client/core/obstacle.h"
#include "proto/chunk_links.h"
#include "proto/extent.h"

namespace dfs::client {

struct DirtyRange {
  std::uint64_t file_offset = 0;
  Buffer data;
};

// What uncommitted writes make of an inode's attributes.
struct DirtyAttributes {
  std::uint64_t size_bytes_min = 0;  // end of the furthest dirty byte
  std::uint64_t dirty_bytes = 0;     // at most this much of it is not stored yet
  Timestamp mtime;                   // of the last write, or what set_mtime said since
  Timestamp ctime;                   // of the last write
};

struct WriteBackOptions {
  Duration flush_age = std::chrono::milliseconds(900);
  Duration write_wait = std::chrono::seconds(60);
  std::uint64_t flush_bytes = 8u << 20;       // dirty bytes that start a flush at once
  std::uint64_t large_file_bytes = 8u << 20;  // from here on a file gets chunks of its own
};

struct WriteBackEvents {
  // The master committed these extents (in order, later over earlier); the result is its answer.
  // Called before the ranges leave the dirty buffer.
  std::function<void(InodeId, const std::vector<Extent>&, const FileCommitResult&,
                     const std::vector<ChunkLocation>&)>
      committed = {};
  // Reads what is committed of a range of a file (within one window), past the dirty bytes and any
  // cache of extents: what is no hole, sorted, not overlapping. Used to rewrite windows of too many
  // pieces; without it a commit refused with kTooManyExtents loses its write.
  std::function<void(InodeId, std::uint64_t offset, std::uint64_t length_bytes,
                     Done<std::vector<DirtyRange>>)>
      read_committed = {};
  // Leases (write_leases.h); null: whatever is asked for may be done.
  // Whether writes of the file may be taken now; want_lease follows when not.
  std::function<bool(InodeId, const WritePlace&)> may_write = {};
  // Of the lease under which they are taken: commits of them bear it. Null: 0.
  std::function<std::uint64_t(InodeId)> write_epoch = {};
  std::function<void(InodeId)> want_lease = {};
  // One that is written back (WritePlace) was taken.
  std::function<void(InodeId)> written_back = {};
  std::function<CallId(InodeId)> lease_asked = {};  // the call that asks for it now, if any
  // What was written under a lease cannot be stored: it is over. lease_taken or lease_refused
  // decides.
  std::function<void(InodeId)> lease_lost = {};
  // The file's size, known while it may be written: bytes that are dirty lie over it.
  std::function<std::uint64_t(InodeId)> size_of = {};
  // A commit is about to be sent behind which nothing of the file is dirty. True: the lease is to
  // end with it. Then `last_answered` says whether it did.
  std::function<bool(InodeId)> begins_last = {};
  std::function<void(InodeId, bool is_over)> last_answered = {};
  std::function<bool(InodeId)> is_open = {};  // here; null: every file is
  // Nothing of the file is dirty any more, nor waited for.
  std::function<void(InodeId)> cleaned = {};
};

// Bytes that have no place on chunkservers, or not the one they should have had.
struct StuckFile {
  InodeId inode;
  Duration age{};  // since it is so
};

class WriteBack {
 public:
  using WaitId = StrongId<struct WaitTag, std::uint64_t>;

  WriteBack(World world, MasterLink& master, ChunkLinks& chunkservers, MemoryBudget& memory,
            WriteBackOptions options, WriteBackEvents events);
  ~WriteBack();
  WriteBack(const WriteBack&) = delete;
  WriteBack& operator=(const WriteBack&) = delete;

  // Takes `data` once the file may be written and there is memory and reserved room in open chunks
  // of `policy`, in the order of the calls for one inode. Answers at which offset. Fails with
  // kNoSpace, kNotEnoughServers (after write_wait), kFileTooBig, kInterrupted, and as lease_refused
  // says. The bytes are visible to dirty_ranges when `done` runs.
  WaitId write(InodeId inode, const StoragePolicy& policy, WritePlace place, WriteData data,
               Done<std::uint64_t> done);
  // The waiting write answers kInterrupted; one that was taken already is not affected.
  void interrupt(WaitId wait);

  // Everything written before the call is committed (with `durable`, and on the master's stable
  // storage) or counted as lost when `done` runs. Fails with the error that lost it.
  void flush(InodeId inode, bool durable, Done<Unit> done);
  void flush_all(bool durable, Done<Unit> done);
  // As flush, before the lease on the file ends: nothing is written anew of oneself after it. But
  // what turns out to be covered by no lease is not waited for, and what is lost is no error.
  void settle(InodeId inode, Done<Unit> done);
  bool is_settled(InodeId inode) const;  // then that takes no time

  // For truncation: waits for flushes of the inode under way, and answers whether there are dirty
  // bytes at or beyond `size_bytes`. Then nothing of the file is flushed; what is there can be seen
  // until the caller knows that the file was cut (make_cut). Writes that come meanwhile wait until
  // the caller calls release_cut, also after an error.
  WaitId cut(InodeId inode, std::uint64_t size_bytes, Done<bool> done);
  // The waiting cut answers kInterrupted; one that was made already is not affected.
  void interrupt_cut(InodeId inode, WaitId wait);
  void make_cut(InodeId inode, std::uint64_t size_bytes);
  void release_cut(InodeId inode);
  // What is dirty of the file may be void: the master may have cut the file, and may have told
  // others. Then neither what is dirty nor what the master says tells what is in it.
  bool is_undecided(InodeId inode) const;
  void when_decided(InodeId inode, Task decided);  // of a file that is undecided
  // The file is gone for good: forget its dirty bytes, commit nothing more.
  void discard(InodeId inode);

  // After want_lease: the file may be written, and commits refused for the lack of a lease are sent
  // again. Or it may not: with kLeaseLost what is dirty is lost, else what waits fails as well.
  void lease_taken(InodeId inode);
  // What waits tries again soon.
  void lease_settled();
  void lease_refused(InodeId inode, const Error& error);

  // The file's mtime was set (utimens) after everything written so far: commits of those bytes
  // carry this mtime, and dirty_attributes tells it, until the next write. No effect without dirty
  // bytes.
  void set_mtime(InodeId inode, Timestamp mtime);
  // A CommitExtents that names the inode has been sent and not been answered.
  bool is_committing(InodeId inode) const;

  // Dirty bytes within [begin, end), sorted, not overlapping, newest contents.
  std::vector<DirtyRange> dirty_ranges(InodeId inode, std::uint64_t begin, std::uint64_t end) const;
  std::optional<DirtyAttributes> dirty_attributes(InodeId inode) const;
  // What keeps the waiting write, or without one what was written to the inode (0: to any), from
  // being stored.
  Obstacle obstacle(InodeId inode, WaitId wait) const;
  // For kWaitNoted, at most so many.
  std::vector<StuckFile> stuck(std::size_t count_max) const;
  // Of all files; master_answers is left to the caller.
  Unwritten unwritten() const;
  // Writes of this inode that were lost so far; rises by one for each flush that lost some. Kept
  // until forget, which the last handle's release calls.
  std::uint64_t lost_writes(InodeId inode) const;
  void forget(InodeId inode);

  // Tells the master that no chunk of this session will be appended to any more, for the end of a
  // mount after flush_all. A write after it opens new ones.
  void seal_all(Done<Unit> done);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dfs::client
