#include "fuse-client/fuse/own_cuts.h"

#include <gtest/gtest.h>

#include "tests/sim/sim_scheduler.h"
#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr InodeId kFile{7}, kOther{8};
constexpr pid_t kCutter = 100, kReader = 101, kUnseen = 0;
constexpr std::chrono::microseconds kMoment{1000};

class OwnCutsTest : public testing::Test {
 protected:
  bool holds(InodeId file, FileEnd end) {
    return cuts.holds(file, end, [this] { ++restarts; });
  }
  void run_for(Duration duration) {
    bool is_over = false;
    scheduler.run_after(duration, [&] { scheduler.post([&] { is_over = true; }); });
    while (!is_over && events.run_one()) {
    }
  }

  sim::SimEvents events;
  sim::SimScheduler scheduler{events};
  OwnCuts cuts{scheduler};
  int restarts = 0;
};

TEST_F(OwnCutsTest, nothing_is_held_of_what_is_not_cut) {
  EXPECT_FALSE(holds(kFile, end_at(10)));
  cuts.begin(kOther, 10, kCutter);
  EXPECT_FALSE(holds(kFile, end_at(10)));
}

TEST_F(OwnCutsTest, while_it_is_under_way_only_answers_that_tell_of_it_are_held) {
  const std::uint64_t cut = cuts.begin(kFile, 10, kCutter);
  EXPECT_FALSE(holds(kFile, end_at(9)));
  EXPECT_FALSE(holds(kFile, end_at(11)));
  EXPECT_FALSE(holds(kFile, end_of_read(8, 3)));
  EXPECT_FALSE(holds(kFile, end_of_read(9, 0)));
  EXPECT_TRUE(holds(kFile, end_at(10)));
  EXPECT_TRUE(holds(kFile, end_of_read(8, 2)));
  EXPECT_TRUE(holds(kFile, end_of_read(10, 0)));
  EXPECT_TRUE(holds(kFile, end_of_read(4096, 0)));
  cuts.answered(kFile, cut);
  run_for(OwnCuts::kLookTime - kMoment);
  EXPECT_EQ(restarts, 0);
  run_for(kMoment);
  EXPECT_EQ(restarts, 4);
  run_for(OwnCuts::kCutWait);
  EXPECT_EQ(restarts, 4);
}

TEST_F(OwnCutsTest, just_after_it_was_answered_all_that_tell_of_an_end_are_held) {
  cuts.answered(kFile, cuts.begin(kFile, 10, kCutter));
  EXPECT_TRUE(holds(kFile, end_at(12)));  // who wrote meanwhile
  run_for(OwnCuts::kLookTime);
  EXPECT_EQ(restarts, 1);
  EXPECT_FALSE(holds(kFile, end_at(10)));
  EXPECT_EQ(cuts.cuts(), 0u);
}

TEST_F(OwnCutsTest, the_thread_that_cut_it_has_looked_at_the_answer_when_it_asks_for_more) {
  const std::uint64_t cut = cuts.begin(kFile, 10, kCutter);
  cuts.asks(kCutter);
  EXPECT_TRUE(holds(kFile, end_at(10)));
  cuts.answered(kFile, cut);
  cuts.asks(kReader);
  EXPECT_TRUE(holds(kFile, end_at(10)));
  cuts.asks(kCutter);
  EXPECT_FALSE(holds(kFile, end_at(10)));
  EXPECT_EQ(restarts, 0);  // not inside
  run_for(kMoment);
  EXPECT_EQ(restarts, 2);
  run_for(OwnCuts::kCutWait);
  EXPECT_EQ(restarts, 2);
}

TEST_F(OwnCutsTest, a_thread_that_cannot_be_seen_may_be_any) {
  cuts.answered(kFile, cuts.begin(kFile, 10, kUnseen));
  cuts.asks(kUnseen);
  EXPECT_TRUE(holds(kFile, end_at(10)));
}

TEST_F(OwnCutsTest, after_it_was_cut_a_size_that_a_write_makes_is_held_too) {
  EXPECT_EQ(cuts.begin_write(kFile, 20, kCutter), 0u);
  EXPECT_FALSE(holds(kFile, end_at(20)));
  cuts.answered(kFile, cuts.begin(kFile, 10, kCutter));
  cuts.asks(kCutter);
  const std::uint64_t write = cuts.begin_write(kFile, 20, kCutter);
  EXPECT_FALSE(holds(kFile, end_at(10)));
  EXPECT_FALSE(holds(kFile, end_of_read(0, 20)));  // the kernel lets nobody see what is behind
  EXPECT_TRUE(holds(kFile, end_at(20)));
  cuts.answered(kFile, write);
  EXPECT_TRUE(holds(kFile, end_at(20)));
  EXPECT_FALSE(holds(kFile, end_at(10)));
  run_for(OwnCuts::kLookTime);
  EXPECT_EQ(restarts, 2);
  EXPECT_FALSE(holds(kFile, end_at(20)));
  run_for(OwnCuts::kCutTime);
  EXPECT_EQ(cuts.begin_write(kFile, 20, kCutter), 0u);
}

TEST_F(OwnCutsTest, one_that_is_not_answered_is_not_waited_for_long) {
  const std::uint64_t cut = cuts.begin(kFile, 10, kCutter);
  EXPECT_TRUE(holds(kFile, end_at(10)));
  run_for(OwnCuts::kCutWait - kMoment);
  EXPECT_EQ(restarts, 0);
  run_for(kMoment);
  EXPECT_EQ(restarts, 1);
  cuts.answered(kFile, cut);
  run_for(OwnCuts::kLookTime);
  EXPECT_EQ(restarts, 1);
}

TEST_F(OwnCutsTest, the_newest_of_several_is_waited_for) {
  const std::uint64_t first = cuts.begin(kFile, 10, kCutter);
  const std::uint64_t second = cuts.begin(kFile, 10, kCutter);
  cuts.answered(kFile, first);
  EXPECT_TRUE(holds(kFile, end_at(10)));
  run_for(OwnCuts::kLookTime);
  EXPECT_EQ(restarts, 0);
  cuts.answered(kFile, second);
  run_for(OwnCuts::kLookTime);
  EXPECT_EQ(restarts, 1);
}

TEST_F(OwnCutsTest, of_those_beyond_the_limit_nothing_is_known) {
  std::vector<std::uint64_t> numbers;
  for (std::size_t i = 0; i < OwnCuts::kCutsMax; ++i) {
    numbers.push_back(cuts.begin(kOther, i, kCutter));
  }
  const std::uint64_t beyond = cuts.begin(kFile, 10, kCutter);
  EXPECT_EQ(cuts.cuts(), OwnCuts::kCutsMax);
  EXPECT_FALSE(holds(kFile, end_at(10)));
  cuts.answered(kFile, beyond);
  for (const std::uint64_t number : numbers) {
    cuts.answered(kOther, number);
  }
  run_for(OwnCuts::kLookTime + kMoment);
  EXPECT_EQ(cuts.cuts(), 0u);
  cuts.begin(kFile, 10, kCutter);
  EXPECT_TRUE(holds(kFile, end_at(10)));
}

TEST_F(OwnCutsTest, nothing_runs_when_it_is_gone) {
  auto gone = std::make_unique<OwnCuts>(scheduler);
  const std::uint64_t cut = gone->begin(kFile, 10, kCutter);
  const auto again = [this] { ++restarts; };
  EXPECT_TRUE(gone->holds(kFile, end_at(10), again));
  gone->answered(kFile, cut);
  gone.reset();
  run_for(OwnCuts::kCutWait);
  EXPECT_EQ(restarts, 0);
}

// --- What is answered ----------------------------------------------------------------------------

// Of a file of ten bytes, which one thread cuts and another one uses.
class UsingCutFilesTest : public FuseRig {
 protected:
  void SetUp() override {
    start();
    file = create(FUSE_ROOT_ID, "f");
    EXPECT_EQ(write(file, 0, "0123456789"), 0);
  }
  void TearDown() override {
    run_for(std::chrono::seconds(1));
    release(file);
  }

  std::uint64_t send_cut(std::uint64_t size) {
    kernel->pid = kCutter;
    fuse_setattr_in in{};
    in.valid = FATTR_SIZE;
    in.size = size;
    const std::uint64_t request = kernel->send(FUSE_SETATTR, file.inode, raw(in));
    kernel->pid = kReader;
    return request;
  }
  std::uint64_t send_read(std::uint32_t size) {
    fuse_read_in in{};
    in.fh = file.handle;
    in.size = size;
    return kernel->send(FUSE_READ, file.inode, raw(in));
  }
  std::uint64_t send_stat() {
    return kernel->send(FUSE_GETATTR, file.inode, raw(fuse_getattr_in{}));
  }
  // How long that took.
  Duration wait_for(std::uint64_t request) {
    const MonoTime begin = events.now();
    EXPECT_TRUE(run_until([&] { return (answer = kernel->answer(request)).has_value(); }));
    return events.now() - begin;
  }

  Opened file;
  std::optional<Answer> answer;
};

TEST_F(UsingCutFilesTest, a_read_to_the_new_end_is_answered_when_the_kernel_knows_of_that) {
  wait_for(send_cut(4));
  EXPECT_GE(wait_for(send_read(4096)), OwnCuts::kLookTime);
  EXPECT_EQ(answer->bytes, "0123");
  EXPECT_LT(wait_for(send_read(4096)), kMoment);
}

TEST_F(UsingCutFilesTest, what_was_written_while_a_read_waited_is_read) {
  wait_for(send_cut(4));
  const std::uint64_t waiting = send_read(4096);
  EXPECT_EQ(write(file, 4, "abc"), 0);
  wait_for(waiting);
  EXPECT_EQ(answer->bytes, "0123abc");
}

TEST_F(UsingCutFilesTest, other_reads_do_not_wait) {
  wait_for(send_cut(4));
  EXPECT_LT(wait_for(send_read(4)), kMoment);
  EXPECT_EQ(answer->bytes, "0123");
}

TEST_F(UsingCutFilesTest, nobody_waits_when_the_thread_that_cut_it_has_asked_for_more) {
  wait_for(send_cut(4));
  const std::uint64_t held = send_read(4096);
  run_for(kMoment / 2);
  EXPECT_FALSE(kernel->answer(held));
  kernel->pid = kCutter;
  EXPECT_LT(wait_for(send_read(4096)), kMoment / 2);
  EXPECT_EQ(answer->bytes, "0123");
  EXPECT_LT(wait_for(held), kMoment / 2);
}

TEST_F(UsingCutFilesTest, nobody_is_told_the_new_size_before_the_kernel_knows_it) {
  wait_for(send_cut(4));
  EXPECT_GE(wait_for(send_stat()), OwnCuts::kLookTime);
  EXPECT_EQ(answer->at<fuse_attr_out>().attr.size, 4u);
  EXPECT_LT(wait_for(send_stat()), kMoment);
}

TEST_F(UsingCutFilesTest, what_a_write_has_made_longer_is_told_when_the_kernel_knows_that) {
  EXPECT_EQ(write(file, 10, "ab"), 0);
  EXPECT_LT(wait_for(send_stat()), kMoment);  // it was never cut
  wait_for(send_cut(4));
  run_for(OwnCuts::kLookTime);
  kernel->pid = kCutter;
  EXPECT_EQ(write(file, 4, "abc"), 0);
  kernel->pid = kReader;
  EXPECT_GE(wait_for(send_stat()), OwnCuts::kLookTime);
  EXPECT_EQ(answer->at<fuse_attr_out>().attr.size, 7u);
  kernel->pid = kCutter;
  EXPECT_EQ(write(file, 7, "d"), 0);
  EXPECT_LT(wait_for(send_stat()), kMoment);
  EXPECT_EQ(answer->at<fuse_attr_out>().attr.size, 8u);
}

TEST_F(UsingCutFilesTest, a_file_that_is_opened_for_truncation_is_cut) {
  kernel->pid = kCutter;
  const Opened again = open(file.inode, O_WRONLY | O_TRUNC);
  kernel->pid = kReader;
  EXPECT_GE(wait_for(send_read(4096)), OwnCuts::kLookTime);
  EXPECT_EQ(answer->bytes, "");
  release(again);
}

TEST_F(UsingCutFilesTest, a_truncation_that_was_not_made_yet_holds_nothing) {
  master->pause();
  const std::uint64_t cut = send_cut(12);
  EXPECT_LT(wait_for(send_read(4096)), kMoment);
  EXPECT_EQ(answer->bytes, "0123456789");
  EXPECT_LT(wait_for(send_stat()), kMoment);
  EXPECT_EQ(answer->at<fuse_attr_out>().attr.size, 10u);
  EXPECT_FALSE(kernel->answer(cut));
  master->resume();
  wait_for(cut);
}

// What others wait for may be the page of the read, and the truncation for them.
TEST_F(UsingCutFilesTest, a_truncation_that_is_not_answered_is_not_waited_for_long) {
  master->pause();
  const std::uint64_t cut = send_cut(10);
  const Duration took = wait_for(send_read(4096));
  EXPECT_GE(took, OwnCuts::kCutWait);
  EXPECT_LE(took, OwnCuts::kRestartsMax * OwnCuts::kCutWait + kMoment);
  EXPECT_EQ(answer->bytes, "0123456789");
  EXPECT_FALSE(kernel->answer(cut));
  master->resume();
  wait_for(cut);
}

TEST_F(UsingCutFilesTest, who_reads_gets_on_where_truncations_follow_each_other_without_end) {
  constexpr int kCuts = 100;
  const InodeId inode = server->from_kernel(file.inode);
  for (int i = 0; i < kCuts; ++i) {
    scheduler.run_after(i * kMoment, [this, inode] {
      server->own_cuts().answered(inode, server->own_cuts().begin(inode, 10, kCutter));
    });
  }
  const Duration limit = OwnCuts::kRestartsMax * (OwnCuts::kLookTime + kMoment);
  const Duration took = wait_for(send_read(4096));
  EXPECT_GE(took, OwnCuts::kRestartsMax * OwnCuts::kLookTime);
  EXPECT_LE(took, limit);
  EXPECT_EQ(answer->bytes, "0123456789");
  EXPECT_LE(wait_for(send_stat()), limit);
}

TEST_F(UsingCutFilesTest, an_interrupted_read_that_is_held_is_answered) {
  wait_for(send_cut(4));
  const std::uint64_t held = send_read(4096);
  run_for(kMoment);
  EXPECT_FALSE(kernel->answer(held));
  fuse_interrupt_in interrupt{};
  interrupt.unique = held;
  kernel->send(FUSE_INTERRUPT, 0, raw(interrupt));
  EXPECT_LT(wait_for(held), std::chrono::seconds(1));
}

}  // namespace
}  // namespace dfs::fuse
