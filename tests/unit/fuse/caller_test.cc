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

// As /proc has it; bit n - 1 is signal n.
std::string signals(const std::string& own, const std::string& shared, const std::string& blocked,
                    const std::string& ignored, const std::string& caught) {
  return "Name:\tx\nSigPnd:\t" + own + "\nShdPnd:\t" + shared + "\nSigBlk:\t" + blocked +
         "\nSigIgn:\t" + ignored + "\nSigCgt:\t" + caught + "\n";
}

TEST(CallerTest, a_thread_ends_by_a_signal_it_neither_catches_blocks_nor_ignores) {
  const std::string none = "0000000000000000";
  const std::string term = "0000000000004000";  // 15
  EXPECT_FALSE(is_ending(signals(none, none, none, none, none)));
  EXPECT_TRUE(is_ending(signals(term, none, none, none, none)));
  EXPECT_TRUE(is_ending(signals(none, term, none, none, none)));
  EXPECT_FALSE(is_ending(signals(term, none, term, none, none)));
  EXPECT_FALSE(is_ending(signals(none, term, none, term, none)));
  EXPECT_FALSE(is_ending(signals(none, term, none, none, term)));
  // Others besides it.
  EXPECT_TRUE(is_ending(signals(term, "0000000000000004", none, none, term)));
}

TEST(CallerTest, nothing_holds_off_a_kill_and_some_signals_are_harmless) {
  const std::string none = "0000000000000000";
  const std::string all = "ffffffffffffffff";
  EXPECT_TRUE(is_ending(signals("0000000000000100", none, all, all, all)));
  for (const char* harmless : {"0000000000010000", "0000000000020000", "0000000000400000"}) {
    EXPECT_FALSE(is_ending(signals(none, harmless, none, none, none))) << harmless;
  }
}

TEST(CallerTest, of_an_unknown_thread_it_is_taken_that_it_ends) {
  EXPECT_TRUE(is_ending(""));
  EXPECT_TRUE(is_ending("SigPnd:\t0\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\n"));
}

}  // namespace
}  // namespace dfs::fuse
