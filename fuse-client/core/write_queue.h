// Admits writes: each waits until there is memory for it and room in chunks, until its file is not
// being cut, and until this client has the lease to write it. Writes to one file are taken in their
// order; among files whoever can be served is, except that memory goes to the one that waits
// longest.
#pragma once

#include <cstdint>
#include <list>

#include "fuse-client/core/flusher.h"

namespace dfs::client {

class WriteQueue {
 public:
  WriteQueue(World world, Flusher& flusher, MemoryBudget& memory, const WriteBackEvents& events,
             Duration write_wait);

  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  WriteBack::WaitId write(InodeId inode, const StoragePolicy& policy, WritePlace place,
                          WriteData data, Done<std::uint64_t> done);
  void interrupt(WriteBack::WaitId wait);
  // The file cannot be written: its waiting writes fail.
  void fail(InodeId inode, const Error& error);

  // Something that writes wait for has changed.
  void retry_soon();
  void retry();
  // What the write waits for; it may have been taken just now.
  Obstacle obstacle(WriteBack::WaitId wait) const;
  void chunk_answered(const StoragePolicy& policy, const Status& status);

 private:
  struct Write {
    WriteBack::WaitId id;
    InodeId inode;
    StoragePolicy policy;
    WritePlace place;
    WriteData data;
    Done<std::uint64_t> done;
    MonoTime since{};
  };
  using Writes = std::list<Write>;
  enum class Outcome { kTaken, kRefused, kHeld, kNoRoom, kNoMemory };

  // Takes it, and answers, or refuses it, or says what it waits for.
  Outcome try_take(Write& write);
  bool may_write(const Write& write) const;
  std::uint64_t offset_of(const Write& write) const;
  Status apply(const Write& write, std::uint64_t offset, std::uint64_t reserved);
  void answer(Write& write, Result<std::uint64_t> result);
  Writes::iterator leave(Writes::iterator write);
  template <class Predicate>
  void fail_if(Predicate predicate, const Error& error);

  World world_;
  Flusher& flusher_;
  MemoryBudget& memory_;
  const WriteBackEvents& events_;
  Duration write_wait_;
  Writes waiting_;  // in the order of the calls
  std::uint64_t next_id_ = 1;
  bool is_retry_posted_ = false;
  Lifetime lifetime_;
};

}  // namespace dfs::client
