// The small pieces with code of their own among the ports and identities.
#include <gtest/gtest.h>

#include <map>
#include <type_traits>
#include <unordered_set>

#include "common/ids.h"
#include "common/random.h"
#include "common/scheduler.h"

namespace dfs {
namespace {

static_assert(!std::is_convertible_v<std::uint64_t, InodeId>);
static_assert(!std::is_convertible_v<InodeId, ChunkId>);
static_assert(!std::is_constructible_v<ChunkId, InodeId>);
static_assert(!std::is_assignable_v<InodeId&, ChunkId>);

TEST(StrongId, zero_is_none_and_order_is_that_of_the_numbers) {
  EXPECT_FALSE(InodeId{}.is_set());
  EXPECT_TRUE(kRootInode.is_set());
  EXPECT_LT(ChunkId{1}, ChunkId{2});
  EXPECT_EQ(ChunkId{2}, ChunkId{2});
  EXPECT_TRUE((std::unordered_set<ChunkId>{ChunkId{1}, ChunkId{1}}.size() == 1));
}

TEST(Timestamp, order_is_that_of_time_before_1970_too) {
  EXPECT_LT((Timestamp{-1, 999'999'999}), (Timestamp{0, 0}));
  EXPECT_LT((Timestamp{5, 1}), (Timestamp{5, 2}));
}

class ManualScheduler final : public Scheduler {
 public:
  MonoTime now() const override { return now_; }
  Timestamp wall_now() const override { return {}; }
  void post(Task) override { FAIL(); }
  TimerId run_at(MonoTime when, Task task) override {
    const TimerId id{++last_id_};
    timers_.emplace(id, std::pair(when, std::move(task)));
    return id;
  }
  void cancel(TimerId timer) override { timers_.erase(timer); }

  void advance(Duration duration) {
    now_ += duration;
    for (auto at = timers_.begin(); at != timers_.end();) {
      if (at->second.first > now_) {
        ++at;
        continue;
      }
      const Task task = std::move(at->second.second);
      timers_.erase(at);
      task();
      at = timers_.begin();
    }
  }
  std::size_t timer_count() const { return timers_.size(); }

 private:
  MonoTime now_{std::chrono::seconds(1)};
  std::map<TimerId, std::pair<MonoTime, Task>> timers_;
  std::uint64_t last_id_ = 0;
};

using std::chrono::seconds;

TEST(Timer, runs_once_after_its_delay) {
  ManualScheduler scheduler;
  Timer timer(scheduler);
  int runs = 0;
  timer.start(seconds(2), [&] { ++runs; });
  EXPECT_TRUE(timer.is_armed());
  scheduler.advance(seconds(1));
  EXPECT_EQ(runs, 0);
  scheduler.advance(seconds(1));
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(timer.is_armed());
  scheduler.advance(seconds(10));
  EXPECT_EQ(runs, 1);
}

TEST(Timer, starting_again_replaces_and_stopping_cancels) {
  ManualScheduler scheduler;
  int runs = 0;
  {
    Timer timer(scheduler);
    timer.start(seconds(1), [&] { runs += 100; });
    timer.start(seconds(2), [&] { runs += 1; });
    EXPECT_EQ(scheduler.timer_count(), 1u);
    scheduler.advance(seconds(3));
    EXPECT_EQ(runs, 1);
    timer.start(seconds(1), [&] { runs += 100; });
    timer.stop();
    EXPECT_EQ(scheduler.timer_count(), 0u);
    timer.start(seconds(1), [&] { runs += 100; });
  }
  EXPECT_EQ(scheduler.timer_count(), 0u);
  scheduler.advance(seconds(3));
  EXPECT_EQ(runs, 1);
}

TEST(Timer, can_be_started_again_by_its_own_task) {
  ManualScheduler scheduler;
  Timer timer(scheduler);
  int runs = 0;
  const Task tick = [&] {
    if (++runs < 3) {
      timer.start(seconds(1), tick);
    }
  };
  timer.start(seconds(1), tick);
  for (int i = 0; i < 10; ++i) {
    scheduler.advance(seconds(1));
  }
  EXPECT_EQ(runs, 3);
}

class CountingRandom final : public Random {
 public:
  std::uint64_t next_u64() override { return next_++; }

 private:
  std::uint64_t next_ = 0;
};

TEST(Random, below_stays_below) {
  CountingRandom random;
  for (int i = 0; i < 100; ++i) {
    EXPECT_LT(random.below(7), 7u);
  }
  EXPECT_EQ(random.below(1), 0u);
}

}  // namespace
}  // namespace dfs
