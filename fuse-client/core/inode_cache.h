// What this client knows about inodes: attributes, extents, where chunks are, and which version of
// the contents the kernel's pages show.
//
// Attributes and extents are fresh while this client has a lease on the inode: until it is told of
// a change, or the term ends (lease_term.h). What came without a lease serves who asked for it. An
// answer that was overtaken by a newer one (smaller data version, or sent earlier) is ignored; but
// a smaller data version in answer to a question asked since means that the master lost power and
// with it what it had said, and is believed.
// Extents hold for one data version: they are dropped with the first sign of another, unless
// that is this client's own change directly after the known one. Sizes and extents say what the
// master has; what is still dirty lies over them elsewhere.
//
// What the kernel has forgotten stays, with its lease, as long as there is room: most often it
// comes back, and then costs no question.
//
// Bounded: inodes that are not held in LRU order, extents and chunk locations by number.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <unordered_set>
#include <vector>

#include "common/scheduler.h"
#include "fuse-client/core/lease_term.h"
#include "proto/data_messages.h"

namespace dfs::client {

struct InodeCacheLimits {
  std::size_t inodes_max = 50'000;    // about 300 bytes each
  std::size_t extents_max = 200'000;  // 40 bytes each
  std::size_t locations_max = 20'000;
};

struct InodeCacheEvents {
  // Contents the kernel may have cached of a held inode are not what they were, and it was not this
  // client that changed them.
  std::function<void(InodeId)> changed;
  // Whether the kernel knows the inode and so may have cached some of it.
  std::function<bool(InodeId)> is_in_kernel;
  // Nothing is kept of the inode any more, here or in the kernel, and what others change of it is
  // not heard of: what else was learned under its lease counts no more.
  std::function<void(InodeId)> lease_left;
};

class InodeCache {
 public:
  InodeCache(Scheduler& scheduler, const LeaseTerm& term, InodeCacheLimits limits,
             InodeCacheEvents events)
      : scheduler_(scheduler), term_(term), limits_(limits), events_(std::move(events)) {}
  InodeCache(const InodeCache&) = delete;
  InodeCache& operator=(const InodeCache&) = delete;

  // --- What the master said in answer to a request sent at `sent_at`
  // ------------------------------
  void learn(const Attributes& attributes, const Told& told);
  void learn_entry(const EntryReply& reply, const Told& told);
  // Fails with kBadMessage: the extents cannot be true.
  Status learn_extents(const GetExtentsReply& reply, std::uint64_t offset, const Told& told);
  // An own SetAttributes; `version_before` is the data version it met.
  void learn_change(const Attributes& attributes, std::uint64_t version_before, const Told& told);
  // As an own change left it, in answer to it: questions asked before that answer do not count any
  // more. Extents are known no more if the contents changed.
  void learn_changed(const Attributes& attributes, const Told& told);
  void learn_commit(const FileCommitResult& result, const std::vector<Extent>& extents,
                    const std::vector<ChunkLocation>& locations, bool is_leased);
  // The attributes changed in a way this client does not know; earlier answers do not count.
  void expire(InodeId inode);
  void expire_if_known(InodeId inode);
  // The same because a notice says that the attributes change. Earlier questions count if the
  // answer gives a lease.
  void expire_by_notice(InodeId inode);
  // Extents, too, and where their chunks are: they led nowhere.
  void drop_extents(InodeId inode);
  // The inode is gone.
  void erase(InodeId inode);
  // The same of a directory, but what is known of it stays while programs may have it open, or work
  // in it: see removed_directory.
  void directory_removed(InodeId inode);
  // The master may know less than it said (it restarted): nothing it said counts any more.
  void expire_all();
  // The kernel does not know the inode any more. What is fresh of it stays.
  void forget(InodeId inode);
  // Something was learned under a lease on the inode: it lasts until lease_left.
  void keep_lease(InodeId inode) { leases_.insert(inode); }

  // Everything this client, or the kernel above it, may rely on without asking: more than is known
  // here, where much is evicted.
  const std::unordered_set<InodeId>& leases() const { return leases_; }
  // Contents and attributes are asked for again. The lease is over with end_lease only: what the
  // kernel has may last a little longer, and what is learned until then may be of before the
  // change.
  void begin_ending_lease(InodeId inode);
  void end_lease(InodeId inode);
  void end_all_leases();

  // --- What is known -----------------------------------------------------------------------------
  // Null when unknown; of any age. Good until the next call that is not const.
  const Attributes* attributes(InodeId inode) const;
  // What is known has been taken back, and was no newer than this answer, whether that is kept or
  // not.
  bool is_outdated_by(const Attributes& answered) const;
  bool is_fresh(InodeId inode) const;  // attributes, and the extents as far as they are known
  // Whether size and data version are of `since` or later.
  bool is_data_as_of(InodeId inode, MonoTime since) const;
  // What is left of a directory in use that the master has freed: nobody has changed it since.
  std::optional<Attributes> removed_directory(InodeId inode) const;
  // The extents within [begin, end), clipped to it; nothing when some of them are unknown.
  std::optional<std::vector<Extent>> extents(InodeId inode, std::uint64_t begin,
                                             std::uint64_t end) const;
  // Where the first unknown window of [begin, end) begins, or `end`.
  std::uint64_t known_until(InodeId inode, std::uint64_t begin, std::uint64_t end) const;
  const ChunkLocation* location(ChunkId chunk) const;

  // --- Open inodes -------------------------------------------------------------------------------
  void hold(InodeId inode);  // counted; held inodes are not evicted
  void release(InodeId inode);
  bool is_held(InodeId inode) const;
  // Precondition: attributes are known. Whether pages cached by the kernel are of this version;
  // from here on it may cache them.
  bool pages_are_current(InodeId inode);

  std::size_t inode_count() const { return entries_.size(); }
  std::size_t extent_count() const { return extent_count_; }

 private:
  struct Entry {
    Attributes attributes;
    bool is_known = false;     // attributes were learned
    bool is_complete = false;  // windows not listed have no extents
    std::uint32_t hold_count = 0;
    std::uint64_t pages_version = 0;  // data version of the kernel's pages; 0: unknown
    bool are_pages_dropped = false;   // as a notice wants it: it has none of that version any more
    bool is_leased = false;
    MonoTime fetched_at = MonoTime::min();
    MonoTime received_at = MonoTime::min();
    MonoTime data_at = MonoTime::min();
    MonoTime valid_from = MonoTime::min();  // answers to earlier requests do not count
    MonoTime noticed_at = MonoTime::min();  // nor do those, without a lease
    std::map<std::uint64_t, ExtentList> windows;
    std::list<InodeId>::iterator lru;  // in idle_, when not held
  };
  using Entries = std::map<InodeId, Entry>;

  Entry& touch(InodeId inode);
  const Entry* find(InodeId inode) const;
  bool is_overtaken(const Entry& entry, const Attributes& attributes, const Told& told) const;
  MonoTime latest_question(const Entry& entry) const;  // whose answer counts
  void make_old(Entry& entry);
  static void note_dropped_pages(Entry& entry);
  void note_told(Entry& entry, InodeId inode, const Told& told);
  void take(Entry& entry, const Attributes& attributes, const Told& told);
  void take_own(Entry& entry, const Attributes& attributes, const Told& told);
  void pages_changed(Entry& entry, InodeId inode);
  void clear_windows(Entry& entry);
  void insert(Entry& entry, const Extent& extent);
  bool set_windows(Entry& entry, const std::vector<Extent>& extents, std::uint64_t begin,
                   std::uint64_t end);
  void cut_windows(Entry& entry, std::uint64_t size_bytes);
  void learn_locations(const std::vector<ChunkLocation>& locations);
  void evict(InodeId keep);
  void remove(Entries::iterator entry);
  void leave_lease(InodeId inode);

  Scheduler& scheduler_;
  const LeaseTerm& term_;
  InodeCacheLimits limits_;
  std::unordered_set<InodeId> leases_;
  InodeCacheEvents events_;
  Entries entries_;
  MonoTime all_valid_from_ = MonoTime::min();  // as valid_from, for entries that are gone too
  std::list<InodeId> idle_;                    // not held, the longest unused first
  std::size_t extent_count_ = 0;

  struct Location {
    ChunkLocation where;
    std::list<ChunkId>::iterator age;
  };
  std::map<ChunkId, Location> locations_;
  std::list<ChunkId> location_ages_;  // oldest first
};

}  // namespace dfs::client
