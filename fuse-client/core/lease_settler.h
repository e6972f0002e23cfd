// Gives back what notices take: has it dropped, here and by the kernel above, and what was written
// stored, before the master is told so.
//
// A file goes through this once for all the notices that ask for it meanwhile:
// - while the kernel drops its pages it sends those that programs have written to through mmap.
//   They are taken under the lease that is about to end (WriteLeases::begin_writing_back).
// - Then it has none, and gets none: reads wait. What was written is stored.
// - When all files of a notice are so far, and the caches above know what they were told of these
//   meanwhile (ClientEvents::others_go_on), the master is told. A file whose notices have all been
//   told is given back: reads and writes of it go on, and ask for leases.
// So nothing is written to a page that was read before the lease ended and is stored after it.
//
// While this client truncates the file, until that is answered, the kernel keeps such pages to
// itself, and what lies behind the new end here is not stored. If another client truncates it, too,
// each would wait for the other: so the master is told when a file is not given back for a while
// (kHeldUpTime), and lets one of them go first.
//
// What else the kernel sends, because it was not waited for any longer, waits like any write and is
// written under a new lease. So the end comes, however long programs go on writing.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <vector>

#include "common/scheduler.h"
#include "fuse-client/core/client.h"
#include "fuse-client/core/inode_cache.h"
#include "fuse-client/core/lease_link.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/name_cache.h"
#include "fuse-client/core/own_changes.h"
#include "fuse-client/core/write_back.h"
#include "fuse-client/core/write_leases.h"

namespace dfs::client {

inline constexpr std::chrono::milliseconds kHeldUpTime{50};

class LeaseSettler {
 public:
  LeaseSettler(Scheduler& scheduler, const ClientEvents& events, InodeCache& inodes,
               NameCache& names, OwnChanges& own_changes, WriteLeases& leases,
               WriteBack& write_back)
      : scheduler_(scheduler),
        events_(events),
        inodes_(inodes),
        names_(names),
        own_changes_(own_changes),
        leases_(leases),
        write_back_(write_back) {}
  LeaseSettler(const LeaseSettler&) = delete;
  LeaseSettler& operator=(const LeaseSettler&) = delete;

  // As LeaseEvents::drop and ::doubt.
  void give_back(const std::vector<LeaseChange>& changes, NoticeOutcome outcome);
  std::vector<LeaseChange> doubt(std::vector<LeaseChange> changes);

  // The kernel has dropped its pages, and is to read none before the file is given back.
  bool holds_reads(InodeId inode) const;
  // Precondition: holds_reads. Called when it does not any more.
  void when_given_back(InodeId inode, Task given_back);

 private:
  struct Notice {
    explicit Notice(Scheduler& scheduler) : held_up(scheduler) {}
    std::vector<InodeId> files;
    std::vector<InodeId> changed;  // those of them that it takes whole
    bool is_dropped = false;       // what else it takes
    bool is_ending = false;
    Timer held_up;
    NoticeOutcome outcome;
  };
  using Notices = std::list<Notice>;
  struct File {
    std::uint32_t notices = 0;    // that wait for it
    std::uint32_t drops = 0;      // of its pages, under way
    bool takes_contents = false;  // and not only what was written
    bool is_storing = false;
    std::vector<Task> reads;
  };

  void take(const LeaseChange& change, Notice& notice);
  void begin_dropping(InodeId inode);
  void pages_dropped(InodeId inode);
  void drop_kept(const std::vector<LeaseChange>& changes, std::function<void()> dropped);
  void add_named(std::vector<LeaseChange>& changes) const;
  void advance(InodeId inode);
  bool is_ready(InodeId inode) const;
  void end_notices();
  void end_notice(Notices::iterator notice);
  void end(InodeId inode);

  Scheduler& scheduler_;
  const ClientEvents& events_;
  InodeCache& inodes_;
  NameCache& names_;
  OwnChanges& own_changes_;
  WriteLeases& leases_;
  WriteBack& write_back_;
  Notices notices_;                // under way
  std::map<InodeId, File> files_;  // of these
  Lifetime lifetime_;
};

}  // namespace dfs::client
