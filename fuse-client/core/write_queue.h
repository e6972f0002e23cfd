// Admits writes: each waits until there is memory for it and room in chunks, and until its file is
// not being cut. Writes to one file are taken in their order; among files whoever can be served
// is, except that memory goes to the one that waits longest.
#pragma once

#include <cstdint>
#include <list>

#include "fuse-client/core/flusher.h"

namespace dfs::client {

class WriteQueue {
 public:
  WriteQueue(World world, Flusher& flusher, MemoryBudget& memory, Duration write_wait);

  WriteBack::WaitId write(InodeId inode, const StoragePolicy& policy, std::uint64_t offset,
                          Buffer data, Done<Unit> done);
  void interrupt(WriteBack::WaitId wait);
  // The file is gone: its waiting writes fail with kStale.
  void discard(InodeId inode);

  // Something that writes wait for has changed.
  void retry_soon();
  void chunk_answered(const StoragePolicy& policy, const Status& status);

 private:
  struct Write {
    WriteBack::WaitId id;
    InodeId inode;
    StoragePolicy policy;
    std::uint64_t offset = 0;
    Buffer data;
    Done<Unit> done;
    MonoTime since{};
  };
  enum class Outcome { kTaken, kHeld, kNoRoom, kNoMemory };

  Outcome try_take(const Write& write);
  void apply(const Write& write, std::uint64_t reserved);
  void answer(Write& write, Status status);
  void retry();
  template <class Predicate>
  void fail_if(Predicate predicate, const Error& error);

  World world_;
  Flusher& flusher_;
  MemoryBudget& memory_;
  Duration write_wait_;
  std::list<Write> waiting_;  // in the order of the calls
  std::uint64_t next_id_ = 1;
  bool is_retry_posted_ = false;
  Lifetime lifetime_;
};

}  // namespace dfs::client
