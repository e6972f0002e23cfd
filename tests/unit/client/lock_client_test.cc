// LockClient against a master that answers when the test wants.
#include "fuse-client/core/lock_client.h"

#include <string>

#include "proto/lock_messages.h"
#include "tests/unit/client/master_link_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr LockMode kNone = LockMode::kNone;
constexpr LockMode kShared = LockMode::kShared;
constexpr LockMode kExclusive = LockMode::kExclusive;
constexpr InodeId kInode{9};

class LockClientTest : public MasterLinkTest {
 protected:
  void SetUp() override {
    on_other_ = [this](const RpcRequest& request) { return take(request); };
    link_.on_must_tell([this] { locks_.tell_all(); });
    start();
  }

  bool take(const RpcRequest& request) {
    const ReplyAddress to = request.reply_address();
    switch (request.envelope.type) {
      case MessageType::kSetLock: {
        const auto body = decode_body<SetLockRequest>(request.body);
        const bool is_new = sets_.empty() || sets_.back().number < body->number;
        if (!is_new || (is_restarted_ && claims_.empty())) {
          return true;  // a repetition, or from before the restart
        }
        sets_.push_back(*body);
        addresses_.push_back(to);
        if (answers_at_once_) {
          answer(sets_.size() - 1);
        }
        return true;
      }
      case MessageType::kAwaitLocks:
        awaits_.push_back(*decode_body<AwaitLocksRequest>(request.body));
        await_address_ = to;
        return true;
      case MessageType::kReclaimLocks:
        claims_.push_back(*decode_body<ReclaimLocksRequest>(request.body));
        if (answers_claims_) {
          server_->reply(to, ReclaimLocksReply{refused_});
        }
        return true;
      default: return false;
    }
  }
  void answer(std::size_t index, ErrorCode code = ErrorCode::kOk, bool waits = false) {
    server_->reply(addresses_.at(index), SetLockReply{static_cast<std::uint16_t>(code), waits});
  }
  void tell_turn(std::vector<std::uint64_t> ready) {
    server_->reply(await_address_, AwaitLocksReply{std::move(ready)});
  }
  static LockHolder holder(std::uint64_t owner = 5, LockKind kind = LockKind::kRange) {
    return {.file = {.inode = kInode, .kind = kind}, .owner = owner};
  }
  // A call; how it ends is in codes_, in order of the ends.
  LockOpId set(LockMode mode, LockSpan span = {}, bool wait = false, LockHolder who = holder(),
               HandleId handle = HandleId{1}) {
    return locks_.set({.holder = who, .span = span, .mode = mode, .handle = handle, .pid = 42},
                      wait, [this](Result<Unit> result) { codes_.push_back(result.code()); });
  }
  void settle() { events_.run_for(milliseconds(5)); }
  // Takes a lock at once.
  void hold(LockMode mode, LockSpan span = {}, LockHolder who = holder()) {
    const bool before = std::exchange(answers_at_once_, true);
    set(mode, span, false, who);
    ASSERT_TRUE(answered(1));
    answers_at_once_ = before;
    codes_.clear();
    sets_.clear();
    addresses_.clear();
  }
  // The newest SetLock, as "r 0-9".
  std::string last() const {
    if (sets_.empty()) {
      return "";
    }
    const SetLockRequest& set = sets_.back();
    return std::string(1, "-rw"[set.mode]) + " " + std::to_string(set.start) + "-" +
           std::to_string(set.end);
  }
  std::vector<LockRange> held(LockHolder who = holder()) { return locks_.held().ranges(who).all(); }
  void restart_master() {
    kill_master();
    sets_.clear();
    addresses_.clear();
    is_restarted_ = true;
    start_master(incarnation_ + 1);
    ASSERT_TRUE(run_until([&] { return !claims_.empty(); }));
  }

  LockClient locks_{host_.world(), link_};
  bool answers_at_once_ = false;
  bool answers_claims_ = true;
  bool is_restarted_ = false;
  std::vector<std::uint32_t> refused_;
  std::vector<SetLockRequest> sets_;
  std::vector<ReplyAddress> addresses_;
  std::vector<AwaitLocksRequest> awaits_;
  ReplyAddress await_address_;
  std::vector<ReclaimLocksRequest> claims_;
};

TEST_F(LockClientTest, what_is_not_held_is_unlocked_without_the_master) {
  set(kNone);
  EXPECT_TRUE(codes_.empty());  // never inside the call
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kOk);
  EXPECT_TRUE(sets_.empty());
  EXPECT_FALSE(locks_.has_range_locks(kInode, 5));
}

TEST_F(LockClientTest, numbers_rise_and_settle_once_all_before_are_answered) {
  set(kShared, {0, 0});
  set(kShared, {2, 2});
  settle();
  ASSERT_EQ(sets_.size(), 2u);
  EXPECT_EQ(sets_[1].settled, 0u);
  answer(1);
  settle();
  set(kShared, {4, 4});
  settle();
  EXPECT_EQ(sets_[2].settled, 0u);
  answer(0);
  settle();
  set(kShared, {6, 6});
  settle();
  EXPECT_EQ(sets_[3].number, 4u);
  EXPECT_EQ(sets_[3].settled, 2u);
}

TEST_F(LockClientTest, one_owner_asks_for_the_same_bytes_one_after_the_other) {
  set(kExclusive, {0, 9});
  set(kNone, {5, 20});
  set(kShared, {30, 39});
  set(kExclusive, {5, 5}, false, holder(6));
  settle();
  ASSERT_EQ(sets_.size(), 3u);
  EXPECT_EQ(sets_[0].end, 9u);
  EXPECT_EQ(sets_[1].start, 30u);
  EXPECT_EQ(sets_[2].owner, 6u);
  answer(0);
  settle();
  EXPECT_EQ(last(), "- 5-20");
}

TEST_F(LockClientTest, no_more_are_under_way_than_the_master_remembers) {
  for (std::uint64_t i = 0; i < kLockCallsMax + 50; ++i) {
    set(kShared, {2 * i, 2 * i});
  }
  settle();
  EXPECT_EQ(sets_.size(), kLockCallsMax);
  answer(5);  // not the oldest
  settle();
  EXPECT_EQ(sets_.size(), kLockCallsMax);
  answer(0);
  settle();
  EXPECT_EQ(sets_.size(), kLockCallsMax + 1);
}

TEST_F(LockClientTest, calls_are_bounded) {
  for (std::size_t i = 0; i < kLockOpsMax; ++i) {
    set(kShared, {2 * i, 2 * i});
  }
  set(kShared, {1, 1});
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kTooManyLocks);
}

TEST_F(LockClientTest, a_waiter_asks_again_when_it_is_its_turn) {
  set(kExclusive, {}, true);
  settle();
  answer(0, ErrorCode::kOk, true);
  settle();
  ASSERT_EQ(awaits_.size(), 1u);
  EXPECT_EQ(awaits_[0].waits, std::vector{sets_[0].wait});
  EXPECT_TRUE(codes_.empty());
  EXPECT_TRUE(held().empty());
  tell_turn(awaits_[0].waits);
  settle();
  ASSERT_EQ(sets_.size(), 2u);
  EXPECT_EQ(sets_[1].wait, sets_[0].wait);
  answer(1);
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kOk);
  EXPECT_EQ(held(), (std::vector<LockRange>{{{}, kExclusive}}));
}

TEST_F(LockClientTest, one_question_is_under_way_for_all_waits) {
  for (std::uint64_t owner = 1; owner <= 3; ++owner) {
    set(kExclusive, {}, true, holder(owner));
    settle();
    answer(owner - 1, ErrorCode::kOk, true);
    settle();
  }
  EXPECT_EQ(awaits_.back().waits.size(), 3u);
  tell_turn({sets_[1].wait});
  settle();
  EXPECT_EQ(awaits_.back().waits.size(), 2u);
  EXPECT_EQ(awaits_.back().asking, std::vector{sets_[1].wait});  // its place is to be kept
}

TEST_F(LockClientTest, an_interrupted_wait_ends_at_once_and_the_master_is_told) {
  const LockOpId id = set(kExclusive, {}, true);
  settle();
  answer(0, ErrorCode::kOk, true);
  settle();
  locks_.interrupt(id);
  settle();
  EXPECT_EQ(codes_, std::vector{ErrorCode::kInterrupted});
  EXPECT_TRUE(awaits_.back().waits.empty());
  EXPECT_EQ(awaits_.back().newest, 1u);
}

TEST_F(LockClientTest, an_interrupted_call_under_way_is_given_if_the_answer_comes_soon) {
  const LockOpId id = set(kExclusive, {}, true);
  settle();
  locks_.interrupt(id);
  settle();
  EXPECT_TRUE(codes_.empty());
  answer(0);
  settle();
  EXPECT_EQ(codes_, std::vector{ErrorCode::kOk});
}

TEST_F(LockClientTest, an_interrupted_call_that_comes_to_wait_ends) {
  const LockOpId id = set(kExclusive, {}, true);
  settle();
  locks_.interrupt(id);
  answer(0, ErrorCode::kOk, true);
  settle();
  EXPECT_EQ(codes_, std::vector{ErrorCode::kInterrupted});
  ASSERT_FALSE(awaits_.empty());
  EXPECT_TRUE(awaits_.back().waits.empty());
}

TEST_F(LockClientTest, a_lock_given_after_its_caller_was_sent_away_is_put_back) {
  hold(kShared, {10, 19});
  const LockOpId id = set(kExclusive, {0, 29}, true);
  settle();
  locks_.interrupt(id);
  events_.run_for(kAnswerPatience + milliseconds(5));
  EXPECT_EQ(codes_, std::vector{ErrorCode::kInterrupted});
  set(kNone, {12, 12});  // comes behind all of it
  settle();
  ASSERT_EQ(sets_.size(), 1u);
  answer(0);
  std::vector<std::string> steps;
  for (std::size_t i = 1; i <= 4; ++i) {
    settle();
    ASSERT_EQ(sets_.size(), i + 1);
    steps.push_back(last());
    answer(i);
  }
  settle();
  EXPECT_EQ(steps, (std::vector<std::string>{"- 20-29", "r 10-19", "- 0-9", "- 12-12"}));
  EXPECT_EQ(held(), (std::vector<LockRange>{{{10, 11}, kShared}, {{13, 19}, kShared}}));
  EXPECT_EQ(locks_.calls_pending(), 0u);
}

TEST_F(LockClientTest, a_call_that_also_makes_a_lock_weaker_is_not_given_up) {
  hold(kExclusive, {0, 9});
  const LockOpId id = set(kShared, {0, 19}, true);
  settle();
  locks_.interrupt(id);
  events_.run_for(2 * kAnswerPatience);
  EXPECT_TRUE(codes_.empty());
  answer(0);
  settle();
  EXPECT_EQ(codes_, std::vector{ErrorCode::kOk});
  EXPECT_EQ(held(), (std::vector<LockRange>{{{0, 19}, kShared}}));
}

TEST_F(LockClientTest, an_flock_whose_change_was_given_up_is_gone) {
  const LockHolder file = holder(8, LockKind::kFlock);
  hold(kShared, {}, file);
  const LockOpId id = set(kExclusive, {}, true, file);
  settle();
  locks_.interrupt(id);
  events_.run_for(kAnswerPatience + milliseconds(5));
  EXPECT_EQ(codes_, std::vector{ErrorCode::kInterrupted});
  answer(0);
  settle();
  EXPECT_EQ(last(), "- 0-" + std::to_string(kLockOffsetMax));
  answer(1);
  settle();
  EXPECT_TRUE(held(file).empty());
}

TEST_F(LockClientTest, an_interrupted_unlock_succeeds_and_goes_on) {
  hold(kExclusive);
  const LockOpId id = set(kNone);
  settle();
  locks_.interrupt(id);
  events_.run_for(kAnswerPatience + milliseconds(5));
  EXPECT_EQ(codes_, std::vector{ErrorCode::kOk});
  set(kExclusive, {}, false, holder(6));  // must find it free
  settle();
  EXPECT_EQ(sets_.size(), 1u);
  answer(0);
  settle();
  EXPECT_EQ(sets_.size(), 2u);
  EXPECT_TRUE(held().empty());
}

TEST_F(LockClientTest, an_unlock_that_fails_is_tried_again) {
  hold(kExclusive);
  set(kNone);
  settle();
  server_->fail(addresses_[0], make_error(ErrorCode::kIo));
  events_.run_for(kUnlockRetryDelay + milliseconds(5));
  ASSERT_EQ(sets_.size(), 2u);
  EXPECT_TRUE(codes_.empty());
  answer(1);
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kOk);
}

TEST_F(LockClientTest, a_lock_that_failed_for_unknown_reasons_is_given_up) {
  set(kExclusive);
  settle();
  server_->fail(addresses_[0], make_error(ErrorCode::kIo));
  settle();
  EXPECT_EQ(codes_, std::vector{ErrorCode::kIo});
  ASSERT_EQ(sets_.size(), 2u);
  EXPECT_EQ(sets_[1].mode, 0u);
}

TEST_F(LockClientTest, a_released_handle_gives_up_what_was_locked_through_it) {
  hold(kExclusive, {0, 9});
  hold(kExclusive, {}, holder(8, LockKind::kFlock));
  locks_.handle_released(kInode, HandleId{2});
  settle();
  EXPECT_TRUE(sets_.empty());
  locks_.handle_released(kInode, HandleId{1});
  settle();
  ASSERT_EQ(sets_.size(), 2u);
  EXPECT_EQ(sets_[0].owner, 5u);
  EXPECT_EQ(sets_[1].owner, 8u);
  EXPECT_EQ(sets_[1].kind, 1u);
}

TEST_F(LockClientTest, a_number_the_kernel_gave_to_another_open_file_keeps_its_locks) {
  answers_at_once_ = true;
  set(kShared, {0, 9}, false, holder(), HandleId{1});
  set(kShared, {5, 19}, false, holder(), HandleId{2});
  ASSERT_TRUE(answered(2));
  locks_.handle_released(kInode, HandleId{1});
  settle();
  EXPECT_EQ(held(), (std::vector<LockRange>{{{5, 19}, kShared}}));
  locks_.handle_released(kInode, HandleId{2});
  settle();
  EXPECT_TRUE(locks_.held().empty());
}

TEST_F(LockClientTest, a_restarted_master_is_told_what_is_held_and_nothing_is_asked_before) {
  hold(kShared, {0, 9});
  hold(kExclusive, {}, holder(8, LockKind::kFlock));
  answers_claims_ = false;
  restart_master();
  ASSERT_EQ(claims_[0].claims.size(), 2u);
  EXPECT_EQ(claims_[0].incarnation, incarnation_);
  EXPECT_EQ(claims_[0].settled, 2u);
  EXPECT_EQ(claims_[0].claims[0].end, 9u);
  EXPECT_EQ(claims_[0].claims[1].kind, 1u);
  set(kExclusive, {20, 20});
  settle();
  EXPECT_TRUE(sets_.empty());
  answers_claims_ = true;
  ASSERT_TRUE(run_until([&] { return !sets_.empty(); }));  // RPC repeats the claims
}

TEST_F(LockClientTest, a_client_without_locks_says_so_to_a_restarted_master) {
  restart_master();
  EXPECT_TRUE(claims_[0].claims.empty());
}

TEST_F(LockClientTest, what_a_call_under_way_may_have_ended_is_not_claimed) {
  hold(kExclusive, {0, 99});
  set(kNone, {10, 19});
  set(kShared, {50, 59});
  settle();
  EXPECT_EQ(sets_.size(), 2u);
  restart_master();
  std::vector<std::string> claimed;
  for (const LockClaim& claim : claims_[0].claims) {
    claimed.push_back(std::string(1, "-rw"[claim.mode]) + std::to_string(claim.start));
  }
  EXPECT_EQ(claimed, (std::vector<std::string>{"w0", "w20", "r50", "w60"}));
  ASSERT_TRUE(run_until([&] { return sets_.size() == 2; }));
  EXPECT_GT(sets_[0].number, claims_[0].settled);
  answer(0);
  answer(1);
  EXPECT_TRUE(answered(2));
}

TEST_F(LockClientTest, a_wait_goes_on_at_a_restarted_master) {
  set(kExclusive, {}, true);
  settle();
  answer(0, ErrorCode::kOk, true);
  settle();
  restart_master();
  ASSERT_TRUE(run_until([&] { return sets_.size() == 1; }));
  answer(0);
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kOk);
}

TEST_F(LockClientTest, a_refused_claim_is_told_once) {
  hold(kShared, {0, 9});
  hold(kShared, {20, 29});
  refused_ = {0};
  restart_master();
  settle();
  EXPECT_TRUE(host_.log.contains("A lock is lost"));
  EXPECT_EQ(held(), (std::vector<LockRange>{{{20, 29}, kShared}}));
  answers_at_once_ = true;
  set(kShared, {40, 40});
  ASSERT_TRUE(answered(1));
  set(kShared, {40, 40});
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(codes_, (std::vector{ErrorCode::kIo, ErrorCode::kOk}));
}

TEST_F(LockClientTest, a_lost_session_is_told_to_each_holder_by_its_next_call_or_close) {
  hold(kExclusive, {0, 9});
  hold(kExclusive, {20, 29}, holder(6));
  next_session();
  answers_at_once_ = true;
  set(kNone, {20, 29}, false, holder(6));
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(codes_[0], ErrorCode::kIo);
  EXPECT_EQ(host_.log.count("A lock is lost"), 2u);
  EXPECT_TRUE(locks_.has_range_locks(kInode, 5));
  ErrorCode closed = ErrorCode::kOk;
  locks_.unlock_all(kInode, 5, [&](const Result<Unit>& result) { closed = result.code(); });
  settle();
  EXPECT_EQ(closed, ErrorCode::kIo);
  EXPECT_TRUE(locks_.held().empty());
}

}  // namespace
}  // namespace dfs::client
