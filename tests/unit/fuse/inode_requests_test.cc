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
  requests.begin(kFile, now);
  requests.begin(kFile, now);
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
  requests.begin(kFile, now);
  for (std::size_t i = 0; i < 2 * InodeRequests::kInodesMax; ++i) {
    requests.note_answer(InodeId{100 + i}, now);
  }
  now += kMoment + InodeRequests::kLookTime;
  EXPECT_FALSE(is_quiet(kFile));
}

TEST_F(InodeRequestsTest, what_was_just_answered_is_remembered) {
  EXPECT_FALSE(requests.was_just_answered(kFile, now));
  requests.note_answer(kFile, now);
  EXPECT_TRUE(requests.was_just_answered(kFile, now));
  EXPECT_FALSE(requests.was_just_answered(kOther, now));
  now += kAnswerTime;
  EXPECT_FALSE(requests.was_just_answered(kFile, now));
}

TEST_F(InodeRequestsTest, what_was_forgotten_may_have_been_answered) {
  requests.note_answer(kFile, now);
  now += kAnswerTime;
  for (std::size_t i = 1; i < InodeRequests::kInodesMax; ++i) {
    requests.note_answer(InodeId{100 + i}, now);
  }
  requests.note_answer(kOther, now);  // there was room: the oldest counts no more
  EXPECT_FALSE(requests.was_just_answered(kFile, now));
  requests.note_answer(InodeId{99}, now);
  EXPECT_TRUE(requests.was_just_answered(kFile, now));
  EXPECT_TRUE(requests.was_just_answered(kOther, now));
  now += kAnswerTime;
  EXPECT_FALSE(requests.was_just_answered(kOther, now));
}

TEST_F(InodeRequestsTest, names_are_asked_about_until_that_is_answered) {
  EXPECT_FALSE(requests.is_asking_by_names());
  requests.begin_name(kOther, "a");
  requests.begin_name(kOther, "a");
  EXPECT_TRUE(requests.is_asked_by_name(kOther, "a"));
  EXPECT_FALSE(requests.is_asked_by_name(kOther, "b"));
  EXPECT_FALSE(requests.is_asked_by_name(kFile, "a"));
  requests.end_name(kOther, "a");
  EXPECT_TRUE(requests.is_asked_by_name(kOther, "a"));
  requests.end_name(kOther, "a");
  EXPECT_FALSE(requests.is_asking_by_names());
}

}  // namespace
}  // namespace dfs::fuse
