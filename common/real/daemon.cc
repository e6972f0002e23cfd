#include "common/real/daemon.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/assert.h"
#include "common/real/errno_error.h"

namespace dfs::real {
namespace {

sigset_t handled_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGHUP);
  return set;
}

// As many descriptors as we may have: each chunk, peer and client takes one. Being refused is no
// reason not to start.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
  }
}

// sd_notify fails only when nobody listens, and then there is nobody to tell.
void notify(const std::string& state) { static_cast<void>(::sd_notify(0, state.c_str())); }

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::create(EventLoop& loop, Handlers handlers) {
  DFS_ASSERT(handlers.stop && handlers.reopen_log);
  raise_descriptor_limit();
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files fails what would exceed it
  const sigset_t set = handled_signals();
  DFS_ASSERT(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  OwnedFd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.is_open()) {
    return errno_error(errno, "create a signal descriptor");
  }
  std::unique_ptr<Daemon> daemon(new Daemon(loop, std::move(handlers), std::move(signals)));
  Daemon* const self = daemon.get();
  DFS_CHECK_OK(loop.watch_fd(daemon->signals_.get(), EPOLLIN,
                             [self](std::uint32_t) { self->read_signals(); }));
  return daemon;
}

Daemon::Daemon(EventLoop& loop, Handlers handlers, OwnedFd signals)
    : loop_(loop), handlers_(std::move(handlers)), signals_(std::move(signals)) {}

// The signals stay blocked: one that comes this late must not kill a process that is closing its
// files in order.
Daemon::~Daemon() { loop_.unwatch_fd(signals_.get()); }

void Daemon::read_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    // Posted, so that a handler may destroy the Daemon.
    loop_.post(info.ssi_signo == SIGHUP ? handlers_.reopen_log : handlers_.stop);
  }
}

void Daemon::notify_ready() { notify("READY=1"); }
void Daemon::notify_stopping() { notify("STOPPING=1"); }
void Daemon::notify_status(const std::string& status) { notify("STATUS=" + status); }

}  // namespace dfs::real
