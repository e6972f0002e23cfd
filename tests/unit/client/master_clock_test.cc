#include "fuse-client/core/master_clock.h"

#include <gtest/gtest.h>

#include "tests/sim/sim_scheduler.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class MasterClockTest : public testing::Test {
 protected:
  MonoTime mono() const { return scheduler_.now(); }

  sim::SimEvents events_;
  sim::SimScheduler scheduler_{events_};
  MasterClock clock_{scheduler_};
  const Timestamp noon_{.seconds = 43'200, .nanoseconds = 999'000'000};
};

TEST_F(MasterClockTest, the_clock_of_this_machine_does_not_matter_once_the_master_was_heard) {
  EXPECT_EQ(clock_.time(), scheduler_.wall_now());
  clock_.heard(mono(), noon_);
  events_.run_for(milliseconds(2));
  EXPECT_EQ(clock_.time(), (Timestamp{.seconds = 43'201, .nanoseconds = 1'000'000}));
}

TEST_F(MasterClockTest, it_is_never_ahead_and_the_quickest_reply_counts) {
  const MonoTime slow = mono();
  events_.run_for(milliseconds(500));
  clock_.heard(slow, noon_);  // made at any time in between
  EXPECT_EQ(clock_.time(), noon_);
  const MonoTime quick = mono();
  clock_.heard(quick, later(noon_, milliseconds(400)));
  EXPECT_EQ(clock_.time(), later(noon_, milliseconds(400)));
  const MonoTime slow_again = mono();
  events_.run_for(milliseconds(500));
  clock_.heard(slow_again, later(noon_, milliseconds(450)));
  EXPECT_EQ(clock_.time(), later(noon_, milliseconds(900)));
}

TEST_F(MasterClockTest, a_change_is_not_older_than_what_a_reply_has_named) {
  clock_.heard(mono(), noon_);
  clock_.at_least(later(noon_, seconds(1)));
  EXPECT_EQ(clock_.time(), later(noon_, seconds(1)));
  clock_.at_least(noon_);  // the reply to a repeated request
  EXPECT_EQ(clock_.time(), later(noon_, seconds(1)));
}

TEST_F(MasterClockTest, a_slower_clock_is_followed_without_going_back) {
  clock_.heard(mono(), noon_);
  events_.run_for(seconds(3));
  const Timestamp before = clock_.time();
  clock_.heard(mono(), later(noon_, milliseconds(2'999)));
  EXPECT_EQ(clock_.time(), before);
  events_.run_for(milliseconds(2));
  EXPECT_EQ(clock_.time(), later(noon_, milliseconds(3'001)));
}

TEST_F(MasterClockTest, a_clock_that_was_set_back_is_believed) {
  clock_.heard(mono(), noon_);
  EXPECT_EQ(clock_.time(), noon_);
  const Timestamp hour_before{.seconds = noon_.seconds - 3'600, .nanoseconds = 0};
  clock_.heard(mono(), hour_before);
  EXPECT_EQ(clock_.time(), hour_before);
}

}  // namespace
}  // namespace dfs::client
