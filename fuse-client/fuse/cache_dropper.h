// Has the kernel drop what other clients are about to change, and says when it has.
//
// Some things make that more than a call:
// - An answer that the kernel has, but has not looked at, may be kept after it was dropped: what
// was
//   answered just before, and not contended (contention.h), is dropped again a moment later, and
//   given for no time until it has been left alone for a while. (Nothing else is dropped again: who
//   asks meanwhile would ignore the answer.)
// - While pages of an open file are dropped, others of it may be read anew and be old again. So
// reads
//   that begin meanwhile count, and the file is gone through once more, with new reads held back.
//   (Each for a moment only: the kernel locks the pages of a read that is held back, and waits for
//   them. So all that have come are let through at times.)
// - To expire a name the kernel takes the lock of its directory, which every change of names in it
//   holds until it is answered, perhaps after the very change that is waited for here. When that
//   takes longer than kNameWait, the name is left to expire by itself, and until it has, the inodes
//   it may have stood for are stale to whoever comes by a path: the kernel then walks it again,
//   asking.
// - Who may change attributes, or remove a name from a sticky directory, the kernel decides by the
//   owner that it was last told of, and asks for no other, though the attributes were dropped. So
//   all names of what changes expire as well: to use one it then asks, and is told.
// - The kernel keeps the last page of a write locked until that is answered, if it is not whole and
//   was not there before. A write can wait for a lease, and that for this client to have dropped
//   the file: so what writes under way touch is dropped apart, and if that takes longer than
//   kWriteWait it is such a page, in which nobody reads before the write is answered.
// - A lock can be held for as long as a server is silent: nobody is waited for longer than
//   kDropWait. But of a mapped file the kernel sends what programs have written to, page by page,
//   before it drops that: while such pages come, or wait to be taken or for the end of a
//   truncation, it is waited for, up to kWriteBackWait.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/scheduler.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/fuse/contention.h"
#include "fuse-client/fuse/inode_requests.h"
#include "fuse-client/fuse/kernel_names.h"
#include "fuse-client/fuse/kernel_notifier.h"
#include "proto/lease_messages.h"

namespace dfs::fuse {

inline constexpr std::chrono::milliseconds kNameWait{20};
inline constexpr std::chrono::milliseconds kHoldReads{20};
inline constexpr std::chrono::milliseconds kWriteWait{5};
inline constexpr std::chrono::milliseconds kDropWait{1000};
inline constexpr std::chrono::seconds kWriteBackWait{10};

class CacheDropper {
 public:
  struct Hooks {
    std::function<std::uint64_t(InodeId)> to_kernel;
    std::function<bool(InodeId)> is_known;  // to the kernel
    std::function<bool(InodeId)> is_open;
    std::function<bool(InodeId)> is_quiet;                  // the kernel is not asking about it
    std::function<bool(InodeId)> was_just_answered;         // and it may not know that yet
    std::function<std::vector<KernelName>(InodeId)> names;  // by which it may come to it
  };
  CacheDropper(Scheduler& scheduler, KernelNotifier& notifier, Hooks hooks)
      : scheduler_(scheduler), notifier_(notifier), hooks_(std::move(hooks)) {}
  CacheDropper(const CacheDropper&) = delete;
  CacheDropper& operator=(const CacheDropper&) = delete;

  // `dropped` is called once, never inside.
  void drop(const std::vector<LeaseChange>& changes, std::function<void()> dropped);

  // A rename is about to be answered: the kernel then moves what it believes the name to stand for
  // to the new one. If that is out of date, which it could not be told while the rename had the
  // directory's lock, the new name expires as well.
  void renamed(const KernelName& from, const KernelName& to);

  // A read of the file begins. True: not now; `again` will be called.
  bool holds_read(InodeId file, std::uint64_t offset, std::uint64_t size_bytes, Task again);
  // A write of the file begins, by a program; until write_ends with what this answers. That calls
  // `ended`, perhaps inside, when the kernel has no page that was read before it.
  std::uint64_t write_begins(InodeId file, std::uint64_t offset, std::uint64_t size_bytes);
  void write_ends(InodeId file, std::uint64_t write, Task ended);
  // Pages that a program has written to through mmap come, and have been taken; or the kernel holds
  // them back until a truncation is answered.
  void write_back_begins(InodeId file);
  void write_back_ends(InodeId file);
  // Pages of the file that hold something else than they should, as far as they are not locked.
  void drop_range(InodeId file, std::uint64_t offset, std::uint64_t size_bytes, Task dropped);
  // Another client asks for what is written to the file here, or may know it, too: it is about to
  // have it open.
  void note_asked_for(InodeId file) { asked_for_.changes(file, scheduler_.now()); }
  bool is_contended(InodeId inode) const {
    const MonoTime now = scheduler_.now();
    return contention_.is_contended(inode, now) || asked_for_.is_contended(inode, now);
  }
  // Whoever names the inode may have come by a name that stands for it no more.
  bool is_suspect(InodeId inode) const { return suspects_.contains(inode); }
  // Whether the kernel may keep attributes, or a name, that it is about to be given.
  bool may_keep_attributes(InodeId inode) const;
  bool may_keep_name(InodeId directory, const std::string& name);

 private:
  struct File {
    bool has_reads = false;  // since the pass began
    bool is_holding = false;
    std::uint32_t passes = 0;
    MonoTime written_back_at = MonoTime::min();
    std::uint64_t pass = 0;  // the number of the one under way
    std::vector<Task> held;
    std::vector<Task> done;
  };

  struct Write {
    std::uint64_t begin = 0;  // whole pages
    std::uint64_t end = 0;
    bool is_dropping = false;  // the kernel was told, and may be waiting for the write
    bool was_read = false;     // meanwhile: its pages had been dropped, and are old again
  };
  using Writes = std::map<std::uint64_t, Write>;

  // Ends when all have said so that share it.
  struct Wait {
    std::size_t left = 1;
    Task done;
  };
  struct Expiring {
    bool leads_astray = false;           // the name may stand for something else now
    std::vector<InodeId> suspects = {};  // what it may have stood for
    bool twice = false;                  // once more, a moment later
    std::vector<std::shared_ptr<Wait>> waits = {};
  };
  using ExpiringNames = std::multimap<std::pair<InodeId, std::string>, Expiring>;

  std::vector<InodeId> note_suspects(const std::vector<LeaseChange>& changes);
  void drop_inode(const LeaseChange& change, bool twice, const Task& done);
  // By which the kernel may come to what changes. `one_more` answers what to call for each.
  void expire_names_of(InodeId inode, const std::vector<LeaseChange>& changes, bool twice,
                       const std::function<Task()>& one_more);
  // Runs the task, perhaps inside, when the kernel is not asking about the inode, or that lasts.
  void when_quiet(InodeId inode, Duration left, const Task& task);
  void drop_file(InodeId file, Task done);
  void drop_pages(InodeId id, const Task& done);
  void drop_written(InodeId id, std::uint64_t number, Write& write, const Task& done);
  bool is_written_back(InodeId file, Duration time) const;  // now, or so long ago at most
  // `done` when nothing of the file was written back for `wait`, or at `limit`.
  void at_end_of_wait(InodeId file, Duration wait, MonoTime limit, const Task& done);
  void begin_pass(InodeId id, File& file);
  void pass_done(InodeId id, std::uint64_t pass);
  static std::vector<Task> stop_holding(File& file);
  void hold_reads(File& file, InodeId id);
  void release_reads(InodeId id, std::uint64_t pass);
  void expire_name(InodeId directory, const std::string& name, Expiring expiring);
  void expired(ExpiringNames::iterator place);
  std::shared_ptr<Wait> name_wait(const Task& done);
  void expire_again(InodeId directory, const std::string& name);
  Task once(Task done);
  // `done` once: when called the first time, or after `limit`.
  Task at_latest(Duration limit, Task done);

  Scheduler& scheduler_;
  KernelNotifier& notifier_;
  Hooks hooks_;
  std::map<InodeId, File> files_;
  std::map<InodeId, Writes> writes_;                 // under way
  std::map<InodeId, std::uint32_t> writes_of_maps_;  // the same, of pages written back
  std::uint64_t next_write_ = 1;
  std::uint64_t next_pass_ = 1;
  std::map<InodeId, std::uint32_t> suspects_;  // for how many names
  // Names that the kernel has yet to expire.
  ExpiringNames expiring_;
  Contention contention_;
  Contention asked_for_;  // of what the kernel keeps nothing need be dropped for that
  client::Lifetime lifetime_;
};

}  // namespace dfs::fuse
