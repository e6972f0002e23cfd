// Programs on several clients lock ranges of the same files while the network loses, doubles and
// reorders messages, the master is killed, and calls are interrupted. Nobody is ever given what
// another surely holds, every call ends, and at the end nothing is left locked.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/cluster/processes.h"

namespace dfs::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::size_t kBytes = 8;
constexpr std::size_t kClients = 3;
constexpr std::uint64_t kStepsMax = 60;

struct Trouble {
  bool network = false;
  bool restarts = false;
  bool interrupts = false;
  std::uint64_t threads = 1;  // of each process; with more, what a process holds is not followed
};

class LockChaos : public testing::Test {
 protected:
  void run(std::uint64_t seed, const Trouble& trouble);
  void session_loss(LockKind kind);

  struct Program {
    std::size_t client = 0;
    std::uint64_t owner = 0;
    client::HandleId handle;
    std::array<LockMode, kBytes> holds{};
    std::uint64_t steps = 0;
    bool is_busy = false;
    bool is_done = false;
    client::OperationId operation;
  };

  void start(std::uint64_t seed) {
    events_ = std::make_unique<SimEvents>();
    random_ = std::make_unique<SimRandom>(seed);
    network_ = std::make_unique<SimNetwork>(*events_, seed);
    environment_.reset(new SimEnvironment{*events_, *network_, *random_,
                                          [](const std::string& why) { ADD_FAILURE() << why; }});
    master_ = std::make_unique<MasterProcess>(*environment_);
    master_->start();
    for (std::size_t i = 0; i < kClients; ++i) {
      clients_.push_back(
          std::make_unique<ClientProcess>(*environment_, "client" + std::to_string(i)));
      clients_.back()->start();
      ASSERT_TRUE(run_until([&] { return clients_[i]->client() != nullptr; }));
    }
  }
  void stop() {
    programs_.clear();
    clients_.clear();
    master_.reset();
  }
  bool run_until(const std::function<bool()>& condition, Duration limit = minutes(30)) {
    return events_->run_until(condition, limit);
  }
  client::Client& client(std::size_t index) { return *clients_[index]->client(); }
  InodeId make_file() {
    std::optional<Result<client::OpenedFile>> made;
    client(0).create(
        {.parent = kRootInode, .name = "f", .mode = kModeRegular | 0644, .symlink_target = {}}, {},
        [&](Result<client::OpenedFile> opened) { made = std::move(opened); });
    EXPECT_TRUE(run_until([&] { return made.has_value(); }) && *made);
    return (*made)->attributes.inode;
  }
  client::HandleId open(std::size_t index, InodeId inode) {
    std::optional<Result<client::OpenedFile>> opened;
    client(index).open(inode, {}, [&](Result<client::OpenedFile> file) { opened = file; });
    EXPECT_TRUE(run_until([&] { return opened.has_value(); }) && *opened);
    return (*opened)->handle;
  }
  ErrorCode lock(std::size_t index, client::HandleId handle, const client::FileLock& lock,
                 bool wait = false) {
    std::optional<ErrorCode> code;
    client(index).set_lock(handle, lock, wait,
                           [&](const Result<Unit>& result) { code = result.code(); });
    EXPECT_TRUE(run_until([&] { return code.has_value(); }));
    return code.value_or(ErrorCode::kInternal);
  }
  void step(Program& program);
  void finished(Program& program, const client::FileLock& lock, ErrorCode code);
  bool is_held_by_another(const Program& program, const client::FileLock& lock) const;
  void release(Program& program);

  std::unique_ptr<SimEvents> events_;
  std::unique_ptr<SimRandom> random_;
  std::unique_ptr<SimNetwork> network_;
  std::unique_ptr<SimEnvironment> environment_;
  std::unique_ptr<MasterProcess> master_;
  std::vector<std::unique_ptr<ClientProcess>> clients_;
  std::vector<std::unique_ptr<Program>> programs_;
  Trouble trouble_;
  std::uint64_t given_ = 0;
  std::uint64_t interrupted_ = 0;
  std::uint64_t deadlocks_ = 0;
};

bool LockChaos::is_held_by_another(const Program& program, const client::FileLock& lock) const {
  for (const auto& other : programs_) {
    for (std::size_t at = lock.span.start; other.get() != &program && at <= lock.span.end; ++at) {
      const LockMode held = other->holds[at];
      if (held == LockMode::kExclusive ||
          (held == LockMode::kShared && lock.mode == LockMode::kExclusive)) {
        return true;
      }
    }
  }
  return false;
}

void LockChaos::release(Program& program) {
  program.holds = {};
  program.is_busy = true;
  client(program.client)
      .unlock_ranges(program.handle, program.owner, [&](const Result<Unit>& unlocked) {
        EXPECT_TRUE(unlocked);
        program.is_busy = false;
        if (program.steps >= kStepsMax) {
          program.is_done = true;
        }
      });
}

void LockChaos::step(Program& program) {
  if (++program.steps >= kStepsMax) {
    release(program);
    return;
  }
  client::FileLock lock;
  lock.owner = program.owner;
  lock.mode = static_cast<LockMode>(random_->below(3));
  lock.span.start = random_->below(kBytes);
  lock.span.end = lock.span.start + random_->below(kBytes - lock.span.start);
  for (std::size_t at = lock.span.start; at <= lock.span.end; ++at) {
    // Given up as soon as it may be.
    program.holds[at] = std::min(program.holds[at], lock.mode);
  }
  program.is_busy = true;
  program.operation = client(program.client)
                          .set_lock(program.handle, lock, random_->below(3) > 0,
                                    [this, &program, lock](const Result<Unit>& result) {
                                      finished(program, lock, result.code());
                                    });
}

void LockChaos::finished(Program& program, const client::FileLock& lock, ErrorCode code) {
  program.is_busy = false;
  switch (code) {
    case ErrorCode::kOk:
      if (trouble_.threads == 1 && lock.mode != LockMode::kNone) {
        EXPECT_FALSE(is_held_by_another(program, lock)) << "two have it";
        std::fill(program.holds.begin() + static_cast<std::ptrdiff_t>(lock.span.start),
                  program.holds.begin() + static_cast<std::ptrdiff_t>(lock.span.end) + 1,
                  lock.mode);
      }
      ++given_;
      break;
    case ErrorCode::kLockConflict: break;
    case ErrorCode::kInterrupted: ++interrupted_; break;
    case ErrorCode::kDeadlock:
      ++deadlocks_;
      release(program);
      break;
    default: ADD_FAILURE() << error_code_name(code);
  }
}

void LockChaos::run(std::uint64_t seed, const Trouble& trouble) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  trouble_ = trouble;
  start(seed);
  const InodeId file = make_file();
  for (std::size_t i = 0; i < kClients * 2; ++i) {
    const std::size_t index = i % kClients;
    const client::HandleId handle = open(index, file);
    for (std::uint64_t thread = 0; thread < trouble.threads; ++thread) {
      programs_.push_back(std::make_unique<Program>());
      programs_.back()->client = index;
      programs_.back()->owner = 1000 + i;
      programs_.back()->handle = handle;
    }
  }
  if (trouble.network) {
    SimNetworkFaults faults;
    faults.loss_per_million = 30'000;
    faults.duplicate_per_million = 100'000;
    faults.reorder_per_million = 100'000;
    faults.late_max = seconds(3);
    network_->set_faults(faults);
  }
  const auto is_done = [&] {
    return std::all_of(programs_.begin(), programs_.end(),
                       [](const auto& each) { return each->is_done; });
  };
  const MonoTime limit = events_->now() + minutes(120);
  while (!is_done() && events_->now() < limit) {
    for (const auto& program : programs_) {
      if (program->is_done || random_->below(3) == 0) {
        continue;
      }
      if (!program->is_busy) {
        step(*program);
      } else if (trouble.interrupts && random_->below(8) == 0) {
        client(program->client).interrupt(program->operation);
      }
    }
    if (trouble.restarts && random_->below(60) == 0) {
      master_->kill();
      master_->reap();
      events_->run_for(milliseconds(random_->below(4000)));
      master_->start();
    }
    events_->run_for(milliseconds(random_->below(random_->below(20) == 0 ? 3000 : 20)));
  }
  EXPECT_TRUE(is_done()) << "somebody waits for ever";
  network_->set_faults({});
  events_->run_for(seconds(30));
  const client::HandleId handle = open(0, file);
  client::FileLock everything;
  everything.mode = LockMode::kExclusive;
  everything.owner = 1;
  EXPECT_EQ(lock(0, handle, everything), ErrorCode::kOk) << "something is left locked";
  stop();
}

TEST_F(LockChaos, on_a_good_network) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    run(seed, {});
  }
  EXPECT_GT(given_, 1000u);
  EXPECT_GT(deadlocks_, 10u);
}

TEST_F(LockChaos, on_a_bad_network) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(seed, {.network = true});
  }
}

TEST_F(LockChaos, with_interrupts) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(seed, {.network = true, .interrupts = true});
  }
  EXPECT_GT(interrupted_, 100u);
}

TEST_F(LockChaos, with_restarts_of_the_master) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(seed, {.network = true, .restarts = true, .interrupts = true});
  }
}

TEST_F(LockChaos, with_threads_that_share_what_they_lock) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    run(seed, {.network = true, .restarts = seed % 2 == 0, .interrupts = true, .threads = 2});
  }
}

// The client is cut off for longer than its session lives.
void LockChaos::session_loss(LockKind kind) {
  start(1);
  const InodeId file = make_file();
  const client::HandleId mine = open(0, file);
  const client::HandleId theirs = open(1, file);
  const client::FileLock wanted{.kind = kind, .mode = LockMode::kExclusive, .owner = 7};
  EXPECT_EQ(lock(0, mine, wanted), ErrorCode::kOk);
  EXPECT_EQ(lock(1, theirs, wanted), ErrorCode::kLockConflict);
  network_->partition("client0", "master");
  EXPECT_EQ(lock(1, theirs, wanted, true), ErrorCode::kOk);  // once the session is over
  network_->heal_all();
  events_->run_for(seconds(20));
  EXPECT_TRUE(clients_[0]->log().contains("A lock is lost"));
  client::FileLock unlock = wanted;
  unlock.mode = LockMode::kNone;
  EXPECT_EQ(lock(0, mine, unlock), ErrorCode::kIo);  // it was not protected
  EXPECT_EQ(lock(0, mine, unlock), ErrorCode::kOk);
  EXPECT_EQ(lock(0, mine, wanted), ErrorCode::kLockConflict);
  client(1).release(theirs);
  EXPECT_EQ(lock(0, mine, wanted, true), ErrorCode::kOk);
  stop();
}

TEST_F(LockChaos, a_lost_range_lock_is_told_once) { session_loss(LockKind::kRange); }
TEST_F(LockChaos, a_lost_flock_is_told_once) { session_loss(LockKind::kFlock); }

TEST_F(LockChaos, a_call_that_waits_outlives_a_lost_session) {
  start(1);
  const InodeId file = make_file();
  const client::HandleId mine = open(0, file);
  const client::HandleId theirs = open(1, file);
  const client::FileLock wanted{.mode = LockMode::kExclusive, .owner = 7};
  EXPECT_EQ(lock(1, theirs, wanted), ErrorCode::kOk);
  std::optional<ErrorCode> code;
  client(0).set_lock(mine, wanted, true, [&](const Result<Unit>& got) { code = got.code(); });
  events_->run_for(seconds(1));
  network_->partition("client0", "master");
  events_->run_for(seconds(60));
  network_->heal_all();
  events_->run_for(seconds(20));
  EXPECT_FALSE(code);
  client(1).release(theirs);
  EXPECT_TRUE(run_until([&] { return code.has_value(); }, seconds(10)));
  EXPECT_EQ(code, ErrorCode::kOk);
  stop();
}

TEST_F(LockChaos, what_was_locked_through_a_handle_goes_with_it) {
  start(1);
  const InodeId file = make_file();
  const client::HandleId mine = open(0, file);
  const client::HandleId kept = open(0, file);
  const client::HandleId theirs = open(1, file);
  const client::FileLock first{.mode = LockMode::kExclusive, .span = {0, 9}, .owner = 7};
  const client::FileLock second{.mode = LockMode::kExclusive, .span = {10, 19}, .owner = 8};
  EXPECT_EQ(lock(0, mine, first), ErrorCode::kOk);
  EXPECT_EQ(lock(0, kept, second), ErrorCode::kOk);
  client(0).release(mine);
  EXPECT_EQ(lock(1, theirs, first, true), ErrorCode::kOk);
  EXPECT_EQ(lock(1, theirs, second), ErrorCode::kLockConflict);
  stop();
}

}  // namespace
}  // namespace dfs::sim
