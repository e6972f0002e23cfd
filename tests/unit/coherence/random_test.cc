// Random histories of a directory that is right: none is a contradiction, however much happens at
// once; and each is one as soon as one answer is of a past that is over.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "tests/coherence/checker.h"
#include "tests/sim/sim_random.h"

namespace dfs::coherence {
namespace {

constexpr std::uint32_t kProcesses = 5;
constexpr std::size_t kOperationsEach = 60;
const std::vector<std::string> kNames = {"a", "b", "c"};

struct Planned {
  std::int64_t effect_ns = 0;
  Operation op;
};

std::vector<Planned> plan(sim::SimRandom& random) {
  constexpr Kind kKinds[] = {Kind::kCreate, Kind::kOpen, Kind::kUnlink, Kind::kRename,
                             Kind::kLink,   Kind::kStat, Kind::kStat,   Kind::kList};
  std::vector<Planned> planned;
  for (std::uint32_t process = 0; process < kProcesses; ++process) {
    std::int64_t now_ns = 0;
    const auto later = [&] { return now_ns += 1 + static_cast<std::int64_t>(random.below(20)); };
    for (std::size_t i = 0; i < kOperationsEach; ++i) {
      Operation op;
      op.process = process;
      op.sequence = i;
      op.kind = kKinds[random.below(std::size(kKinds))];
      const std::size_t name = random.below(kNames.size());
      op.name = op.kind == Kind::kList ? "" : kNames[name];
      const bool has_other = op.kind == Kind::kRename || op.kind == Kind::kLink;
      op.other = has_other ? kNames[(name + 1 + random.below(2)) % kNames.size()] : "";
      op.invoked_ns = later();
      const std::int64_t effect_ns = later();
      op.completed_ns = later();
      planned.push_back({effect_ns, op});
    }
  }
  std::stable_sort(planned.begin(), planned.end(), [](const Planned& left, const Planned& right) {
    return left.effect_ns < right.effect_ns;
  });
  return planned;
}

// A directory that is right, and what it answers.
class Reference {
 public:
  void answer(Operation& op) {
    const std::uint64_t inode = names_.contains(op.name) ? names_[op.name] : 0;
    const bool is_creating = op.kind == Kind::kCreate || op.kind == Kind::kOpen;
    if (op.kind == Kind::kList) {
      for (const auto& [name, its_inode] : names_) {
        op.listing.push_back({name, its_inode});
      }
    } else if (inode == 0 && !is_creating) {
      op.error = ENOENT;
    } else if ((op.kind == Kind::kCreate && inode != 0) ||
               (op.kind == Kind::kLink && names_.contains(op.other))) {
      op.error = EEXIST;
    } else if (is_creating) {
      op.inode = inode != 0 ? inode : names_[op.name] = next_inode_++;
    } else if (op.kind == Kind::kStat) {
      op.inode = inode;
      op.links = static_cast<std::uint32_t>(std::count_if(
          names_.begin(), names_.end(), [&](const auto& entry) { return entry.second == inode; }));
    } else {
      change(op, inode);
    }
  }

 private:
  void change(const Operation& op, std::uint64_t inode) {
    if (op.kind == Kind::kUnlink) {
      names_.erase(op.name);
    } else if (op.kind == Kind::kLink) {
      names_[op.other] = inode;
    } else if (!names_.contains(op.other) || names_[op.other] != inode) {
      names_.erase(op.name);
      names_[op.other] = inode;
    }
  }

  std::map<std::string, std::uint64_t> names_;
  std::uint64_t next_inode_ = 100;
};

History random_history(std::uint64_t seed) {
  sim::SimRandom random(seed);
  History history;
  Reference reference;
  for (Planned& planned : plan(random)) {
    reference.answer(planned.op);
    // Some were never answered; what they did stays done.
    if (random.below(60) == 0) {
      planned.op.completed_ns = kNever;
      planned.op.inode = 0;
    }
    history.push_back(std::move(planned.op));
  }
  std::erase_if(history, [](const Operation& op) {
    return !op.is_known() && (is_reading(op.kind) || op.error != 0);
  });
  return history;
}

TEST(RandomHistory, of_a_right_directory_is_legal) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Directory directory(kNames);
    const auto found = check(directory, random_history(seed));
    EXPECT_FALSE(found) << "seed " << seed;
  }
}

TEST(RandomHistory, with_an_answer_of_long_ago_is_not) {
  std::size_t changed = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    History history = random_history(seed);
    // The last file that a stat told of is told of again when it has long been gone.
    const auto is_stat = [](const Operation& op) { return op.kind == Kind::kStat && op.is_made(); };
    const auto old = std::find_if(history.begin(), history.end(), is_stat);
    const auto newest = std::find_if(history.rbegin(), history.rend(), is_stat);
    if (old == history.end() || newest->inode == old->inode) {
      continue;
    }
    const bool is_gone = std::none_of(newest.base(), history.end(),
                                      [&](const Operation& op) { return op.inode == old->inode; });
    newest->inode = is_gone ? old->inode : newest->inode;
    Directory directory(kNames);
    EXPECT_EQ(check(directory, history).has_value(), is_gone) << "seed " << seed;
    changed += is_gone ? 1 : 0;
  }
  EXPECT_GT(changed, 20u);
}

}  // namespace
}  // namespace dfs::coherence
