#include "common/real/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/assert.h"
#include "common/real/errno_error.h"

namespace dfs::real {
namespace {

constexpr std::size_t kFdEventsPerTurn = 64;
constexpr std::size_t kSourceBudget = 256;  // messages of one source in a turn
constexpr std::uint64_t kWakeupKey = 0;     // no watch has generation 0
constexpr int kSleepMsMax = 60'000;         // any bound will do: the loop looks and sleeps again

std::uint64_t watch_key(int fd, std::uint32_t generation) {
  return (std::uint64_t{generation} << 32) | static_cast<std::uint32_t>(fd);
}

timespec read_clock(clockid_t clock) {
  timespec time{};
  DFS_ASSERT(::clock_gettime(clock, &time) == 0);
  return time;
}

Status add_to_epoll(int epoll, int fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    return errno_error(errno, "watch descriptor " + std::to_string(fd));
  }
  return ok();
}

}  // namespace

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) {
    return errno_error(errno, "create an epoll descriptor");
  }
  OwnedFd wakeup(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup.is_open()) {
    return errno_error(errno, "create an event descriptor");
  }
  DFS_CHECK_OK(add_to_epoll(epoll.get(), wakeup.get(), EPOLLIN, kWakeupKey));
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wakeup)));
}

EventLoop::EventLoop(OwnedFd epoll, OwnedFd wakeup)
    : epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}

// What a dropped task held may cancel timers or forget sources as it goes, so the tasks go while
// everything else is still there, and out of the containers they would reach into.
EventLoop::~EventLoop() {
  std::vector<Task> completions;
  {
    const std::lock_guard lock(completions_mutex_);
    completions.swap(completions_);
  }
  completions.clear();
  std::exchange(posted_, {}).clear();
  timer_times_.clear();
  std::exchange(timers_, {}).clear();
}

MonoTime EventLoop::now() const {
  const timespec time = read_clock(CLOCK_BOOTTIME);
  return MonoTime(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

Timestamp EventLoop::wall_now() const {
  const timespec time = read_clock(CLOCK_REALTIME);
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

void EventLoop::post(Task task) {
  assert_own_thread();
  posted_.push_back(std::move(task));
}

TimerId EventLoop::run_at(MonoTime when, Task task) {
  assert_own_thread();
  const std::uint64_t id = next_timer_++;
  timers_.emplace(TimerKey{when, id}, std::move(task));
  timer_times_.emplace(id, when);
  return TimerId{id};
}

void EventLoop::cancel(TimerId timer) {
  assert_own_thread();
  const auto found = timer_times_.find(timer.value);
  if (found != timer_times_.end()) {
    timers_.erase(TimerKey{found->second, timer.value});
    timer_times_.erase(found);
  }
}

void EventLoop::post_from_thread(Task task) {
  bool must_wake = false;
  {
    const std::lock_guard lock(completions_mutex_);
    completions_.push_back(std::move(task));
    must_wake = std::exchange(is_sleeping_, false);
  }
  if (must_wake) {
    const std::uint64_t one = 1;
    // Can fail only when the counter is near 2^64, and then the loop is awake anyway.
    DFS_ASSERT(::write(wakeup_.get(), &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
  }
}

Status EventLoop::watch_fd(int fd, std::uint32_t events, FdCallback callback) {
  assert_own_thread();
  DFS_ASSERT(fd >= 0);
  DFS_ASSERT(!watches_.contains(fd));
  const std::uint32_t generation = next_generation_++;
  DFS_ASSERT(generation != 0);
  DFS_CHECK_OK(add_to_epoll(epoll_.get(), fd, events, watch_key(fd, generation)));
  watches_[fd] = Watch{generation, std::make_shared<FdCallback>(std::move(callback))};
  return ok();
}

void EventLoop::unwatch_fd(int fd) {
  assert_own_thread();
  if (watches_.erase(fd) > 0) {
    // Fails only for a descriptor closed too early, which the caller promised not to do.
    DFS_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr) == 0);
  }
}

void EventLoop::wake(Source& source) {
  assert_own_thread();
  if (!std::exchange(source.is_ready_, true)) {
    ready_sources_.push_back(&source);
  }
}

void EventLoop::forget(Source& source) {
  assert_own_thread();
  if (std::exchange(source.is_ready_, false)) {
    std::erase(ready_sources_, &source);
  }
  std::replace(draining_sources_.begin(), draining_sources_.end(), &source,
               static_cast<Source*>(nullptr));
}

void EventLoop::run() {
  assert_own_thread();
  is_stopped_ = false;
  while (!is_stopped_) {
    turn(MonoTime::max());
  }
}

bool EventLoop::run_until(const std::function<bool()>& done, Duration limit) {
  assert_own_thread();
  is_stopped_ = false;  // of an earlier run(): a stopped loop never sleeps
  const MonoTime deadline = now() + limit;
  while (!done()) {
    if (now() >= deadline) {
      return false;
    }
    turn(deadline);
  }
  return true;
}

void EventLoop::turn(MonoTime sleep_until) {
  dispatch_fds(prepare_sleep_ms(sleep_until));
  drain_sources();
  run_completions();
  run_due_timers();
  run_posted();
}

// How long epoll may wait. Rounded up: a timer never fires early, and never spins until it is due.
int EventLoop::prepare_sleep_ms(MonoTime sleep_until) {
  if (is_stopped_ || !posted_.empty() || !ready_sources_.empty()) {
    return 0;
  }
  if (!timers_.empty()) {
    sleep_until = std::min(sleep_until, timers_.begin()->first.first);
  }
  const Duration left = sleep_until - now();
  if (left <= Duration::zero()) {
    return 0;
  }
  const std::lock_guard lock(completions_mutex_);
  if (!completions_.empty()) {
    return 0;
  }
  is_sleeping_ = true;
  const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(
      std::min<Duration>(left, std::chrono::milliseconds(kSleepMsMax)));
  return static_cast<int>(left_ms.count());
}

void EventLoop::dispatch_fds(int timeout_ms) {
  std::array<epoll_event, kFdEventsPerTurn> events;
  const int count =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  DFS_ASSERT(count >= 0 || errno == EINTR);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    dispatch_fd(event.data.u64, event.events);
  }
}

void EventLoop::dispatch_fd(std::uint64_t key, std::uint32_t events) {
  if (key == kWakeupKey) {
    std::uint64_t count = 0;
    DFS_ASSERT(::read(wakeup_.get(), &count, sizeof(count)) == sizeof(count) || errno == EAGAIN);
    return;
  }
  // An earlier callback of this turn may have unwatched the descriptor, and even watched another
  // one of the same number.
  const auto found = watches_.find(static_cast<int>(key & 0xffffffffu));
  if (found != watches_.end() && found->second.generation == key >> 32) {
    const std::shared_ptr<FdCallback> callback = found->second.callback;
    (*callback)(events);
  }
}

void EventLoop::drain_sources() {
  DFS_ASSERT(draining_sources_.empty());
  draining_sources_.swap(ready_sources_);
  for (Source* source : draining_sources_) {
    source->is_ready_ = false;
  }
  for (std::size_t i = 0; i < draining_sources_.size(); ++i) {
    Source* source = draining_sources_[i];
    if (source != nullptr && source->drain(kSourceBudget) && draining_sources_[i] != nullptr) {
      wake(*source);
    }
  }
  draining_sources_.clear();
}

void EventLoop::run_completions() {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(completions_mutex_);
    is_sleeping_ = false;
    tasks.swap(completions_);
  }
  for (Task& task : tasks) {
    task();
    task = nullptr;  // what it holds is released before the next one runs
  }
}

void EventLoop::run_due_timers() {
  if (timers_.empty()) {
    return;
  }
  const MonoTime due = now();
  // A timer set from here on waits for the next turn, so that none can starve the rest.
  const std::uint64_t first_new = next_timer_;
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    if (first->first.first > due || first->first.second >= first_new) {
      return;
    }
    const Task task = std::move(first->second);
    timer_times_.erase(first->first.second);
    timers_.erase(first);
    task();
  }
}

void EventLoop::run_posted() {
  std::vector<Task> tasks;
  tasks.swap(posted_);
  for (Task& task : tasks) {
    task();
    task = nullptr;
  }
}

void EventLoop::assert_own_thread() const { DFS_ASSERT(std::this_thread::get_id() == thread_); }

}  // namespace dfs::real
