// Locks over RPC: repeated, late and lost messages, waits, restarts of the master.
#include "master/core/lock_service.h"

#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint8_t kNone = 0;
constexpr std::uint8_t kExclusive = 2;
constexpr InodeId kFile{77};

class LockServiceTest : public MasterRig {
 protected:
  void SetUp() override {
    options.sessions = {.keep_alive = seconds(5), .session_timeout = seconds(20)};
    MasterRig::SetUp();
    other.open(2);
  }

  // The next SetLock of a client that has heard every answer before.
  SetLockRequest request(const TestClient& who, std::uint8_t mode, std::uint64_t wait = 0) {
    const std::uint64_t number = ++numbers_[&who];
    return {.inode = kFile,
            .kind = 0,
            .owner = 5,
            .mode = mode,
            .start = 0,
            .end = 9,
            .wait = wait,
            .number = number,
            .settled = number - 1};
  }
  static SetLockReply reply(ErrorCode code, bool waits = false) {
    return {.code = static_cast<std::uint16_t>(code), .waits = waits};
  }
  SetLockReply set(TestClient& who, std::uint8_t mode, std::uint64_t wait = 0) {
    return say(who, request(who, mode, wait));
  }
  SetLockReply say(TestClient& who, const SetLockRequest& what) {
    const auto answer = who.ask(what);
    EXPECT_TRUE(answer) << error_code_name(answer.code());
    return answer ? *answer : SetLockReply{};
  }
  // kTimedOut: it stays without an answer for a while.
  template <class Request>
  ErrorCode refusal(TestClient& who, const Request& what) {
    return who.call(what, {.timeout = seconds(1), .session = who.session}).code();
  }
  AwaitLocksRequest await(const TestClient& who, std::vector<std::uint64_t> waits) {
    return {.number = ++await_number_,
            .settled = numbers_[&who],
            .newest = numbers_[&who],
            .waits = std::move(waits),
            .asking = {}};
  }
  Answer<AwaitLocksReply> begin_await(TestClient& who, std::vector<std::uint64_t> waits) {
    return who.begin(await(who, std::move(waits)), {.session = who.session});
  }
  template <class Reply>
  bool answered(const Answer<Reply>& answer, Duration limit = seconds(10)) {
    return events.run_until([&] { return answer->has_value(); }, limit);
  }
  std::uint64_t incarnation(TestClient& who) {
    const auto alive = who.ask(KeepAliveRequest{
        .full = false, .pinned = {}, .unpinned = {}, .sequence = ++who.keep_alive_sequence});
    EXPECT_TRUE(alive);
    return alive ? alive->incarnation : 0;
  }
  Result<ReclaimLocksReply> reclaim(TestClient& who, std::vector<LockClaim> claims) {
    return who.ask(ReclaimLocksRequest{
        .incarnation = incarnation(who), .settled = numbers_[&who], .claims = std::move(claims)});
  }
  static LockClaim claim(std::uint8_t mode) {
    return {.inode = kFile, .kind = 0, .owner = 5, .mode = mode, .start = 0, .end = 9};
  }
  std::size_t locks() { return process->master->locks().table().count(); }
  void live(Duration duration, TestClient& who) {
    const MonoTime end = events.now() + duration;
    while (events.now() < end) {
      EXPECT_TRUE(who.keep_alive({}, {}));
      run_for(std::min<Duration>(seconds(5), end - events.now()));
    }
  }

  TestClient other{events, network, "other"};

 private:
  std::map<const TestClient*, std::uint64_t> numbers_;
  std::uint64_t await_number_ = 0;
};

bool operator==(const SetLockReply& left, const SetLockReply& right) {
  return left.code == right.code && left.waits == right.waits;
}

TEST_F(LockServiceTest, clients_exclude_each_other) {
  EXPECT_TRUE(set(*client, kExclusive) == reply(ErrorCode::kOk));
  EXPECT_TRUE(set(other, kExclusive) == reply(ErrorCode::kLockConflict));
  const auto test = other.ask(
      TestLockRequest{.inode = kFile, .owner = 5, .mode = kExclusive, .start = 3, .end = 100});
  ASSERT_TRUE(test);
  EXPECT_TRUE(test->is_locked);
  EXPECT_FALSE(test->is_own_session);
  EXPECT_EQ(test->end, 9u);
  EXPECT_TRUE(set(*client, kNone) == reply(ErrorCode::kOk));
  EXPECT_TRUE(set(other, kExclusive) == reply(ErrorCode::kOk));
}

TEST_F(LockServiceTest, a_repeated_request_gets_the_same_answer_and_does_nothing) {
  const SetLockRequest lock = request(*client, kExclusive);
  EXPECT_TRUE(say(*client, lock) == reply(ErrorCode::kOk));
  SetLockRequest unlock = request(*client, kNone);
  unlock.settled = 0;  // as far as the master knows, the first one is not answered
  EXPECT_TRUE(say(*client, unlock) == reply(ErrorCode::kOk));
  EXPECT_TRUE(say(*client, lock) == reply(ErrorCode::kOk));
  EXPECT_EQ(locks(), 0u);
}

TEST_F(LockServiceTest, a_late_copy_takes_no_lock) {
  const SetLockRequest lock = request(*client, kExclusive);
  say(*client, lock);
  set(*client, kNone);
  set(*client, kNone);
  EXPECT_EQ(refusal(*client, lock), ErrorCode::kSessionExpired);
  EXPECT_EQ(locks(), 0u);
}

TEST_F(LockServiceTest, what_makes_no_sense_is_refused) {
  SetLockRequest wrong = request(*client, kExclusive);
  wrong.end = ~std::uint64_t{0};
  EXPECT_TRUE(say(*client, wrong) == reply(ErrorCode::kInvalidArgument));
  wrong = request(*client, 3);
  EXPECT_TRUE(say(*client, wrong) == reply(ErrorCode::kInvalidArgument));
  wrong = request(*client, kExclusive);
  wrong.kind = 1;  // an flock of ten bytes
  EXPECT_TRUE(say(*client, wrong) == reply(ErrorCode::kInvalidArgument));
  wrong = request(*client, kExclusive);
  wrong.number += kLockCallsMax;
  EXPECT_EQ(client->ask(wrong).code(), ErrorCode::kBusy);
  EXPECT_EQ(locks(), 0u);
}

TEST_F(LockServiceTest, who_waits_is_told_and_asks_again) {
  set(*client, kExclusive);
  EXPECT_TRUE(set(other, kExclusive, 3) == reply(ErrorCode::kOk, true));
  const auto turn = begin_await(other, {3});
  EXPECT_FALSE(answered(turn, seconds(15)));  // also not when RPC repeats it
  set(*client, kNone);
  ASSERT_TRUE(answered(turn, seconds(1)));
  EXPECT_EQ((**turn)->ready, std::vector<std::uint64_t>{3});
  EXPECT_TRUE(set(*client, kExclusive) == reply(ErrorCode::kLockConflict));
  EXPECT_TRUE(set(other, kExclusive, 3) == reply(ErrorCode::kOk));
}

TEST_F(LockServiceTest, a_turn_that_came_before_the_question_is_told_at_once) {
  set(*client, kExclusive);
  set(other, kExclusive, 3);
  set(*client, kNone);
  EXPECT_TRUE(answered(begin_await(other, {3}), seconds(1)));
  EXPECT_TRUE(answered(begin_await(other, {3, 4}), seconds(1)));  // and told again
}

TEST_F(LockServiceTest, a_wait_that_is_not_named_any_more_is_over) {
  set(*client, kExclusive);
  set(other, kExclusive, 3);
  const AwaitLocksRequest first = await(other, {3});
  const auto turn = other.begin(first, {.session = other.session});
  run_for(milliseconds(10));
  EXPECT_EQ(locks(), 3u);
  EXPECT_TRUE(answered(begin_await(other, {}), seconds(1)));
  EXPECT_EQ(locks(), 1u);
  EXPECT_EQ(refusal(other, first), ErrorCode::kInterrupted);  // a late copy
  EXPECT_FALSE(turn->has_value());
}

TEST_F(LockServiceTest, a_wait_that_is_newer_than_the_question_is_not_ended_by_it) {
  set(*client, kExclusive);
  const AwaitLocksRequest before = await(other, {});
  set(other, kExclusive, 3);
  EXPECT_TRUE(other.ask(before));
  EXPECT_EQ(locks(), 3u);
}

TEST_F(LockServiceTest, a_closed_session_frees_its_locks) {
  set(*client, kExclusive);
  set(other, kExclusive, 3);
  const auto turn = begin_await(other, {3});
  EXPECT_TRUE(client->ask(CloseSessionRequest{}));
  EXPECT_TRUE(answered(turn, seconds(1)));
}

TEST_F(LockServiceTest, a_silent_session_frees_its_locks) {
  set(*client, kExclusive);
  set(other, kExclusive, 3);
  const auto turn = begin_await(other, {3});
  client->be_silent();
  live(seconds(15), other);
  EXPECT_FALSE(turn->has_value());
  live(seconds(15), other);
  EXPECT_TRUE(turn->has_value());
}

TEST_F(LockServiceTest, after_a_restart_locks_wait_until_all_have_told_theirs) {
  set(*client, kExclusive);
  restart_after_kill();
  EXPECT_EQ(refusal(other, request(other, kExclusive)),
            ErrorCode::kTimedOut);  // it has not told yet
  const auto none = reclaim(other, {});
  ASSERT_TRUE(none);
  const auto test = other.begin(
      TestLockRequest{.inode = kFile, .owner = 5, .mode = kExclusive, .start = 0, .end = 0},
      {.session = other.session});
  const auto lock = other.begin(request(other, kExclusive), {.session = other.session});
  run_for(seconds(3));
  EXPECT_FALSE(lock->has_value());
  EXPECT_FALSE(test->has_value());
  const auto told = reclaim(*client, {claim(kExclusive)});
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->refused.empty());
  ASSERT_TRUE(answered(lock, seconds(1)));
  EXPECT_TRUE(**lock && (**lock).value() == reply(ErrorCode::kLockConflict));
  ASSERT_TRUE(answered(test, seconds(1)));
  EXPECT_TRUE((**test)->is_locked);
}

TEST_F(LockServiceTest, after_a_restart_a_silent_session_is_not_waited_for_for_ever) {
  set(*client, kExclusive);
  restart_after_kill({&other});
  client->be_silent();
  ASSERT_TRUE(reclaim(other, {}));
  const auto lock = other.begin(request(other, kExclusive), {.session = other.session});
  live(seconds(15), other);
  EXPECT_FALSE(lock->has_value());
  live(seconds(15), other);
  ASSERT_TRUE(lock->has_value());
  EXPECT_TRUE(**lock && (**lock).value() == reply(ErrorCode::kOk));
}

TEST_F(LockServiceTest, after_a_restart_a_client_that_knows_no_locks_is_not_waited_for_for_ever) {
  restart_after_kill();
  ASSERT_TRUE(reclaim(other, {}));
  const auto lock = other.begin(request(other, kExclusive), {.session = other.session});
  for (int second = 0; second < 35; ++second) {
    EXPECT_TRUE(client->keep_alive({}, {}));
    EXPECT_TRUE(other.keep_alive({}, {}));
    run_for(seconds(1));
  }
  EXPECT_FALSE(lock->has_value());
  for (int second = 0; second < 10; ++second) {
    EXPECT_TRUE(client->keep_alive({}, {}));
    EXPECT_TRUE(other.keep_alive({}, {}));
    run_for(seconds(1));
  }
  EXPECT_TRUE(lock->has_value());
  const auto late = reclaim(*client, {claim(kExclusive)});
  ASSERT_TRUE(late);
  EXPECT_EQ(late->refused, std::vector<std::uint32_t>{0});
}

TEST_F(LockServiceTest, requests_kept_for_a_session_that_ends_take_no_lock) {
  restart_after_kill({&other});
  ASSERT_TRUE(reclaim(other, {}));
  const auto lock = other.begin(request(other, kExclusive), {.session = other.session});
  run_for(milliseconds(100));
  EXPECT_TRUE(other.ask(CloseSessionRequest{}));
  ASSERT_TRUE(reclaim(*client, {}));
  run_for(seconds(1));
  EXPECT_EQ(locks(), 0u);
}

TEST_F(LockServiceTest, requests_from_before_a_restart_are_refused_behind_the_claims) {
  const SetLockRequest old = request(*client, kExclusive);
  say(*client, old);
  set(*client, kNone);
  restart_after_kill();
  ASSERT_TRUE(reclaim(*client, {}));
  ASSERT_TRUE(reclaim(other, {}));
  EXPECT_EQ(refusal(*client, old), ErrorCode::kSessionExpired);
  EXPECT_EQ(locks(), 0u);
}

TEST_F(LockServiceTest, claims_count_once_and_for_one_master) {
  const ReclaimLocksRequest old{
      .incarnation = incarnation(*client), .settled = 0, .claims = {claim(kExclusive)}};
  restart_after_kill();
  EXPECT_EQ(refusal(*client, old), ErrorCode::kInvalidArgument);
  ASSERT_TRUE(reclaim(*client, {}));
  ASSERT_TRUE(reclaim(*client, {claim(kExclusive)}));
  EXPECT_EQ(locks(), 0u);
  TestClient fresh(events, network, "fresh");
  fresh.open(3);
  const auto refused = reclaim(fresh, {claim(kExclusive)});
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->refused, std::vector<std::uint32_t>{0});
}

TEST_F(LockServiceTest, a_claim_another_made_before_is_refused) {
  restart_after_kill();
  ASSERT_TRUE(reclaim(*client, {claim(kExclusive)}));
  const auto second = reclaim(other, {claim(kExclusive)});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->refused, std::vector<std::uint32_t>{0});
  EXPECT_TRUE(process->log.contains("refused"));
}

TEST_F(LockServiceTest, a_session_holds_no_more_than_its_limit) {
  SetLockRequest lock = request(*client, kExclusive);
  for (std::uint64_t i = 0; i < kLocksPerSessionMax; ++i) {
    lock.inode = InodeId{100 + i / kLocksPerFileMax};
    lock.start = lock.end = 2 * i;
    ASSERT_TRUE(say(*client, lock) == reply(ErrorCode::kOk));
    lock.settled = lock.number++;
  }
  lock.inode = InodeId{99};
  EXPECT_TRUE(say(*client, lock) == reply(ErrorCode::kTooManyLocks));
}

}  // namespace
}  // namespace dfs::master
