// The write leases of this client: while it has one, no other client keeps anything of the file,
// and what is written here may be buffered.
//
// A lease is had from the answer that gives it until it is settled: another client asks (a notice),
// or the last commit of a closed file gives it up. From the beginning of that on writes wait, and
// when all that was written is stored it is over; then a write asks for it anew. While the master
// is not heard nothing is written, but a lease lasts as long as the session. When that is over,
// what was written and is not stored may only be stored if nobody has changed the file since:
// `data_version` tells the master.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/inode_cache.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/master_link.h"

namespace dfs::client {

class WriteLeases {
 public:
  struct Events {
    std::function<bool(InodeId)> is_dirty;
    // The file may be written, at once: it may be wanted elsewhere a moment later.
    std::function<void(InodeId)> taken;
    // What waits may try again. In the middle of other work.
    std::function<void(InodeId)> settled;
    std::function<bool(InodeId)> is_open;
    // It may not: kLeaseLost (what is buffered may not be stored, what waits asks again), or why
    // the file cannot be written at all.
    std::function<void(InodeId, Error)> refused;
  };

  // Takes MasterLink::on_new_session too.
  WriteLeases(World world, MasterLink& master, InodeCache& inodes, Events events);
  WriteLeases(const WriteLeases&) = delete;
  WriteLeases& operator=(const WriteLeases&) = delete;

  bool may_write(InodeId inode) const;
  // Pages of a mapped file are written to without asking, under whatever lease there is. They come
  // when the kernel is to drop them, and must not wait for what waits for that.
  bool may_write_back(InodeId inode) const;
  // Asks for it, if that is not done already; an answer comes by the events.
  void want(InodeId inode);
  // The call that asks for it now, if any.
  CallId asked(InodeId inode) const;
  // An answer of the master bears it.
  void granted(InodeId inode, std::uint64_t epoch);

  // Such a page was taken. Without a write lease others may still have what was there before it.
  void written_back(InodeId inode);
  // Calls `seen`, perhaps inside, when nobody has that any more, for which it asks for a lease.
  void when_seen(InodeId inode, Task seen);

  // It is going to end, though perhaps not by this settling: writes wait.
  void begin_settling(InodeId inode);
  // Meanwhile, the kernel is dropping its pages. Precondition: it is settling.
  void begin_writing_back(InodeId inode);
  void stop_writing_back(InodeId inode);
  // Counts against begin_settling. `is_over`: all is stored, the lease has ended.
  void end_settling(InodeId inode, bool is_over);
  bool is_held(InodeId inode) const;
  // What commits of bytes written now bear. 0: it is not held.
  std::uint64_t epoch(InodeId inode) const;
  std::vector<WrittenFile> held() const;
  // The file is not open any more.
  void closed(InodeId inode);
  // The file is closed and clean: with others like it, the lease is given up in a moment.
  void release_soon(InodeId inode);
  // What is known of inodes is about to be forgotten: notes what versions are written over.
  void note_versions();
  // The master refused to store what was written under it, or the session is over: asks for it, for
  // the same contents.
  void lost(InodeId inode);
  void forget(InodeId inode) { files_.erase(inode); }

 private:
  struct File {
    bool is_held = false;
    std::uint64_t epoch = 0;  // while it is held
    bool is_asking = false;
    CallId asked;
    bool writes_back = false;
    bool is_unseen = false;  // what was written back, by others
    std::vector<Task> when_seen;
    std::uint32_t settlings = 0;
    std::uint64_t noted_version = 0;
    std::uint64_t data_version = 0;  // that lost bytes were written over; 0: there are none
  };

  void ask(InodeId inode);
  void ask_later(InodeId inode, Duration delay);
  void answered(const TakeWriteLeaseRequest& request, Result<TakeWriteLeaseReply> reply,
                MonoTime sent_at);
  void session_replaced();
  void lose(InodeId inode, File& file);
  void release_now();
  void seen(InodeId inode);
  void tidy(InodeId inode);

  World world_;
  MasterLink& master_;
  InodeCache& inodes_;
  Events events_;
  std::map<InodeId, File> files_;
  std::set<InodeId> to_release_;
  Timer release_timer_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
