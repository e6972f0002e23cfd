// Which inodes the kernel is asking about.
//
// An answer that tells attributes or bytes counts for little in the kernel when a notification
// overtook it: the size it tells is ignored, and the caller reads to the old end, or zeros behind
// the new one. So the kernel is told to drop an inode when it is not asking about it, and has had
// time to look at what it was answered and to ask what follows from that; for a moment, since a
// question may be waiting for the very change that is to be made known. At most kInodesMax are
// remembered. Loop thread only.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "common/ids.h"

namespace dfs::fuse {

class InodeRequests {
 public:
  static constexpr std::size_t kInodesMax = 4096;
  static constexpr std::chrono::milliseconds kLookTime{1};

  void begin(InodeId inode) {
    if (inodes_.size() >= kInodesMax) {
      std::erase_if(inodes_, [](const auto& entry) { return entry.second.under_way == 0; });
    }
    ++inodes_[inode].under_way;
  }
  // Precondition: it began.
  void end(InodeId inode, MonoTime now) {
    Requests& requests = inodes_.at(inode);
    --requests.under_way;
    requests.answered_at = now;
  }
  // Something else was answered about the inode.
  void note_answer(InodeId inode, MonoTime now) {
    begin(inode);
    end(inode, now);
  }
  bool is_quiet(InodeId inode, MonoTime now) const {
    const auto place = inodes_.find(inode);
    return place == inodes_.end() ||
           (place->second.under_way == 0 && now - place->second.answered_at >= kLookTime);
  }

 private:
  struct Requests {
    std::uint32_t under_way = 0;
    MonoTime answered_at{};
  };
  std::unordered_map<InodeId, Requests> inodes_;
};

}  // namespace dfs::fuse
