#include "fuse-client/fuse/inode_requests.h"

#include <gtest/gtest.h>

namespace dfs::fuse {
namespace {

constexpr InodeId kFile{7}, kOther{8};
constexpr std::chrono::milliseconds kMoment{1};

class InodeRequestsTest : public testing::Test {
 protected:
  bool is_quiet(InodeId inode) { return requests.is_quiet(inode, now); }

  InodeRequests requests;
  MonoTime now{std::chrono::seconds(5)};
};

TEST_F(InodeRequestsTest, an_inode_is_quiet_when_all_is_answered_and_was_looked_at) {
  EXPECT_TRUE(is_quiet(kFile));
  requests.begin(kFile);
  requests.begin(kFile);
  EXPECT_FALSE(is_quiet(kFile));
  EXPECT_TRUE(is_quiet(kOther));
  requests.end(kFile, now);
  now += InodeRequests::kLookTime;
  EXPECT_FALSE(is_quiet(kFile));
  requests.end(kFile, now);
  EXPECT_FALSE(is_quiet(kFile));
  now += InodeRequests::kLookTime;
  EXPECT_TRUE(is_quiet(kFile));
}

TEST_F(InodeRequestsTest, what_was_answered_otherwise_is_followed_by_questions) {
  requests.note_answer(kFile, now);
  EXPECT_FALSE(is_quiet(kFile));
  now += InodeRequests::kLookTime;
  EXPECT_TRUE(is_quiet(kFile));
}

TEST_F(InodeRequestsTest, those_under_way_outlive_the_limit) {
  requests.begin(kFile);
  for (std::size_t i = 0; i < 2 * InodeRequests::kInodesMax; ++i) {
    requests.note_answer(InodeId{100 + i}, now);
  }
  now += kMoment + InodeRequests::kLookTime;
  EXPECT_FALSE(is_quiet(kFile));
}

}  // namespace
}  // namespace dfs::fuse
