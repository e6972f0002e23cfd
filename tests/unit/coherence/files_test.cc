// Histories of contents and of locks: which are those of one file, of one lock?
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/coherence/checker.h"
#include "tests/unit/coherence/story.h"

namespace dfs::coherence {
namespace {

using Ids = std::vector<std::uint64_t>;

class FileHistory : public testing::Test, public Story {
 protected:
  const std::set<std::uint32_t> kLosing{1, 3};
  bool are_slots_legal() {
    SlotFile file(4, kSlotBytes, kLosing);
    return !check(file, history());
  }
  bool are_appends_legal() {
    AppendFile file(kRecordBytes, kLosing);
    return !check(file, history());
  }
  bool are_locks_legal() {
    Lock lock;
    return !check(lock, history());
  }
};

// --- Slots ---------------------------------------------------------------------------------------

TEST_F(FileHistory, slots_one_after_the_other_are_legal) {
  reads(1, 2, 0, {});
  writes(3, 4, 1, 11);
  reads(5, 6, 0, {0});
  reads(7, 8, 1, {11});
  sees_size(9, 10, 1024);
  truncates(11, 12, 512);
  reads(13, 14, 1, {});
  truncates(15, 16, 2048);
  reads(17, 18, 1, {0});
  EXPECT_TRUE(are_slots_legal());
}

TEST_F(FileHistory, a_read_after_a_completed_write_is_not_stale) {
  writes(1, 2, 0, 11);
  writes(3, 4, 0, 12);
  reads(5, 6, 0, {11});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, a_read_beside_a_write_may_see_it_or_not) {
  writes(1, 2, 0, 11);
  writes(3, 9, 0, 12);
  reads(4, 5, 0, {11});
  reads(6, 7, 0, {12});
  EXPECT_TRUE(are_slots_legal());
}

TEST_F(FileHistory, who_reads_after_the_new_was_read_does_not_see_the_old) {
  writes(1, 2, 0, 11);
  writes(3, 9, 0, 12);
  reads(4, 5, 0, {12});
  reads(6, 7, 0, {11});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, a_size_is_not_stale) {
  writes(1, 2, 3, 11);
  sees_size(3, 4, 512);
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, what_another_wrote_is_never_read_as_zeros) {
  writes(1, 2, 3, 11);
  reads(3, 4, 3, {0});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, a_torn_read_has_parts_of_writes_beside_it_only) {
  writes(1, 2, 0, 11);
  writes(3, 9, 0, 12);
  reads(4, 8, 0, {12, 11});
  EXPECT_TRUE(are_slots_legal());
  reads(10, 11, 0, {12, 11});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, a_write_that_was_never_answered_may_be_seen_late) {
  writes(1, 2, 0, 11);
  writes(3, kNever, 0, 12);
  reads(4, 5, 0, {11});
  reads(6, 7, 0, {12});
  EXPECT_TRUE(are_slots_legal());
  reads(8, 9, 0, {11});
  EXPECT_FALSE(are_slots_legal());
}

// --- Appends -------------------------------------------------------------------------------------

TEST_F(FileHistory, appends_at_once_may_come_in_any_order) {
  appends(1, 5, 11);
  appends(2, 6, 12);
  reads_all(3, 4, {12});
  reads_all(7, 8, {12, 11});
  sees_size(9, 10, 208);
  EXPECT_TRUE(are_appends_legal());
}

TEST_F(FileHistory, no_append_is_lost) {
  appends(1, 2, 11);
  appends(3, 4, 12);
  reads_all(5, 6, {12});
  EXPECT_FALSE(are_appends_legal());
}

TEST_F(FileHistory, appends_do_not_lie_over_each_other) {
  appends(1, 4, 11);
  appends(2, 5, 12);
  reads_all(6, 7, {kGarbage, 12});
  EXPECT_FALSE(are_appends_legal());
}

TEST_F(FileHistory, appends_keep_their_order) {
  appends(1, 2, 11);
  appends(3, 4, 12);
  reads_all(5, 6, {12, 11});
  EXPECT_FALSE(are_appends_legal());
}

// --- What a dead client loses
// ---------------------------------------------------------------------

TEST_F(FileHistory, what_was_buffered_may_be_lost_slot_by_slot) {
  writes(1, 2, 0, 11);
  on_mount(1);
  writes(3, 4, 2, 12);
  on_mount(1);
  loses(5, 1);
  reads(6, 7, 0, {0});
  reads(8, 9, 2, {12});
  EXPECT_TRUE(are_slots_legal());
}

TEST_F(FileHistory, what_was_lost_does_not_come_back) {
  writes(1, 2, 0, 11);
  on_mount(1);
  loses(3, 1);
  sees_size(4, 5, 0);
  sees_size(6, 7, kSlotBytes);
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, what_was_synced_is_not_lost) {
  writes(1, 2, 0, 11);
  on_mount(1);
  syncs(3, 4);
  on_mount(1);
  loses(5, 1);
  reads(6, 7, 0, {});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, a_sync_of_another_client_stores_nothing) {
  writes(1, 2, 0, 11);
  on_mount(1);
  syncs(3, 4);
  on_mount(2);
  loses(5, 1);
  reads(6, 7, 0, {});
  EXPECT_TRUE(are_slots_legal());
}

TEST_F(FileHistory, what_another_client_has_seen_is_not_lost) {
  writes(1, 2, 0, 11);
  on_mount(1);
  reads(3, 4, 0, {11});
  on_mount(2);
  loses(5, 1);
  reads(6, 7, 0, {});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, nothing_is_lost_of_a_client_that_lives) {
  writes(1, 2, 0, 11);
  on_mount(1);
  reads(6, 7, 0, {});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, of_lost_appends_a_beginning_is_left) {
  appends(1, 2, 11);
  on_mount(1);
  appends(3, 4, 12);
  on_mount(1);
  loses(5, 1);
  reads_all(6, 7, {11});
  EXPECT_TRUE(are_appends_legal());
  reads_all(8, 9, {12});
  EXPECT_FALSE(are_appends_legal());
}

TEST_F(FileHistory, a_truncation_to_the_same_size_may_outlive_what_made_it_that_long) {
  writes(1, 2, 0, 11);
  on_mount(1);
  truncates(3, 4, kSlotBytes);
  on_mount(1);
  loses(5, 1);
  reads(6, 7, 0, {0});
  EXPECT_TRUE(are_slots_legal());
}

// --- What a client that lives keeps when its session is over
// ---------------------------------------------------------------------

TEST_F(FileHistory, what_a_client_kept_comes_back) {
  writes(1, 2, 0, 11);
  on_mount(1);
  hides(3, 1);
  sees_size(4, 5, 0);
  reads(6, 7, 0, {11});
  EXPECT_TRUE(are_slots_legal());
  sees_size(8, 9, 0);
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, what_a_client_kept_does_not_come_back_over_a_change_of_another) {
  writes(1, 2, 0, 11);
  on_mount(1);
  hides(3, 1);
  sees_size(4, 5, 0);
  writes(6, 7, 1, 12);
  on_mount(2);
  reads(8, 9, 0, {0});
  EXPECT_TRUE(are_slots_legal());
  reads(10, 11, 0, {11});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, what_a_client_kept_is_stored_by_its_sync) {
  writes(1, 2, 0, 11);
  on_mount(1);
  hides(3, 1);
  sees_size(4, 5, 0);
  syncs(6, 7);
  on_mount(1);
  EXPECT_TRUE(are_slots_legal());
  sees_size(8, 9, 0);
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, a_sync_does_not_hide_that_what_was_kept_is_lost) {
  writes(1, 2, 0, 11);
  on_mount(1);
  hides(3, 1);
  sees_size(4, 5, 0);
  writes(6, 7, 1, 12);
  on_mount(2);
  reads(7, 8, 0, {0});
  syncs(8, 9);
  on_mount(1);
  EXPECT_FALSE(are_slots_legal());
  loses(3, 1);
  EXPECT_TRUE(are_slots_legal());
}

TEST_F(FileHistory, kept_appends_come_back_when_those_of_another_are_lost) {
  appends(1, 2, 11);
  on_mount(1);
  hides(3, 1);
  appends(4, 5, 12);
  on_mount(3);
  reads_all(6, 7, {12});
  on_mount(3);
  EXPECT_TRUE(are_appends_legal());
  loses(8, 3);
  reads_all(9, 10, {11});
  EXPECT_TRUE(are_appends_legal());
}

TEST_F(FileHistory, kept_appends_do_not_come_back_behind_those_of_another) {
  appends(1, 2, 11);
  on_mount(1);
  hides(3, 1);
  appends(4, 5, 12);
  on_mount(2);
  reads_all(6, 7, {12});
  EXPECT_TRUE(are_appends_legal());
  reads_all(8, 9, {12, 11});
  EXPECT_FALSE(are_appends_legal());
}

TEST_F(FileHistory, a_copied_slot_is_what_its_source_was) {
  writes(1, 2, 0, 11);
  copies(3, 4, 0, 2, kSlotBytes);
  writes(5, 6, 0, 12);
  reads(7, 8, 2, {11});
  EXPECT_TRUE(are_slots_legal());
  reads(9, 10, 1, {11});
  EXPECT_FALSE(are_slots_legal());
}

TEST_F(FileHistory, what_is_settled_was_made_by_then_or_never_is) {
  writes(1, kNever, 0, 11);
  settle_last(5);
  reads(6, 7, 0, {11});
  EXPECT_TRUE(are_slots_legal());
  reads(8, 9, 0, {11});
  EXPECT_TRUE(are_slots_legal());
}

TEST_F(FileHistory, what_is_settled_is_not_made_later) {
  writes(1, kNever, 0, 11);
  settle_last(5);
  reads(6, 7, 0, {});
  reads(8, 9, 0, {11});
  EXPECT_FALSE(are_slots_legal());
}

// --- Locks ---------------------------------------------------------------------------------------

TEST_F(FileHistory, a_lock_goes_from_one_to_the_next) {
  locks(1, 2, Kind::kLock, 1);
  locks(3, 4, Kind::kTryLock, 2, EAGAIN);
  locks(3, 8, Kind::kLock, 3);
  locks(5, 6, Kind::kUnlock, 1);
  EXPECT_TRUE(are_locks_legal());
}

TEST_F(FileHistory, two_do_not_have_a_lock_at_once) {
  locks(1, 2, Kind::kLock, 1);
  locks(3, 4, Kind::kTryLock, 2);
  locks(5, 6, Kind::kUnlock, 1);
  EXPECT_FALSE(are_locks_legal());
}

TEST_F(FileHistory, a_free_lock_is_not_refused) {
  locks(1, 2, Kind::kLock, 1);
  locks(3, 4, Kind::kUnlock, 1);
  locks(5, 6, Kind::kTryLock, 2, EAGAIN);
  EXPECT_FALSE(are_locks_legal());
}

}  // namespace
}  // namespace dfs::coherence
