// Has the kernel know how long the files are that other clients make longer.
//
// The kernel ignores the size in an answer when a write of its own has ended since it asked, and
// then keeps the old one. Where it believes a file to end, programs get SIGBUS from what they have
// mapped, and what they write there is not sent. So before it is told a size that it may not
// believe, it is notified of it, which it never ignores. Such a notification only lengthens; so
// none may arrive behind a cut of the file, whoever makes it, and when that is announced or
// answered, those under way are waited for.
//
// The notification counts as soon as it is in the kernel, but may stay there for as long as a page
// is locked: for a read or a write that is answered later, perhaps when the very thing has happened
// that waits here. So nobody waits for one that has begun much longer than kTellStep, nor longer
// than kTellWait for others: these are then given up.
//
// What is kept is of files that the kernel knows and others have changed. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/scheduler.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/fuse/size_notification.h"

namespace dfs::fuse {

inline constexpr std::chrono::milliseconds kTellStep{2};
inline constexpr std::chrono::milliseconds kTellWait{200};

class FileSizes {
 public:
  // At once of a file: what is blocked keeps a thread of the notifier.
  static constexpr std::size_t kNotificationsMax = 2;

  // Notifies the kernel that the file is so long at least; `done` is called later, whatever came of
  // it.
  using Notify = std::function<void(InodeId, std::uint64_t size_bytes,
                                    std::shared_ptr<SizeNotification> notification, Task done)>;

  FileSizes(Scheduler& scheduler, Notify notify)
      : scheduler_(scheduler), notify_(std::move(notify)) {}
  FileSizes(const FileSizes&) = delete;
  FileSizes& operator=(const FileSizes&) = delete;

  // Other clients are about to change the file, or may do so from now on. What was asked about it
  // before may be true no more.
  void changes(InodeId file);
  // The same of this client, when it is to set the size. The kernel knows of that.
  void cuts(InodeId file);
  // Another number after each of these, as long as is_unknown.
  std::uint64_t version(InodeId file) const;
  // The kernel may believe the file to be shorter than it is.
  bool is_unknown(InodeId file) const;

  // The file is so long until `changes` or `cuts`; `is_kept`: and surely changes no more without
  // these. Runs `told`, perhaps inside, when the kernel knows that; soon in any case.
  void tell(InodeId file, std::uint64_t size_bytes, bool is_kept, Task told);
  // Runs `task`, perhaps inside, when the kernel will hear of no size that was told before, of none
  // of the files.
  void when_told(std::vector<InodeId> files, Task task);
  // This client has set the size as `cuts` said: runs `reply`, perhaps inside, when that can be
  // answered.
  void when_cut(InodeId file, const Task& reply);
  void forget(InodeId file);

 private:
  struct Telling {
    std::uint64_t size_bytes = 0;
    std::uint64_t version = 0;
    bool is_kept = false;
    std::shared_ptr<SizeNotification> notification;
  };
  struct File {
    std::uint64_t version = 0;
    bool is_unknown = false;
    std::map<std::uint64_t, Telling> under_way;
  };
  struct Waiting {
    std::vector<InodeId> files;
    MonoTime limit;
    Task task;
  };

  void begin(InodeId id, File& file, std::uint64_t size_bytes, bool is_kept);
  void ended(InodeId id, std::uint64_t number);
  bool is_told(const std::vector<InodeId>& files) const;
  bool all_of_under_way(const std::vector<InodeId>& files,
                        const std::function<bool(const SizeNotification&)>& condition) const;
  void give_up(InodeId id);
  void look_again(std::uint64_t number);
  void run(std::uint64_t number);
  void tidy(InodeId id);

  Scheduler& scheduler_;
  Notify notify_;
  std::map<InodeId, File> files_;
  std::map<std::uint64_t, Waiting> waiting_;
  std::uint64_t next_version_ = 1;
  std::uint64_t next_number_ = 1;
  client::Lifetime lifetime_;
};

}  // namespace dfs::fuse
