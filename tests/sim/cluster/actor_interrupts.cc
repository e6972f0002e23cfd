// Now and then somebody loses patience with an operation that waits.
//
// What only asks, and a write that was not taken, then simply did not happen. A change may have
// come to be: the actor looks (Loss::kAnswer).
#include "tests/sim/cluster/actor.h"

namespace dfs::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

constexpr std::uint64_t kInterruptOneOf = 12;
// A change the master works on is left to finish: a live master answers in this time, also over a
// bad network, and one that is not is found out in less.
constexpr seconds kAnswerLimit{12};

}  // namespace

void Actor::plan_interrupt() {
  interrupted_at_.reset();
  client_operation_ = {};
  if (!host_.has_nuisances() || random_.below(kInterruptOneOf) != 0) {
    return;
  }
  const std::uint64_t kind = random_.below(10);
  const std::uint64_t microseconds_max = kind < 5 ? 500 : kind < 8 ? 100'000 : 3'000'000;
  const Duration delay = microseconds(random_.below(microseconds_max));
  after(delay, [this, operation = operations_begun_] {
    if (operation == operations_begun_ && state_ == State::kWaiting) {
      interrupt(operation);
    }
  });
}

void Actor::interrupt(std::uint64_t operation) {
  in_client([this, operation](client::Client& client) {
    if (operation != operations_begun_ || state_ != State::kWaiting) {
      return;
    }
    host_.say("actor " + std::to_string(options_.index) + " interrupts");
    host_.events().trace("interrupt");
    if (!interrupted_at_) {
      interrupted_at_ = host_.events().now();
      expect_answer(operation);
    }
    client.interrupt(client_operation_);
  });
}

void Actor::expect_answer(std::uint64_t operation) {
  after(kAnswerLimit, [this, operation] {
    // A truncation is not given up once bytes that were buffered are forgotten for it.
    if (operation != operations_begun_ || state_ != State::kWaiting || cut_) {
      return;
    }
    if (host_.is_client_paused()) {
      expect_answer(operation);
    } else {
      fail("interrupted, and still not answered");
    }
  });
}

}  // namespace dfs::sim
