#include "tests/sim/sim_events.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/sim/sim_log.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(SimEvents, run_in_order_of_time_then_of_scheduling) {
  SimEvents events;
  std::string order;
  const MonoTime start = events.now();
  events.run_at(start + milliseconds(2), [&] { order += 'c'; });
  events.run_at(start + milliseconds(1), [&] { order += 'a'; });
  events.run_at(start + milliseconds(1), [&] { order += 'b'; });
  const auto cancelled = events.run_at(start + milliseconds(1), [&] { order += 'x'; });
  events.cancel(cancelled);
  events.run_for(seconds(1));
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(events.now(), start + seconds(1));
  EXPECT_FALSE(events.run_one());
}

TEST(SimEvents, run_until_stops_at_the_event_that_made_it_true) {
  SimEvents events;
  int count = 0;
  for (int i = 1; i <= 5; ++i) {
    events.run_at(events.now() + milliseconds(i), [&] { ++count; });
  }
  EXPECT_TRUE(events.run_until([&] { return count == 3; }, seconds(1)));
  EXPECT_EQ(events.elapsed(), milliseconds(3));
  EXPECT_FALSE(events.run_until([&] { return count == 9; }, seconds(1)));
  EXPECT_EQ(events.elapsed(), milliseconds(1003));
}

TEST(SimEvents, the_trace_tells_runs_apart) {
  const auto run = [](int delay_ms) {
    SimEvents events;
    events.run_at(events.now() + milliseconds(delay_ms), [] {});
    events.run_for(seconds(1));
    return events.trace_hash();
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

class SimSchedulerTest : public ::testing::Test {
 protected:
  SimEvents events_;
  SimScheduler scheduler_{events_};
  std::string order_;
};

TEST_F(SimSchedulerTest, posted_tasks_run_behind_what_is_queued_for_the_same_time) {
  scheduler_.run_after(milliseconds(1), [&] {
    order_ += 'a';
    scheduler_.post([&] { order_ += 'c'; });
  });
  events_.run_at(events_.now() + milliseconds(1), [&] { order_ += 'b'; });
  events_.run_for(seconds(1));
  EXPECT_EQ(order_, "abc");
}

TEST_F(SimSchedulerTest, a_killed_process_runs_nothing_any_more) {
  scheduler_.post([&] { order_ += 'a'; });
  scheduler_.kill();
  scheduler_.post([&] { order_ += 'b'; });
  scheduler_.deliver([&] { order_ += 'c'; });
  scheduler_.run_after(milliseconds(1), [&] { order_ += 'd'; });
  events_.run_for(seconds(1));
  EXPECT_EQ(order_, "");
  EXPECT_EQ(events_.pending_count(), 0u);
}

TEST_F(SimSchedulerTest, a_paused_process_catches_up_in_order) {
  scheduler_.pause();
  scheduler_.run_after(milliseconds(1), [&] { order_ += 'a'; });
  const TimerId cancelled = scheduler_.run_after(milliseconds(2), [&] { order_ += 'x'; });
  events_.run_for(milliseconds(5));
  scheduler_.deliver([&] { order_ += 'b'; });
  scheduler_.cancel(cancelled);
  EXPECT_EQ(order_, "");
  scheduler_.resume();
  events_.run_for(milliseconds(1));
  EXPECT_EQ(order_, "ab");
}

TEST_F(SimSchedulerTest, the_timer_class_works_on_it) {
  Timer timer(scheduler_);
  timer.start(milliseconds(5), [&] { order_ += 'x'; });
  timer.start(milliseconds(2), [&] { order_ += 'a'; });
  EXPECT_TRUE(timer.is_armed());
  events_.run_for(seconds(1));
  EXPECT_EQ(order_, "a");
  EXPECT_FALSE(timer.is_armed());
}

TEST_F(SimSchedulerTest, wall_time_follows_virtual_time_and_skew) {
  const Timestamp start = scheduler_.wall_now();
  events_.run_for(milliseconds(1500));
  EXPECT_EQ(scheduler_.wall_now().seconds, start.seconds + 1);
  EXPECT_EQ(scheduler_.wall_now().nanoseconds, 500'000'000u);
  scheduler_.set_wall_skew(seconds(-10));
  EXPECT_EQ(scheduler_.wall_now().seconds, start.seconds - 9);
}

TEST(SimRandom, repeats_from_its_seed_and_forks_apart) {
  SimRandom a(1);
  SimRandom b(1);
  SimRandom forked = a.fork();
  b.next_u64();
  EXPECT_EQ(a.next_u64(), b.next_u64());
  EXPECT_NE(a.next_u64(), forked.next_u64());
  EXPECT_FALSE(a.chance(0));
  EXPECT_TRUE(a.chance(1'000'000));
}

TEST(SimLog, keeps_lines_of_its_level_and_counts_them) {
  SimEvents events;
  SimLog log("master", &events);
  log.set_level(LogLevel::kInfo);
  log.debug("not kept");
  log.info("chunk sealed chunk=1");
  log.error("chunk lost chunk=2");
  EXPECT_EQ(log.lines().size(), 2u);
  EXPECT_EQ(log.count("chunk"), 2u);
  EXPECT_EQ(log.count("chunk", LogLevel::kError), 1u);
  EXPECT_FALSE(log.contains("not kept"));
  for (std::size_t i = 0; i < SimLog::kLinesMax; ++i) {
    log.info("more");
  }
  EXPECT_EQ(log.lines().size(), SimLog::kLinesMax);
  EXPECT_FALSE(log.contains("chunk"));
}

}  // namespace
}  // namespace dfs::sim
