#include "common/real/directory_lock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "tests/unit/real/scratch_directory.h"

namespace dfs::real {
namespace {

TEST(DirectoryLock, second_holder_is_refused_with_directory_and_pid) {
  const ScratchDirectory scratch;
  const auto first = DirectoryLock::acquire(scratch.path());
  ASSERT_TRUE(first) << first.error().detail;
  const auto second = DirectoryLock::acquire(scratch.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.code(), ErrorCode::kLocked);
  EXPECT_NE(second.error().detail.find(scratch.path()), std::string::npos);
  EXPECT_NE(second.error().detail.find("pid " + std::to_string(::getpid())), std::string::npos);
}

TEST(DirectoryLock, lock_is_free_again_when_its_holder_goes) {
  const ScratchDirectory scratch;
  { ASSERT_TRUE(DirectoryLock::acquire(scratch.path())); }
  EXPECT_TRUE(DirectoryLock::acquire(scratch.path()));
}

TEST(DirectoryLock, left_over_contents_do_not_matter) {
  const ScratchDirectory scratch;
  scratch.put("lock", "a text much longer than any pid\n");
  const auto lock = DirectoryLock::acquire(scratch.path());
  ASSERT_TRUE(lock);
  EXPECT_EQ(scratch.get("lock"), std::to_string(::getpid()) + "\n");
}

TEST(DirectoryLock, missing_directory_is_not_found) {
  const ScratchDirectory scratch;
  EXPECT_EQ(DirectoryLock::acquire(scratch.path("none")).code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace dfs::real
