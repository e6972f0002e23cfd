#include "tests/sim/cluster/actor.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"

namespace dfs::sim {
namespace {

using std::chrono::milliseconds;

// After this long no cache may answer with what was before the loss.
constexpr milliseconds kRecoveryWait{1500};
constexpr int kSyncAttempts = 4;

const char* loss_name(Loss loss) {
  switch (loss) {
    case Loss::kNothing: return "nothing";
    case Loss::kAnswer: return "an interrupted change";
    case Loss::kClient: return "the loss of the client";
    case Loss::kMaster: return "the loss of the master";
  }
  return "";
}

}  // namespace

Actor::Actor(ActorHost& host, SimRandom random, Options options)
    : host_(host), random_(random), options_(options), model_(options.root) {}

void Actor::start() { rest(); }

void Actor::after(Duration delay, Task task) {
  host_.events().run_at(host_.events().now() + delay, [this, turn = turn_, run = std::move(task)] {
    if (turn == turn_) {
      run();
    }
  });
}

void Actor::in_client(std::function<void(client::Client&)> task) {
  host_.in_client([this, epoch = epoch_, run = std::move(task)] {
    if (epoch == epoch_ && host_.client() != nullptr) {
      run(*host_.client());
    }
  });
}

void Actor::ask_client(Call call) {
  in_client([this, run = std::move(call), operation = operations_begun_](client::Client& client) {
    const client::OperationId id = run(client);
    if (operation == operations_begun_) {
      client_operation_ = id;
    }
  });
}

void Actor::fail(const std::string& why) {
  host_.fail("actor " + std::to_string(options_.index) + ", operation " +
             std::to_string(operations_done_) + " (" + current_ + "): " + why);
}

std::optional<MonoTime> Actor::waiting_since() const {
  return state_ == State::kWaiting || state_ == State::kRecovering ? std::optional(issued_at_)
                                                                   : std::nullopt;
}

bool Actor::is_quiet(Duration time) const {
  return (state_ == State::kResting || state_ == State::kDone) && is_sure() &&
         host_.events().now() - issued_at_ >= time;
}

void Actor::rest() {
  if (operations_done_ >= options_.operations) {
    state_ = State::kDone;
    return;
  }
  state_ = State::kResting;
  const std::uint64_t kind = random_.below(100);
  const std::uint64_t milliseconds_max = kind < 70 ? 2 : kind < 97 ? 100 : 3000;
  after(milliseconds(random_.below(milliseconds_max)), [this] { next_operation(); });
}

void Actor::end_operation() {
  ++operations_done_;
  if (is_sure()) {
    rest();
  } else {
    recover();
  }
}

void Actor::client_died() {
  ++epoch_;
  ++turn_;
  cut_.reset();
  walker_.reset();
  files_.clear();
  lose_with_client();
  state_ = State::kNoClient;
}

void Actor::client_mounted() {
  DFS_ASSERT(state_ == State::kNoClient);
  if (is_sure()) {
    rest();
  } else {
    recover();
  }
}

// A client that lives tells the master again what it was answered, so nothing is lost. What an
// earlier client of this actor was answered, and no sync has covered yet, may be.
void Actor::master_lost_power() {
  if (state_ != State::kNoClient && is_sure()) {
    in_doubt_since_ = host_.events().now();
    return;
  }
  is_cut_ = true;
  lose(Loss::kMaster);
}

void Actor::lose_with_client() {
  lose(in_doubt_since_ ? Loss::kMaster : Loss::kClient);
  in_doubt_since_.reset();
}

void Actor::master_answered() {
  if (in_doubt_since_ && issued_at_ > *in_doubt_since_) {
    in_doubt_since_.reset();
  }
}

void Actor::lose(Loss loss) {
  model_.lose(loss);
  ++loss_count_;
}

// Everything buffered must reach the master, and what the master has be durable, before the state
// is taken for sure. A loss in between starts it again.
void Actor::recover() {
  state_ = State::kRecovering;
  ++turn_;  // nothing planned before happens any more
  recovery_loss_ = loss_count_;
  issued_at_ = host_.events().now();
  current_ = "recovery";
  host_.say("actor " + std::to_string(options_.index) + " recovers");
  close_files();
  after(kRecoveryWait, [this] { recover_sync(1); });
}

void Actor::close_files() {
  in_client([this](client::Client& client) {
    for (const OpenFile& file : files_) {
      client.release(file.handle);
    }
    files_.clear();
  });
}

void Actor::recover_sync(int attempt) {
  in_client([this, attempt](client::Client& client) {
    client.sync_all(answer<Unit>([this, attempt](Result<Unit> result) {
      if (result) {
        recover_sync_directory();
      } else if (model_.loss() != Loss::kClient && attempt < kSyncAttempts) {
        // Writes to files that are gone with the lost transactions, or by an interrupted change:
        // told once each.
        after(milliseconds(10), [this, attempt] { recover_sync(attempt + 1); });
      } else {
        fail(std::string("sync of everything: ") + error_code_name(result.code()) + " " +
             result.error().detail);
      }
    }));
  });
}

void Actor::recover_sync_directory() {
  in_client([this](client::Client& client) {
    client.sync_directory(options_.root, answer<Unit>([this](Result<Unit> result) {
                            if (result) {
                              recover_walk();
                            } else {
                              fail("sync of the directory: " + result.error().detail);
                            }
                          }));
  });
}

void Actor::recover_walk() {
  in_client([this](client::Client& client) {
    walker_ = std::make_unique<Walker>(client, random_.fork(), options_.root,
                                       answer<ObservedTree>([this](Result<ObservedTree> observed) {
                                         if (recovery_loss_ != loss_count_) {
                                           recover();
                                         } else {
                                           recovered(std::move(observed));
                                         }
                                       }));
    walker_->start();
  });
}

void Actor::recovered(Result<ObservedTree> observed) {
  if (!observed) {
    fail(std::string("reading everything back: ") + error_code_name(observed.code()) + " " +
         observed.error().detail);
    return;
  }
  const Loss loss = model_.loss();
  const auto cut = model_.reconcile(*observed);
  if (!cut) {
    fail(std::string("after ") + loss_name(loss) + ": " + cut.error().detail);
    return;
  }
  if (std::exchange(is_cut_, false)) {
    host_.found_cut(options_.index, *cut);
  }
  touched_.clear();
  last_touch_.clear();
  rest();
}

}  // namespace dfs::sim
