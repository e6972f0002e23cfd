#include "fuse-client/fuse/directory_locks.h"

#include <gtest/gtest.h>

namespace dfs::fuse {
namespace {

constexpr InodeId kHere{2}, kThere{3}, kElsewhere{4};

class DirectoryLocksTest : public testing::Test {
 protected:
  // Requests are told apart, and never looked at.
  fuse_req_t request(std::size_t i) { return reinterpret_cast<fuse_req_t>(&places_[i]); }

  DirectoryLocks locks;

 private:
  char places_[2] = {};
};

TEST_F(DirectoryLocksTest, a_directory_is_locked_until_all_its_requests_end) {
  locks.begins(request(0), kHere);
  locks.begins(request(1), kHere);
  EXPECT_TRUE(locks.hinder_move_from(kHere));
  EXPECT_FALSE(locks.hinder_move_from(kThere));
  locks.ends(request(0));
  EXPECT_TRUE(locks.hinder_move_from(kHere));
  locks.ends(request(1));
  EXPECT_FALSE(locks.hinder_move_from(kHere));
}

TEST_F(DirectoryLocksTest, a_rename_between_directories_hinders_all_moves) {
  locks.begins(request(0), kHere, kThere);
  EXPECT_TRUE(locks.hinder_move_from(kElsewhere));
  locks.ends(request(0));
  locks.begins(request(0), kHere, kHere);
  EXPECT_FALSE(locks.hinder_move_from(kElsewhere));
}

}  // namespace
}  // namespace dfs::fuse
