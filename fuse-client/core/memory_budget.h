// One cap for everything a client buffers: dirty bytes, cached blocks, bytes in flight, and those
// of writes that wait for any of it.
//
// The last are here already, so they are charged always and cannot keep each other waiting; what is
// cached gives way to them. How many there are the caller bounds (fuse/request_reader.h).
// Dirty bytes may take up to half of it, so that reads go on while writers wait. Whoever caches
// registers an evictor that can give bytes back at once; reservations for dirty data and for reads
// evict cached bytes first and are refused (wait and try again on on_room) when that is not enough.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <utility>

#include "common/assert.h"

namespace dfs::client {

class MemoryBudget {
 public:
  enum class Use { kDirty, kCache, kInFlight, kWaiting };

  explicit MemoryBudget(std::uint64_t cap_bytes) : cap_bytes_(cap_bytes) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Frees at least the number of cached bytes asked for, if it has them, by calling release().
  void set_evictor(std::function<void(std::uint64_t bytes)> evictor) {
    evictor_ = std::move(evictor);
  }
  // False: no room now, nothing taken. A request larger than its whole share is granted alone, when
  // nothing else of its use is held, so that no size can wait for ever.
  bool try_reserve(Use use, std::uint64_t bytes);
  // Takes it even over the cap: for a little work that must go on to get rid of much more, and for
  // what cannot be refused.
  void reserve_anyway(Use use, std::uint64_t bytes);
  void release(Use use, std::uint64_t bytes);
  // Registers a waiter for good (once, not for each refusal): all are called, in their order, once
  // each time bytes are released after a refusal. They run inside release(), so they only post the
  // task that tries again.
  void on_room(std::function<void()> waiter) { waiters_.push_back(std::move(waiter)); }

  std::uint64_t used(Use use) const { return used_[static_cast<int>(use)]; }
  std::uint64_t cap_bytes() const { return cap_bytes_; }
  // The most that requests of one use get together.
  std::uint64_t share(Use use) const;

 private:
  void wake();
  void evict_for(std::uint64_t bytes);
  std::uint64_t total() const;

  std::uint64_t cap_bytes_;
  std::uint64_t used_[4] = {0, 0, 0, 0};
  bool refused_ = false;
  bool is_evicting_ = false;
  std::function<void(std::uint64_t)> evictor_;
  std::list<std::function<void()>> waiters_;
};

}  // namespace dfs::client
