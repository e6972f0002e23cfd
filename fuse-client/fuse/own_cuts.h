// What the kernel may not know yet of the files that it has just had truncated.
//
// While a truncation is under way the kernel goes by the size from before it, and believes no other
// until it has looked at the answer. But the master has cut the file by then, and questions may be
// answered accordingly: a read that ends at the new end the kernel fills with zeros up to the old
// one, and whoever was told the new size by stat(2) then reads behind it. So an answer that tells
// where the file ends, while that may be news, is not given: the question is asked anew when the
// thread that truncated has sent something else, which it does when the kernel has looked at the
// answer, or after kLookTime. (Answers to names need not wait: the attributes in them the kernel
// believes, or shows to nobody.)
//
// The same befalls who is told by stat(2) that a write has made the file longer, and then reads to
// the old end. So that not every write of every file is noted, which would hold up whoever looks at
// what others write, these count only for kCutTime after a truncation.
//
// No truncation waits in this client for an answer that is held (file_sizes.h gives up what waits
// for a locked page); but the kernel keeps its caller, when it is answered, until all that is being
// read of the file has been, so for kLookTime. One that is not answered is waited for only where
// the answer tells the very size that it sets, which means that it has been made and its answer is
// on the way; and as a file can have that size anyway, no longer than kCutWait, since the page that
// is being read may be what other clients wait for, and the truncation for them. A question is
// asked anew kRestartsMax times at most, and then answered as it is: where truncations follow each
// other without end it takes so much longer and no more.
//
// Bounded: of truncations that do not fit nothing is known. Loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/ids.h"
#include "common/scheduler.h"
#include "fuse-client/core/lifetime.h"

namespace dfs::fuse {

// Where the file ends, as far as an answer tells.
struct FileEnd {
  std::uint64_t at_least = 0;
  std::uint64_t at_most = 0;
  bool is_of_read = false;  // which got less than it asked for
};
inline FileEnd end_at(std::uint64_t size_bytes) { return {size_bytes, size_bytes}; }
inline FileEnd end_of_read(std::uint64_t offset, std::uint64_t read_bytes) {
  return {read_bytes == 0 ? 0 : offset + read_bytes, offset + read_bytes, true};
}

class OwnCuts {
 public:
  static constexpr std::size_t kCutsMax = 1024;
  // Until the kernel has surely looked at the answer to a truncation.
  static constexpr std::chrono::milliseconds kLookTime{2};
  static constexpr std::chrono::milliseconds kCutWait{10};
  // So long after it was cut the last time, writes to a file count.
  static constexpr std::chrono::seconds kCutTime{1};
  // For who asks anew.
  static constexpr int kRestartsMax = 3;

  explicit OwnCuts(Scheduler& scheduler) : scheduler_(scheduler) {}
  OwnCuts(const OwnCuts&) = delete;
  OwnCuts& operator=(const OwnCuts&) = delete;

  // A thread wants the file to have this size; until `answered` with what this returns.
  std::uint64_t begin(InodeId file, std::uint64_t size_bytes, pid_t caller);
  // It is about to be told what came of it.
  void answered(InodeId file, std::uint64_t cut);

  // The same of a write that ends there; or answers 0, which need not be `answered`.
  std::uint64_t begin_write(InodeId file, std::uint64_t end, pid_t caller);

  // The thread has sent a request, so it has looked at what it was answered before. (0 is any that
  // cannot be seen from here.)
  void asks(pid_t caller);

  // Somebody is about to be told where the file ends. True: not now; `again` is called, later.
  bool holds(InodeId file, FileEnd end, const Task& again);

  std::size_t cuts() const { return cuts_.size(); }

 private:
  struct Cut {
    std::uint64_t size_bytes = 0;
    pid_t caller = 0;
    bool is_write = false;
    std::optional<MonoTime> answered_at = {};
    std::vector<Task> held = {};
    std::uint64_t number = 0;
  };
  using Cuts = std::multimap<InodeId, Cut>;

  std::uint64_t add(InodeId file, Cut cut);
  void note_cut(InodeId file);
  Cuts::iterator find(InodeId file, std::uint64_t number);
  void looked_at(Cuts::iterator cut);

  Scheduler& scheduler_;
  Cuts cuts_;
  std::map<InodeId, MonoTime> cut_at_;  // the last time
  std::uint64_t next_number_ = 1;
  client::Lifetime lifetime_;
};

}  // namespace dfs::fuse
