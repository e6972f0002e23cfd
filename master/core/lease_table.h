// Which sessions may keep what in their caches, and the notices that take it away.
//
// One lease is a session's right to keep what it was told of an inode: attributes, extents and
// bytes, and of a directory the meaning of its names. It is given with the reply that tells
// (grant), to any number of sessions, and lasts until the session is over, or has acknowledged all
// notices that contents change: until then it may store pages that were written to while it was
// told (may_store), and every such change waits for that. A notice that only attributes or some
// names change leaves the lease: what else the session keeps is still true.
//
// A write lease is the only lease on its file: its session may have written what the master does
// not know yet. Whoever asks about the file waits until that is stored (a notice `settle`), and
// taking one is announced to all others like a change of contents.
//
// A change first announces itself to all other holders, then waits for their acknowledgements, then
// is applied. While it waits nothing that it concerns is granted, except write leases to those who
// have heard of it. Two that truncate a file may each be kept from acknowledging by their own
// truncation (is_held_up): one is then made first (pass), and that goes on until the other has
// acknowledged. In memory only: after a start the sessions say what they hold (reclaim).
// Bounded: above leases_max the oldest leases on files of the session that has most are recalled,
// and what does not fit is not granted. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/scheduler.h"
#include "proto/attributes.h"
#include "proto/lease_messages.h"

namespace dfs::master {

class LeaseTable {
 public:
  struct Awaited {
    SessionId session;
    std::uint64_t number = 0;  // of the notice it has to acknowledge
  };
  // Which leases (by serial) have been sent a notice; also by name: one that came to stand for
  // something while the change waited is told of, too.
  using Noticed = std::map<std::tuple<SessionId, InodeId, std::string>, std::uint64_t>;

  // Notices, and epochs, are numbered from `first_number` + 1, which no other start of the master
  // shares.
  LeaseTable(Scheduler& scheduler, std::uint64_t first_number, std::size_t leases_max)
      : scheduler_(scheduler),
        first_number_(first_number),
        leases_max_(leases_max),
        next_epoch_(first_number + 1) {}

  // --- For operations ----------------------------------------------------------------------------
  // False: what the reply says of the inode is not to be kept.
  bool grant(SessionId session, const Attributes& attributes);
  // Another session may have written what the master does not know.
  bool is_written_by_other(SessionId session, InodeId inode) const;
  SessionId writer(InodeId inode) const;  // who has its write lease; 0: nobody
  // Of its write lease; 0: it has none.
  std::uint64_t write_epoch(SessionId session, InodeId inode) const;
  // That is the epoch of its write lease. Or it is none (0), but the session has a lease, and was
  // sent a notice that contents change, which it has yet to acknowledge: that change, and any
  // other, waits for it.
  bool may_store(SessionId session, InodeId inode, std::uint64_t epoch) const;
  // Returns the epoch. Precondition: is_held_by_others() is false, and so is has_yet_to_drop().
  std::uint64_t begin_writing(SessionId session, InodeId inode);
  // The lease becomes one that others can have, too.
  void end_writing(SessionId session, InodeId inode);
  bool is_held_by_others(SessionId session, InodeId inode) const;
  // The newest notice of the session: what a reply made now bears.
  std::uint64_t number(SessionId session) const;
  // The inode is gone for good.
  void erase(InodeId inode);

  // --- For changes -------------------------------------------------------------------------------
  bool is_anything_held_by_others(SessionId session) const;
  // Sends notices to whom else holds what changes, unless that is in `noticed` already. Whom to
  // wait for is added to `awaited`. Of what is only to settle, the one who writes it hears.
  void announce(SessionId by, const std::vector<LeaseChange>& changes, Noticed& noticed,
                std::vector<Awaited>& awaited);
  // The session is over, or has dropped it.
  bool is_acknowledged(const Awaited& awaited) const;
  // It may be acknowledged only when a change of that session has been answered.
  bool is_held_up(const Awaited& awaited) const;
  // The change of the inode is made before that. Until it is acknowledged nothing of the inode is
  // granted, as if the change waited.
  void pass(const Awaited& awaited, InodeId inode);
  // Between these two nothing is granted of what changes.
  void begin_waiting(const std::vector<LeaseChange>& changes);
  void end_waiting(const std::vector<LeaseChange>& changes);
  bool is_changing(InodeId inode) const { return changing_.contains(inode); }
  // The session was told of a change of the inode and has not acknowledged that.
  bool has_yet_to_drop(SessionId session, InodeId inode) const;
  // Adds that to `awaited`, if so.
  void await_dropping(SessionId session, InodeId inode, std::vector<Awaited>& awaited) const;

  // --- For sessions ------------------------------------------------------------------------------
  // Notices after `received`, as many as fit a message.
  std::vector<LeaseNotice> notices(SessionId session, std::uint64_t received) const;
  void acknowledge(SessionId session, const WaitForNoticesRequest& handled);
  // After a start: the session has yet to say what it keeps, in pages.
  void expect_reclaim(SessionId session);
  // What notices of this master begin after, for every session. Not number(): a page that is told
  // again, because its answer was lost, must not pass over notices that were made meanwhile.
  std::uint64_t first_number() const { return first_number_; }
  // A page of that; ignored when all were there already. Fails with kInvalidArgument.
  Status reclaim(SessionId session, const ReclaimLeasesRequest& page);
  // The session is silent for so long that it keeps nothing any more.
  void stop_expecting_reclaim(SessionId session) { reclaiming_.erase(session); }
  bool have_all_reclaimed() const { return reclaiming_.empty(); }
  void forget(SessionId session);
  // Sessions that have notices they were not sent since the last call.
  std::set<SessionId> take_unsent() { return std::exchange(unsent_, {}); }

  std::size_t count() const { return count_; }
  std::size_t written_count() const { return writers_.size(); }
  std::size_t leases_max() const { return leases_max_; }
  std::size_t unhandled_count() const;  // notices not acknowledged yet
  Duration oldest_unhandled() const;    // since the first of them was made; zero: there is none
  std::uint64_t recalled_count() const { return recalled_; }  // so far, to keep to leases_max
  std::vector<SessionId> reclaiming() const;                  // sessions that have yet to reclaim

 private:
  struct Holder {
    SessionId session;
    std::uint64_t serial = 0;  // of the lease: one given anew has another
  };
  using Holders = std::vector<Holder>;
  struct Writer {
    SessionId session;
    std::uint64_t epoch = 0;
  };
  struct Notice {
    std::vector<LeaseChange> changes;
    MonoTime made{};
    bool is_held_up = false;
    std::set<InodeId> passed;  // changed before it was acknowledged
  };
  struct Session {
    std::uint64_t newest = 0;
    std::map<std::uint64_t, Notice> unhandled;  // by number
    std::size_t count = 0;
    std::deque<InodeId> files;  // granted, oldest first; may not be held any more
  };

  Session& session_of(SessionId session);
  const Holder* find(SessionId session, InodeId inode) const;
  // The newest notice that takes its contents and is not acknowledged. 0: there is none.
  std::uint64_t newest_taking(SessionId session, InodeId inode) const;
  bool hold(SessionId id, Session& session, InodeId inode);
  void hold_anyway(SessionId id, Session& session, InodeId inode);
  void release(SessionId id, Session& session, InodeId inode);
  void handled(SessionId id, Session& session, const Notice& notice);
  void end_changing(InodeId inode);
  std::uint64_t notify(SessionId id, Session& session, std::vector<LeaseChange> changes);
  void recall_some();

  Scheduler& scheduler_;
  const std::uint64_t first_number_;
  const std::size_t leases_max_;
  std::map<SessionId, Session> sessions_;
  std::unordered_map<InodeId, Holders> holders_;
  std::unordered_map<InodeId, Writer> writers_;          // of these, the only holder
  std::unordered_map<InodeId, std::uint32_t> changing_;  // by how many changes that wait
  std::set<SessionId> unsent_;
  std::map<SessionId, std::set<std::uint32_t>> reclaiming_;  // and the pages that came
  std::size_t count_ = 0;                                    // of leases
  std::uint64_t next_serial_ = 1;
  std::uint64_t next_epoch_;
  std::uint64_t recalled_ = 0;
};

}  // namespace dfs::master
