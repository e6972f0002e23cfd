#include "common/real/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <string>
#include <thread>
#include <vector>

namespace dfs::real {
namespace {

using namespace std::chrono_literals;

class EventLoopTest : public ::testing::Test {
 protected:
  EventLoopTest() : loop_(std::move(*EventLoop::create())) {}

  bool run_until(const std::function<bool()>& done) { return loop_->run_until(done, 10s); }

  std::unique_ptr<EventLoop> loop_;
  std::vector<std::string> trace_;
};

struct CountedSource final : EventLoop::Source {
  bool drain(std::size_t budget) override {
    const std::size_t taken = std::min(budget, waiting);
    waiting -= taken;
    for (std::size_t i = 0; i < taken; ++i) {
      on_message();
    }
    return waiting > 0;
  }
  std::size_t waiting = 0;
  std::function<void()> on_message = [] {};
};

OwnedFd signalled_event() { return OwnedFd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)); }

TEST_F(EventLoopTest, one_turn_runs_input_then_completions_then_timers_then_posted_tasks) {
  const OwnedFd fd = signalled_event();
  CountedSource source;
  source.waiting = 1;
  source.on_message = [this] { trace_.push_back("source"); };
  loop_->post([this] { trace_.push_back("posted"); });
  loop_->run_at(loop_->now(), [this] { trace_.push_back("timer"); });
  loop_->post_from_thread([this] { trace_.push_back("completion"); });
  loop_->wake(source);
  ASSERT_TRUE(loop_->watch_fd(fd.get(), EPOLLIN, [&](std::uint32_t) {
    trace_.push_back("fd");
    loop_->unwatch_fd(fd.get());
  }));
  ASSERT_TRUE(run_until([this] { return trace_.size() == 5; }));
  EXPECT_EQ(trace_, (std::vector<std::string>{"fd", "source", "completion", "timer", "posted"}));
}

TEST_F(EventLoopTest, task_posted_by_first_message_runs_after_the_burst) {
  CountedSource source;
  source.waiting = 100;
  std::size_t seen = 0;
  std::size_t seen_by_task = 0;
  source.on_message = [&] {
    if (++seen == 1) {
      loop_->post([&] { seen_by_task = seen; });
    }
  };
  loop_->wake(source);
  ASSERT_TRUE(run_until([&] { return seen_by_task != 0; }));
  EXPECT_EQ(seen_by_task, 100u);
}

TEST_F(EventLoopTest, busy_source_does_not_starve_tasks) {
  CountedSource source;
  source.waiting = 1'000'000;
  bool ran = false;
  loop_->wake(source);
  loop_->post([&] { ran = true; });
  ASSERT_TRUE(run_until([&] { return ran; }));
  EXPECT_GT(source.waiting, 0u);
  ASSERT_TRUE(run_until([&] { return source.waiting == 0; }));
}

TEST_F(EventLoopTest, forgotten_source_is_not_drained) {
  CountedSource first;
  CountedSource second;
  bool second_drained = false;
  first.waiting = second.waiting = 1;
  first.on_message = [&] { loop_->forget(second); };
  second.on_message = [&] { second_drained = true; };
  loop_->wake(first);
  loop_->wake(second);
  bool ended = false;
  loop_->post([&] { ended = true; });
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_FALSE(second_drained);
}

TEST_F(EventLoopTest, timers_run_in_order_of_time_then_of_setting) {
  const MonoTime start = loop_->now();
  loop_->run_at(start + 3ms, [this] { trace_.push_back("third"); });
  loop_->run_at(start + 1ms, [this] { trace_.push_back("first"); });
  loop_->run_at(start + 1ms, [this] { trace_.push_back("second"); });
  ASSERT_TRUE(run_until([this] { return trace_.size() == 3; }));
  EXPECT_EQ(trace_, (std::vector<std::string>{"first", "second", "third"}));
}

TEST_F(EventLoopTest, timer_never_fires_early) {
  const MonoTime when = loop_->now() + 2ms;
  MonoTime fired{};
  loop_->run_at(when, [&] { fired = loop_->now(); });
  ASSERT_TRUE(run_until([&] { return fired != MonoTime{}; }));
  EXPECT_GE(fired, when);
}

TEST_F(EventLoopTest, cancelled_timer_does_not_run_even_when_due) {
  bool ran = false;
  bool ended = false;
  const MonoTime due = loop_->now();
  TimerId second;
  loop_->run_at(due, [&] { loop_->cancel(second); });
  second = loop_->run_at(due, [&] { ran = true; });
  loop_->run_at(due, [&] { ended = true; });
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_FALSE(ran);
  loop_->cancel(second);  // again: no effect
}

TEST_F(EventLoopTest, timer_that_sets_itself_in_the_past_does_not_starve_tasks) {
  bool ended = false;
  std::function<void()> again = [&] {
    if (!ended) {
      loop_->run_at(MonoTime{}, again);
    }
  };
  again();
  int rounds = 0;
  std::function<void()> task = [&] {
    if (++rounds == 10) {
      ended = true;
    } else {
      loop_->post(task);
    }
  };
  task();
  EXPECT_TRUE(run_until([&] { return ended; }));
}

TEST_F(EventLoopTest, run_until_gives_up_at_its_limit) {
  EXPECT_FALSE(loop_->run_until([] { return false; }, 5ms));
}

TEST_F(EventLoopTest, stop_ends_run_and_run_goes_on_later) {
  loop_->post([this] { loop_->stop(); });
  loop_->run();
  bool ran = false;
  loop_->post([&] {
    ran = true;
    loop_->stop();
  });
  loop_->run();
  EXPECT_TRUE(ran);
}

TEST_F(EventLoopTest, completions_of_other_threads_arrive_in_order_and_all) {
  constexpr int kThreads = 4;
  constexpr int kEach = 5000;
  std::vector<int> next(kThreads, 0);
  bool in_order = true;
  const auto loop_thread = std::this_thread::get_id();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        loop_->post_from_thread([&, t, i] {
          const auto index = static_cast<std::size_t>(t);
          in_order = in_order && next[index] == i && std::this_thread::get_id() == loop_thread;
          ++next[index];
        });
      }
    });
  }
  EXPECT_TRUE(run_until([&] { return next == std::vector<int>(kThreads, kEach); }));
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_TRUE(in_order);
}

TEST_F(EventLoopTest, completion_wakes_a_sleeping_loop) {
  bool done = false;
  std::thread worker([&] { loop_->post_from_thread([&] { done = true; }); });
  EXPECT_TRUE(run_until([&] { return done; }));
  worker.join();
}

TEST_F(EventLoopTest, descriptor_unwatched_by_another_callback_is_not_called) {
  const OwnedFd first = signalled_event();
  const OwnedFd second = signalled_event();
  int calls = 0;
  const auto callback = [&](std::uint32_t) {
    ++calls;
    loop_->unwatch_fd(first.get());
    loop_->unwatch_fd(second.get());
  };
  ASSERT_TRUE(loop_->watch_fd(first.get(), EPOLLIN, callback));
  ASSERT_TRUE(loop_->watch_fd(second.get(), EPOLLIN, callback));
  bool ended = false;
  loop_->post([&] { ended = true; });
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, watching_a_bad_descriptor_is_an_error) {
  EXPECT_FALSE(loop_->watch_fd(1'000'000, EPOLLIN, [](std::uint32_t) {}));
}

TEST_F(EventLoopTest, dropped_tasks_may_stop_timers_and_unwatch_as_they_go) {
  struct Owner {
    explicit Owner(EventLoop& l) : loop(l), timer(l), fd(signalled_event()) {
      timer.start(1h, [] {});
      EXPECT_TRUE(loop.watch_fd(fd.get(), EPOLLIN, [](std::uint32_t) {}));
      loop.wake(source);
    }
    ~Owner() {
      loop.forget(source);
      loop.unwatch_fd(fd.get());
    }
    EventLoop& loop;
    Timer timer;
    OwnedFd fd;
    CountedSource source;
  };
  loop_->post([owner = std::make_shared<Owner>(*loop_)] {});
  loop_->run_after(1h, [owner = std::make_shared<Owner>(*loop_)] {});
  loop_->post_from_thread([owner = std::make_shared<Owner>(*loop_)] {});
  loop_.reset();
}

TEST_F(EventLoopTest, timer_class_restarts_and_stops) {
  int ran = 0;
  bool ended = false;
  Timer timer(*loop_);
  timer.start(1ms, [&] { ran += 1; });
  timer.start(2ms, [&] { ran += 10; });
  EXPECT_TRUE(timer.is_armed());
  loop_->run_after(5ms, [&] { ended = true; });
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(ran, 10);
  EXPECT_FALSE(timer.is_armed());
}

TEST_F(EventLoopTest, a_loop_that_was_stopped_sleeps_again_in_run_until) {
  loop_->post([this] { loop_->stop(); });
  loop_->run();
  bool fired = false;
  int asked = 0;
  loop_->run_after(20ms, [&] { fired = true; });
  ASSERT_TRUE(run_until([&] {
    ++asked;
    return fired;
  }));
  EXPECT_LT(asked, 10);
}

}  // namespace
}  // namespace dfs::real
