// Locks as the kernel asks for them.
#include <fcntl.h>

#include <cerrno>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;
constexpr std::uint64_t kLast = (std::uint64_t{1} << 63) - 1;

class FuseLocks : public FuseRig {
 protected:
  void SetUp() override {
    start();
    file_ = create(kRoot, "f");
    other_ = open(file_.inode, O_RDONLY);
  }
  std::string request(const Opened& file, std::uint64_t owner, std::uint32_t type,
                      std::uint64_t start = 0, std::uint64_t end = kLast, bool is_flock = false) {
    fuse_lk_in in{};
    in.fh = file.handle;
    in.owner = owner;
    in.lk = {.start = start, .end = end, .type = type, .pid = 4000 + static_cast<unsigned>(owner)};
    in.lk_flags = is_flock ? FUSE_LK_FLOCK : 0;
    return raw(in);
  }
  int set(const std::string& what) { return error_of(FUSE_SETLK, file_.inode, what); }
  int flock(const Opened& file, std::uint64_t owner, std::uint32_t type) {
    return set(request(file, owner, type, 0, kLast, true));
  }
  fuse_file_lock test(const std::string& what) {
    const Answer answer = call(FUSE_GETLK, file_.inode, what);
    EXPECT_EQ(answer.error, 0);
    return answer.at<fuse_lk_out>().lk;
  }
  void close(const Opened& file, std::uint64_t owner) {
    fuse_flush_in in{};
    in.fh = file.handle;
    in.lock_owner = owner;
    EXPECT_EQ(error_of(FUSE_FLUSH, file.inode, raw(in)), 0);
  }

  Opened file_;
  Opened other_;
};

TEST_F(FuseLocks, a_conflict_is_eagain_and_getlk_says_with_whom) {
  EXPECT_EQ(set(request(file_, 1, F_WRLCK, 10, kLast)), 0);
  EXPECT_EQ(set(request(other_, 2, F_RDLCK, 0, 10)), EAGAIN);
  EXPECT_EQ(set(request(other_, 2, F_RDLCK, 0, 9)), 0);
  const fuse_file_lock found = test(request(other_, 2, F_RDLCK));
  EXPECT_EQ(found.type, static_cast<std::uint32_t>(F_WRLCK));
  EXPECT_EQ(found.start, 10u);
  EXPECT_EQ(found.end, kLast);
  EXPECT_EQ(found.pid, 4001u);
  EXPECT_EQ(test(request(file_, 1, F_RDLCK)).type, static_cast<std::uint32_t>(F_UNLCK));
  EXPECT_EQ(set(request(file_, 1, F_UNLCK, 0, kLast)), 0);
  EXPECT_EQ(set(request(other_, 2, F_RDLCK, 5, kLast)), 0);
}

TEST_F(FuseLocks, a_wait_ends_by_an_unlock_or_by_an_interrupt) {
  EXPECT_EQ(set(request(file_, 1, F_WRLCK)), 0);
  const std::uint64_t second =
      kernel->send(FUSE_SETLKW, file_.inode, request(other_, 2, F_RDLCK, 0, 9));
  kernel->pid = static_cast<std::uint32_t>(getpid());  // which may have caught the signal
  const std::uint64_t third =
      kernel->send(FUSE_SETLKW, file_.inode, request(other_, 3, F_RDLCK, 0, 9));
  run_for(std::chrono::seconds(5));
  EXPECT_FALSE(kernel->answer(second));
  fuse_interrupt_in interrupt{};
  interrupt.unique = third;
  kernel->send(FUSE_INTERRUPT, 0, raw(interrupt));
  ASSERT_TRUE(run_until([&] { return kernel->answer(third).has_value(); }));
  EXPECT_EQ(kernel->answer(third)->error, EINTR);
  EXPECT_FALSE(kernel->answer(second));
  EXPECT_EQ(set(request(file_, 1, F_UNLCK)), 0);
  ASSERT_TRUE(run_until([&] { return kernel->answer(second).has_value(); }));
  EXPECT_EQ(kernel->answer(second)->error, 0);
  EXPECT_EQ(set(request(file_, 1, F_WRLCK)), EAGAIN);
  close(other_, 2);
  EXPECT_EQ(set(request(file_, 1, F_WRLCK)), 0);  // the third has taken nothing
}

TEST_F(FuseLocks, a_circle_is_edeadlk) {
  EXPECT_EQ(set(request(file_, 1, F_WRLCK, 0, 0)), 0);
  EXPECT_EQ(set(request(file_, 2, F_WRLCK, 1, 1)), 0);
  const std::uint64_t waiting =
      kernel->send(FUSE_SETLKW, file_.inode, request(file_, 1, F_WRLCK, 1, 1));
  EXPECT_EQ(error_of(FUSE_SETLKW, file_.inode, request(file_, 2, F_WRLCK, 0, 0)), EDEADLK);
  EXPECT_EQ(set(request(file_, 2, F_UNLCK, 1, 1)), 0);
  ASSERT_TRUE(run_until([&] { return kernel->answer(waiting).has_value(); }));
  EXPECT_EQ(kernel->answer(waiting)->error, 0);
}

TEST_F(FuseLocks, closing_any_handle_ends_the_ranges_of_the_process_and_of_no_other) {
  EXPECT_EQ(set(request(file_, 1, F_WRLCK, 0, 0)), 0);
  EXPECT_EQ(set(request(file_, 2, F_WRLCK, 1, 1)), 0);
  EXPECT_EQ(flock(file_, 77, F_WRLCK), 0);
  close(other_, 1);
  EXPECT_EQ(set(request(file_, 3, F_WRLCK, 0, 0)), 0);
  EXPECT_EQ(set(request(file_, 3, F_WRLCK, 1, 1)), EAGAIN);
  EXPECT_EQ(flock(other_, 78, F_RDLCK), EAGAIN);
}

TEST_F(FuseLocks, a_released_handle_ends_its_flock_and_the_ranges_of_its_description) {
  EXPECT_EQ(flock(other_, 77, F_WRLCK), 0);
  EXPECT_EQ(set(request(other_, 88, F_RDLCK)), 0);
  EXPECT_EQ(flock(file_, 78, F_RDLCK), EAGAIN);
  EXPECT_EQ(set(request(file_, 1, F_WRLCK)), EAGAIN);
  release(other_);
  EXPECT_EQ(flock(file_, 78, F_RDLCK), 0);
  EXPECT_EQ(set(request(file_, 1, F_WRLCK)), 0);
}

TEST_F(FuseLocks, flock_is_changed_and_given_up) {
  EXPECT_EQ(flock(file_, 77, F_WRLCK), 0);
  EXPECT_EQ(flock(file_, 77, F_RDLCK), 0);
  EXPECT_EQ(flock(other_, 78, F_RDLCK), 0);
  EXPECT_EQ(flock(other_, 78, F_WRLCK), EAGAIN);
  EXPECT_EQ(flock(file_, 77, F_WRLCK), 0);  // the other has lost its own by trying
  EXPECT_EQ(flock(file_, 77, F_UNLCK), 0);
  EXPECT_EQ(flock(other_, 78, F_WRLCK), 0);
}

}  // namespace
}  // namespace dfs::fuse
