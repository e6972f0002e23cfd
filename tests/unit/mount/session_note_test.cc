// SessionNote: the sessions of dead processes are found, those of living ones are not.
#include "fuse-client/mount/session_note.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "tests/unit/real/scratch_directory.h"

namespace dfs::mount {
namespace {

class SessionNoteTest : public testing::Test {
 protected:
  real::ScratchDirectory scratch;
  std::string notes = scratch.path() + "/notes";
};

TEST_F(SessionNoteTest, of_a_process_that_was_killed_is_told_once) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    SessionNote note(notes);
    note.set(12345);
    note.set(18446744073709551615u);
    _exit(0);  // no destructor runs
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(SessionNote::take_dead(notes), std::vector<std::uint64_t>{18446744073709551615u});
  EXPECT_TRUE(SessionNote::take_dead(notes).empty());
}

TEST_F(SessionNoteTest, of_a_session_that_was_not_closed_is_told_however_its_process_ended) {
  std::optional<SessionNote> note(std::in_place, notes);
  note->set(7);
  note.reset();
  EXPECT_EQ(SessionNote::take_dead(notes), std::vector<std::uint64_t>{7});
}

TEST_F(SessionNoteTest, of_a_living_process_or_a_closed_session_is_not_told) {
  std::optional<SessionNote> note(std::in_place, notes);
  note->set(7);
  EXPECT_TRUE(SessionNote::take_dead(notes).empty());
  note->set(0);
  note.reset();
  EXPECT_TRUE(SessionNote::take_dead(notes).empty());
  EXPECT_TRUE(SessionNote::take_dead(notes + "/missing").empty());
}

}  // namespace
}  // namespace dfs::mount
