#include "common/real/daemon.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include "common/real/system_random.h"
#include "tests/unit/real/scratch_directory.h"

namespace dfs::real {
namespace {

using namespace std::chrono_literals;

// Gives the test program its own signals back.
class SignalMask {
 public:
  SignalMask() { ::pthread_sigmask(SIG_SETMASK, nullptr, &before_); }
  ~SignalMask() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

TEST(Daemon, signals_become_tasks_of_the_loop) {
  const SignalMask mask;
  const auto loop = std::move(*EventLoop::create());
  int stops = 0;
  int reopens = 0;
  const auto daemon =
      Daemon::create(*loop, {.stop = [&] { ++stops; }, .reopen_log = [&] { ++reopens; }});
  ASSERT_TRUE(daemon) << daemon.error().detail;
  // To this thread: the test program may have others that do not block them.
  ::pthread_kill(::pthread_self(), SIGTERM);
  ASSERT_TRUE(loop->run_until([&] { return stops == 1; }, 10s));
  ::pthread_kill(::pthread_self(), SIGINT);
  ASSERT_TRUE(loop->run_until([&] { return stops == 2; }, 10s));
  ::pthread_kill(::pthread_self(), SIGHUP);
  ASSERT_TRUE(loop->run_until([&] { return reopens == 1; }, 10s));
  EXPECT_EQ(stops, 2);
}

TEST(Daemon, descriptor_limit_is_raised_to_what_is_allowed) {
  const SignalMask mask;
  const auto loop = std::move(*EventLoop::create());
  const auto daemon = Daemon::create(*loop, {.stop = [] {}, .reopen_log = [] {}});
  ASSERT_TRUE(daemon);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, limit.rlim_max);
}

TEST(Daemon, a_limit_on_the_size_of_files_fails_what_would_exceed_it_and_ends_nothing) {
  const SignalMask mask;
  const ScratchDirectory scratch;
  const auto loop = std::move(*EventLoop::create());
  const auto daemon = Daemon::create(*loop, {.stop = [] {}, .reopen_log = [] {}});
  ASSERT_TRUE(daemon);
  const OwnedFd file(::open(scratch.path("f").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const ssize_t written = ::write(file.get(), "x", 1);
  const int error = errno;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(written, -1);
  EXPECT_EQ(error, EFBIG);
}

TEST(Daemon, systemd_is_told_when_it_listens) {
  const SignalMask mask;
  const ScratchDirectory scratch;
  const OwnedFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  scratch.path("notify").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::setenv("NOTIFY_SOCKET", address.sun_path, 1);

  const auto loop = std::move(*EventLoop::create());
  const auto daemon = Daemon::create(*loop, {.stop = [] {}, .reopen_log = [] {}});
  ASSERT_TRUE(daemon);
  (*daemon)->notify_ready();
  (*daemon)->notify_status("serving 3 servers");
  (*daemon)->notify_stopping();
  ::unsetenv("NOTIFY_SOCKET");
  for (const std::string expected : {"READY=1", "STATUS=serving 3 servers", "STOPPING=1"}) {
    std::array<char, 100> text{};
    const ssize_t count = ::recv(socket.get(), text.data(), text.size(), MSG_DONTWAIT);
    ASSERT_GT(count, 0);
    EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(count)), expected);
  }
}

TEST(SystemRandom, numbers_differ) {
  SystemRandom random;
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    seen.insert(random.next_u64());
  }
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace dfs::real
