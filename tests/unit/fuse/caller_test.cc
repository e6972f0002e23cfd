#include "fuse-client/fuse/caller.h"

#include <gtest/gtest.h>

namespace dfs::fuse {
namespace {

TEST(CallerTest, groups_and_capabilities_are_read_from_a_status) {
  Caller caller{.uid = 0, .groups = {5}, .capabilities = 0};
  ASSERT_TRUE(read_status(
      "Name:\tGroups: 1\nGroups:\t0 27 1000 \nCapPrm:\t01\nCapEff:\t0000000000200010\nX:\n",
      caller));
  EXPECT_EQ(caller.groups, (std::vector<gid_t>{5, 0, 27, 1000}));
  EXPECT_TRUE(caller.is_in(27));
  EXPECT_FALSE(caller.is_in(1));
  EXPECT_TRUE(caller.is_capable(4));
  EXPECT_TRUE(caller.is_capable(21));
  EXPECT_FALSE(caller.is_capable(20));
}

TEST(CallerTest, no_groups_are_none) {
  Caller caller;
  ASSERT_TRUE(read_status("Groups:\t \nCapEff:\t000001ffffffffff", caller));
  EXPECT_TRUE(caller.groups.empty());
  EXPECT_TRUE(caller.is_capable(40));
  EXPECT_FALSE(caller.is_capable(41));
}

TEST(CallerTest, what_is_no_status_says_nothing) {
  for (const char* text : {"", "\n\n", "Groups:\t1", "CapEff:\t1\n", "Groups:\t1\nCapEff:\tx\n"}) {
    Caller caller;
    EXPECT_FALSE(read_status(text, caller)) << text;
    EXPECT_EQ(caller.capabilities, 0u);
  }
}

}  // namespace
}  // namespace dfs::fuse
