// Which inodes the kernel is asking about.
//
// An answer that tells attributes or bytes counts for little in the kernel when a notification
// overtook it: the size it tells is ignored, and the caller reads to the old end, or zeros behind
// the new one. So the kernel is told to drop an inode when it is not asking about it, and has had
// time to look at what it was answered and to ask what follows from that; for a moment, since a
// question may be waiting for the very change that is to be made known. At most kInodesMax are
// remembered. What it asks for by a name is asked about the inode, too, once that is known. Loop
// thread only.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/assert.h"
#include "common/ids.h"
#include "common/scheduler.h"

namespace dfs::fuse {

// Until the kernel has surely looked at an answer that it was given.
inline constexpr std::chrono::milliseconds kAnswerTime{20};

class InodeRequests {
 public:
  static constexpr std::size_t kInodesMax = 4096;
  static constexpr std::chrono::milliseconds kLookTime{1};

  void begin(InodeId inode, MonoTime now) {
    if (inodes_.size() >= kInodesMax) {
      forget_answers(now);
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
    begin(inode, now);
    end(inode, now);
  }
  // Whether the kernel was told of it, and may not have looked at that.
  bool was_just_answered(InodeId inode, MonoTime now) const {
    const auto place = inodes_.find(inode);
    return now - forgotten_at_ < kAnswerTime ||
           (place != inodes_.end() && now - place->second.answered_at < kAnswerTime);
  }
  // A call is under way that tells what the name stands for.
  void begin_name(InodeId directory, const std::string& name) { names_.emplace(directory, name); }
  // Precondition: it began.
  void end_name(InodeId directory, const std::string& name) {
    const auto place = names_.find({directory, name});
    DFS_ASSERT(place != names_.end());
    names_.erase(place);
  }
  bool is_asked_by_name(InodeId directory, const std::string& name) const {
    return names_.contains({directory, name});
  }
  bool is_asking_by_names() const { return !names_.empty(); }
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
  void forget_answers(MonoTime now) {
    const auto forget = [&](Duration age) {
      std::erase_if(inodes_, [now, age](const auto& entry) {
        return entry.second.under_way == 0 && now - entry.second.answered_at >= age;
      });
    };
    forget(kAnswerTime);
    if (inodes_.size() >= kInodesMax) {
      forget(Duration::zero());
      forgotten_at_ = now;
    }
  }

  std::unordered_map<InodeId, Requests> inodes_;
  MonoTime forgotten_at_{};  // answers that count
  std::multiset<std::pair<InodeId, std::string>> names_;
};

}  // namespace dfs::fuse
