// What names stand for in directories this client has a lease on; and which names are not there, of
// directories it knows whole: that it made itself, or has listed from the first to the last entry.
//
// Answers to questions asked before the newest change of a directory do not count. Who asks checks
// that the lease still holds. Bounded: the directories that were longest not asked for are
// forgotten whole when there are more than kNamesMax names.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/scheduler.h"
#include "fuse-client/core/lease_term.h"
#include "proto/namespace_messages.h"

namespace dfs::client {

inline constexpr std::size_t kNamesMax = 300'000;  // about 100 bytes each
// Own changes whose answers are remembered, at least half of it; what was under way for longer
// counts as overtaken.
inline constexpr std::size_t kAnsweredChangesMax = 1024;

class NameCache {
 public:
  explicit NameCache(Scheduler& scheduler, std::size_t names_max = kNamesMax)
      : scheduler_(scheduler), names_max_(names_max) {}

  enum class Answer { kUnknown, kAbsent, kPresent };
  // And what it stands for.
  std::pair<Answer, InodeId> find(InodeId directory, const std::string& name);

  void learn(InodeId directory, const std::string& name, InodeId inode, const Told& told);
  // A page of a listing; `cookie` as it was asked for.
  void learn_page(InodeId directory, std::uint64_t cookie, const ReadDirectoryReply& page,
                  const Told& told);
  // This client made the directory: there is nothing in it.
  void learn_new_directory(InodeId directory);
  // An own change was answered: it made the name stand for `inode`, or for nothing (0). That is
  // known then, unless another own change of the name was answered while this was under way: which
  // of the two was made first is not known.
  void changed(InodeId directory, const std::string& name, InodeId inode, const Told& told);
  // Another client changes what the name stands for.
  void forget_name(InodeId directory, const std::string& name);
  void forget(InodeId directory);
  void clear();

  std::size_t name_count() const { return name_count_; }

 private:
  struct Directory {
    std::unordered_map<std::string, InodeId> names;
    bool is_whole = false;
    MonoTime valid_from = MonoTime::min();
    // Of a listing under way: what it must go on with, and that nothing was forgotten since.
    std::optional<std::uint64_t> next_cookie;
    std::list<InodeId>::iterator age;
  };

  Directory& touch(InodeId directory);
  bool is_overtaken(InodeId directory, const std::string& name, MonoTime sent_at);
  void put(Directory& directory, const std::string& name, InodeId inode);
  void evict(InodeId keep);

  Scheduler& scheduler_;
  std::size_t names_max_;
  std::unordered_map<InodeId, Directory> directories_;
  std::list<InodeId> ages_;  // the longest unused first
  std::size_t name_count_ = 0;
  MonoTime all_valid_from_ = MonoTime::min();

  // When the last own change of each name was answered, in two generations: the older is forgotten
  // when the newer is full, so that what was answered just now is never among what is forgotten.
  using Answers = std::map<std::pair<InodeId, std::string>, MonoTime>;
  Answers newer_answers_;
  Answers older_answers_;
  MonoTime newer_from_ = MonoTime::min();
  MonoTime forgotten_until_ = MonoTime::min();
};

}  // namespace dfs::client
