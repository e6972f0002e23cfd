// One notification of a file's size: from the moment it is wanted until the kernel has it, or it is
// not to be sent any more. Shared by the loop thread, which gives up, and the thread that sends.
#pragma once

#include <atomic>

namespace dfs::fuse {

class SizeNotification {
 public:
  // It is about to be sent. False: it must not be.
  bool begin() { return leave_waiting(State::kBegun); }
  // False: it has begun.
  bool give_up() { return leave_waiting(State::kGivenUp); }
  bool has_begun() const { return state_ == State::kBegun; }

 private:
  enum class State { kWaiting, kBegun, kGivenUp };
  bool leave_waiting(State to) {
    State expected = State::kWaiting;
    return state_.compare_exchange_strong(expected, to);
  }

  std::atomic<State> state_ = State::kWaiting;
};

}  // namespace dfs::fuse
