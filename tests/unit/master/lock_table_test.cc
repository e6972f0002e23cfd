#include "master/core/lock_table.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tests/sim/sim_random.h"

namespace dfs::master {
namespace {

constexpr LockMode kNone = LockMode::kNone;
constexpr LockMode kShared = LockMode::kShared;
constexpr LockMode kExclusive = LockMode::kExclusive;
constexpr LockSpan kAll{};

constexpr LockTable::Outcome kGiven{};
constexpr LockTable::Outcome kWaits{.code = ErrorCode::kOk, .waits = true};

LockTable::Outcome refused(ErrorCode code) { return {.code = code, .waits = false}; }

class LockTableTest : public testing::Test {
 protected:
  static LockOwner owner(std::uint64_t session, std::uint64_t number = 1) {
    return {SessionId{session}, number};
  }
  LockTable::Outcome set(const LockOwner& who, LockMode mode, LockSpan span = kAll,
                         std::uint64_t wait = 0) {
    return table_.set({.file = file_, .owner = who, .span = span, .mode = mode, .wait = wait});
  }
  LockTable::Outcome wait(const LockOwner& who, LockMode mode, LockSpan span,
                          std::uint64_t number) {
    return set(who, mode, span, number);
  }
  bool is_waiting(const LockOwner& who, std::uint64_t number) {
    return table_.is_waiting({who.session, number});
  }
  // The lock that forbids `mode` to `who`, as "SESSION/OWNER START-END".
  std::string in_the_way(const LockOwner& who, LockMode mode, LockSpan span) {
    const auto found = table_.test(file_, who, span, mode);
    return !found ? ""
                  : std::to_string(found->owner.session.value) + "/" +
                        std::to_string(found->owner.number) + " " +
                        std::to_string(found->range.span.start) + "-" +
                        std::to_string(found->range.span.end);
  }
  std::vector<LockRange> held(const LockOwner& who) { return table_.held(file_, who); }

  LockFile file_{.inode = InodeId{7}, .kind = LockKind::kRange};
  LockTable table_;
  const LockOwner a_ = owner(1);
  const LockOwner b_ = owner(2);
  const LockOwner c_ = owner(3);
};

class FlockTableTest : public LockTableTest {
 protected:
  FlockTableTest() { file_.kind = LockKind::kFlock; }
};

TEST_F(LockTableTest, readers_share_and_a_writer_is_alone) {
  EXPECT_EQ(set(a_, kShared), kGiven);
  EXPECT_EQ(set(b_, kShared), kGiven);
  EXPECT_EQ(set(c_, kExclusive), refused(ErrorCode::kLockConflict));
  EXPECT_EQ(set(a_, kExclusive), refused(ErrorCode::kLockConflict));
  EXPECT_EQ(set(b_, kNone), kGiven);
  EXPECT_EQ(set(a_, kExclusive), kGiven);
  EXPECT_EQ(set(b_, kShared), refused(ErrorCode::kLockConflict));
}

TEST_F(LockTableTest, ranges_that_do_not_touch_do_not_conflict) {
  EXPECT_EQ(set(a_, kExclusive, {0, 9}), kGiven);
  EXPECT_EQ(set(b_, kExclusive, {10, 19}), kGiven);
  EXPECT_EQ(set(c_, kShared, {9, 9}), refused(ErrorCode::kLockConflict));
  EXPECT_EQ(set(c_, kShared, {19, kLockOffsetMax}), refused(ErrorCode::kLockConflict));
  EXPECT_EQ(set(c_, kExclusive, {20, kLockOffsetMax}), kGiven);
  EXPECT_EQ(in_the_way(b_, kShared, {std::uint64_t{1} << 62, kLockOffsetMax}),
            "3/1 20-" + std::to_string(kLockOffsetMax));
}

TEST_F(LockTableTest, owners_of_one_session_are_strangers_to_each_other) {
  EXPECT_EQ(set(owner(1, 1), kExclusive), kGiven);
  EXPECT_EQ(set(owner(1, 2), kShared), refused(ErrorCode::kLockConflict));
}

TEST_F(LockTableTest, a_refused_lock_changes_nothing) {
  set(a_, kShared, {0, 9});
  set(b_, kShared, {5, 5});
  EXPECT_EQ(set(a_, kExclusive, {0, 9}), refused(ErrorCode::kLockConflict));
  EXPECT_EQ(held(a_), (std::vector<LockRange>{{{0, 9}, kShared}}));
}

TEST_F(LockTableTest, unlocking_what_is_not_held_is_fine) {
  EXPECT_EQ(set(a_, kNone, {5, 10}), kGiven);
  set(b_, kExclusive, {0, 99});
  EXPECT_EQ(set(a_, kNone), kGiven);
  EXPECT_EQ(held(b_), (std::vector<LockRange>{{{0, 99}, kExclusive}}));
}

TEST_F(LockTableTest, the_first_lock_in_the_way_is_named) {
  set(b_, kShared, {50, 59});
  set(c_, kShared, {20, 29});
  EXPECT_EQ(in_the_way(a_, kExclusive, kAll), "3/1 20-29");
  EXPECT_EQ(in_the_way(a_, kShared, kAll), "");
  EXPECT_EQ(in_the_way(c_, kExclusive, {0, 40}), "");
  EXPECT_EQ(in_the_way(a_, kExclusive, {25, 55}), "3/1 20-29");
}

TEST_F(LockTableTest, who_waits_is_woken_when_the_lock_is_free_and_keeps_others_out) {
  set(a_, kExclusive);
  EXPECT_EQ(wait(b_, kExclusive, {0, 9}, 1), kWaits);
  EXPECT_TRUE(is_waiting(b_, 1));
  EXPECT_TRUE(table_.take_woken().empty());
  set(a_, kNone);
  EXPECT_FALSE(is_waiting(b_, 1));
  EXPECT_EQ(table_.take_woken(), std::set<SessionId>{SessionId{2}});
  EXPECT_TRUE(held(b_).empty());
  EXPECT_EQ(set(a_, kShared, {9, 9}), refused(ErrorCode::kLockConflict));
  EXPECT_EQ(in_the_way(a_, kShared, kAll), "2/1 0-9");
  EXPECT_EQ(wait(b_, kExclusive, {0, 9}, 1), kGiven);
  EXPECT_EQ(held(b_), (std::vector<LockRange>{{{0, 9}, kExclusive}}));
}

TEST_F(LockTableTest, those_who_wait_have_their_turns_in_order) {
  set(a_, kExclusive);
  for (std::uint64_t session = 10; session < 15; ++session) {
    EXPECT_EQ(wait(owner(session), kExclusive, kAll, 1), kWaits);
  }
  set(a_, kNone);
  for (std::uint64_t session = 10; session < 15; ++session) {
    EXPECT_EQ(table_.take_woken(), std::set<SessionId>{SessionId{session}});
    EXPECT_EQ(wait(owner(session), kExclusive, kAll, 1), kGiven);
    EXPECT_TRUE(table_.take_woken().empty());
    set(owner(session), kNone);
  }
  EXPECT_EQ(table_.count(), 0u);
}

TEST_F(LockTableTest, readers_that_wait_have_their_turn_together) {
  set(a_, kExclusive);
  wait(b_, kShared, kAll, 1);
  wait(c_, kShared, kAll, 1);
  wait(owner(4), kExclusive, kAll, 1);
  set(a_, kNone);
  EXPECT_EQ(table_.take_woken(), (std::set<SessionId>{SessionId{2}, SessionId{3}}));
  EXPECT_TRUE(is_waiting(owner(4), 1));
}

TEST_F(LockTableTest, asking_again_keeps_the_place_in_the_queue) {
  set(a_, kExclusive);
  wait(b_, kExclusive, kAll, 1);
  wait(c_, kExclusive, kAll, 1);
  const std::size_t count = table_.count();
  EXPECT_EQ(wait(b_, kExclusive, kAll, 1), kWaits);
  EXPECT_EQ(table_.count(), count);
  set(a_, kNone);
  EXPECT_FALSE(is_waiting(b_, 1));
  EXPECT_TRUE(is_waiting(c_, 1));
}

TEST_F(LockTableTest, somebody_new_does_not_wait_for_those_who_wait) {
  set(a_, kShared, {0, 9});
  wait(b_, kExclusive, kAll, 1);
  EXPECT_EQ(set(c_, kShared, {0, 9}), kGiven);
  EXPECT_EQ(set(c_, kExclusive, {10, 19}), kGiven);
}

TEST_F(LockTableTest, a_wait_that_is_dropped_lets_the_next_one_have_its_turn) {
  set(a_, kExclusive);
  wait(b_, kExclusive, kAll, 1);
  wait(c_, kExclusive, kAll, 1);
  set(a_, kNone);
  table_.take_woken();
  table_.drop_wait({SessionId{2}, 1});
  EXPECT_EQ(table_.take_woken(), std::set<SessionId>{SessionId{3}});
  table_.drop_wait({SessionId{2}, 1});
  table_.drop_wait({SessionId{3}, 1});
  EXPECT_EQ(table_.count(), 0u);
}

TEST_F(LockTableTest, a_downgrade_wakes_readers) {
  set(a_, kExclusive);
  wait(b_, kShared, kAll, 1);
  EXPECT_EQ(set(a_, kShared), kGiven);
  EXPECT_FALSE(is_waiting(b_, 1));
}

TEST_F(LockTableTest, a_session_that_ends_leaves_nothing) {
  set(a_, kExclusive, {0, 9});
  set(owner(1, 2), kExclusive, {10, 19});
  set(b_, kExclusive, {20, 29});
  wait(owner(1, 2), kShared, {20, 29}, 5);
  wait(b_, kExclusive, {0, 9}, 1);
  wait(c_, kExclusive, {15, 15}, 1);
  table_.drop_session(SessionId{1});
  EXPECT_EQ(table_.take_woken(), (std::set<SessionId>{SessionId{2}, SessionId{3}}));
  EXPECT_EQ(table_.count_of(SessionId{1}), 0u);
  table_.drop_session(SessionId{2});
  table_.drop_session(SessionId{3});
  EXPECT_EQ(table_.count(), 0u);
}

TEST_F(LockTableTest, two_who_wait_for_each_other_are_a_deadlock) {
  set(a_, kExclusive, {0, 0});
  set(b_, kExclusive, {1, 1});
  EXPECT_EQ(wait(a_, kExclusive, {1, 1}, 1), kWaits);
  EXPECT_EQ(wait(b_, kShared, {0, 0}, 1), refused(ErrorCode::kDeadlock));
  EXPECT_EQ(set(b_, kShared, {0, 0}), refused(ErrorCode::kLockConflict));  // does not wait
  set(b_, kNone, {1, 1});
  EXPECT_EQ(wait(a_, kExclusive, {1, 1}, 1), kGiven);
}

TEST_F(LockTableTest, two_readers_who_both_want_to_write_are_a_deadlock) {
  set(a_, kShared);
  set(b_, kShared);
  EXPECT_EQ(wait(a_, kExclusive, kAll, 1), kWaits);
  EXPECT_EQ(wait(b_, kExclusive, kAll, 1), refused(ErrorCode::kDeadlock));
}

TEST_F(LockTableTest, a_circle_of_many_over_several_files_is_found) {
  constexpr std::uint64_t kOwners = 20;
  for (std::uint64_t i = 0; i < kOwners; ++i) {
    file_.inode = InodeId{100 + i};
    set(owner(i + 1), kExclusive);
  }
  for (std::uint64_t i = 0; i + 1 < kOwners; ++i) {
    file_.inode = InodeId{100 + i + 1};
    ASSERT_EQ(wait(owner(i + 1), kExclusive, kAll, 1), kWaits);
  }
  file_.inode = InodeId{100};
  EXPECT_EQ(wait(owner(kOwners), kShared, kAll, 1), refused(ErrorCode::kDeadlock));
  EXPECT_EQ(wait(owner(kOwners + 1), kShared, kAll, 1), kWaits);  // not part of it
}

TEST_F(LockTableTest, who_only_waits_makes_no_circle) {
  set(a_, kExclusive, {0, 0});
  EXPECT_EQ(wait(b_, kExclusive, {0, 0}, 1), kWaits);
  EXPECT_EQ(wait(b_, kExclusive, {0, 9}, 2), kWaits);  // another thread of the same process
  set(b_, kExclusive, {5, 5});
  EXPECT_EQ(wait(a_, kExclusive, {5, 5}, 1), refused(ErrorCode::kDeadlock));
}

TEST_F(LockTableTest, whose_turn_has_come_waits_for_nobody) {
  set(a_, kExclusive, {0, 0});
  set(b_, kExclusive, {1, 1});
  wait(b_, kExclusive, {0, 0}, 1);
  set(a_, kNone, {0, 0});
  EXPECT_EQ(wait(a_, kExclusive, {1, 1}, 1), kWaits);
  EXPECT_EQ(wait(b_, kExclusive, {0, 0}, 1), kGiven);
}

TEST_F(LockTableTest, limits_hold_for_a_file_a_session_and_all) {
  table_ = LockTable({.per_file = 4, .per_session = 6, .total = 8});
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(set(a_, kShared, {i * 10, i * 10}), kGiven);
  }
  EXPECT_EQ(set(a_, kShared, {90, 90}), refused(ErrorCode::kTooManyLocks));
  EXPECT_EQ(set(b_, kShared, {0, 0}), refused(ErrorCode::kTooManyLocks));
  EXPECT_EQ(set(a_, kExclusive, {0, 90}), kGiven);  // makes fewer
  EXPECT_EQ(set(a_, kExclusive, {0, 0}), kGiven);
  file_.inode = InodeId{8};
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(set(a_, kShared, {i * 10, i * 10}), kGiven);
  }
  file_.inode = InodeId{9};
  EXPECT_EQ(set(a_, kShared, {0, 0}), kGiven);
  EXPECT_EQ(set(a_, kShared, {2, 2}), refused(ErrorCode::kTooManyLocks));  // its sixth is the last
  EXPECT_EQ(set(b_, kShared, {0, 0}), kGiven);
  EXPECT_EQ(set(b_, kShared, {2, 2}), kGiven);
  file_.inode = InodeId{10};
  EXPECT_EQ(set(c_, kShared, {0, 0}), refused(ErrorCode::kTooManyLocks));
  EXPECT_EQ(table_.count(), 8u);
}

TEST_F(LockTableTest, a_wait_counts_and_never_ends_above_a_limit) {
  table_ = LockTable({.per_file = 5, .per_session = 100, .total = 100});
  set(a_, kShared, {0, 99});
  set(b_, kShared, {50, 50});
  EXPECT_EQ(wait(a_, kExclusive, {50, 50}, 1), kWaits);
  EXPECT_EQ(wait(c_, kExclusive, {50, 50}, 1), refused(ErrorCode::kTooManyLocks));
  EXPECT_EQ(set(c_, kShared, {0, 0}), kGiven);
  set(b_, kNone);
  EXPECT_EQ(wait(a_, kExclusive, {50, 50}, 1), kGiven);
  EXPECT_EQ(held(a_).size(), 3u);
  EXPECT_EQ(table_.count(), 4u);
}

TEST_F(LockTableTest, an_unlock_that_would_make_too_many_is_refused_and_one_of_all_never_is) {
  table_ = LockTable({.per_file = 2, .per_session = 100, .total = 100});
  set(a_, kShared, {0, 99});
  EXPECT_EQ(set(a_, kNone, {50, 50}), kGiven);
  EXPECT_EQ(set(a_, kNone, {20, 20}), refused(ErrorCode::kTooManyLocks));
  EXPECT_EQ(set(a_, kNone), kGiven);
  EXPECT_EQ(table_.count(), 0u);
}

TEST_F(FlockTableTest, flocks_and_ranges_know_nothing_of_each_other) {
  EXPECT_EQ(set(a_, kExclusive), kGiven);
  file_.kind = LockKind::kRange;
  EXPECT_EQ(set(b_, kExclusive), kGiven);
}

TEST_F(FlockTableTest, changing_the_mode_gives_the_old_lock_up_first) {
  set(a_, kShared);
  set(b_, kShared);
  EXPECT_EQ(set(a_, kExclusive), refused(ErrorCode::kLockConflict));
  EXPECT_TRUE(held(a_).empty());
  EXPECT_EQ(set(b_, kExclusive), kGiven);
}

TEST_F(FlockTableTest, two_readers_who_both_want_to_write_both_come_to_it) {
  set(a_, kShared);
  set(b_, kShared);
  EXPECT_EQ(wait(a_, kExclusive, kAll, 1), kWaits);
  EXPECT_EQ(wait(b_, kExclusive, kAll, 1), kGiven);
  set(b_, kNone);
  EXPECT_EQ(wait(a_, kExclusive, kAll, 1), kGiven);
}

TEST_F(FlockTableTest, asking_for_what_one_has_keeps_it) {
  set(a_, kShared);
  wait(b_, kExclusive, kAll, 1);
  EXPECT_EQ(set(a_, kShared), kGiven);
  EXPECT_TRUE(is_waiting(b_, 1));
}

// Against a byte map: nobody ever has what another's lock forbids, and whoever waits and could have
// its lock is woken.
TEST_F(LockTableTest, random_locks_agree_with_a_map_of_bytes) {
  constexpr std::size_t kBytes = 12;
  constexpr std::size_t kOwners = 5;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    sim::SimRandom random(seed);
    table_ = LockTable();
    std::array<std::array<LockMode, kBytes>, kOwners> bytes{};
    std::array<std::optional<LockRange>, kOwners> waiting;
    const auto is_forbidden = [&](std::size_t who, const LockRange& range) {
      for (std::size_t other = 0; other < kOwners; ++other) {
        for (std::size_t at = range.span.start; other != who && at <= range.span.end; ++at) {
          const LockMode mode = bytes[other][at];
          if (mode == kExclusive || (mode == kShared && range.mode == kExclusive)) {
            return true;
          }
        }
      }
      return false;
    };
    for (int step = 0; step < 300; ++step) {
      const std::size_t who = random.below(kOwners);
      LockRange range{{random.below(kBytes), 0}, static_cast<LockMode>(random.below(3))};
      range.span.end = range.span.start + random.below(kBytes - range.span.start);
      const LockOwner me = owner(who + 1);
      std::uint64_t number = random.below(2);
      if (waiting[who] && random.below(3) == 0) {
        table_.drop_wait({me.session, 1});
        waiting[who].reset();
        continue;
      }
      if (waiting[who]) {  // one thread: it does nothing else meanwhile
        range = *waiting[who];
        number = 1;
      }
      const bool was_woken = waiting[who] && !is_waiting(me, 1);
      const LockTable::Outcome outcome = set(me, range.mode, range.span, number);
      if (outcome == kGiven) {
        ASSERT_TRUE(range.mode == kNone || !is_forbidden(who, range)) << seed << " " << step;
        waiting[who].reset();
        std::fill(bytes[who].begin() + static_cast<std::ptrdiff_t>(range.span.start),
                  bytes[who].begin() + static_cast<std::ptrdiff_t>(range.span.end) + 1, range.mode);
      } else {
        ASSERT_FALSE(was_woken) << seed << " " << step;
        ASSERT_NE(range.mode, kNone);
        waiting[who] = outcome.waits ? std::optional(range) : std::nullopt;
      }
      for (std::size_t each = 0; each < kOwners; ++each) {
        if (waiting[each] && is_waiting(owner(each + 1), 1)) {
          ASSERT_TRUE(table_.test(file_, owner(each + 1), waiting[each]->span, waiting[each]->mode))
              << "could have its turn: " << seed << " " << step;
        }
        LockRanges expected;
        for (std::size_t at = 0; at < kBytes; ++at) {
          expected.set({at, at}, bytes[each][at]);
        }
        ASSERT_EQ(held(owner(each + 1)), expected.all());
      }
    }
    for (std::uint64_t session = 1; session <= kOwners; ++session) {
      table_.drop_session(SessionId{session});
    }
    ASSERT_EQ(table_.count(), 0u);
  }
}

}  // namespace
}  // namespace dfs::master
