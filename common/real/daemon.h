// What a daemon's process needs besides its core: signals as events of the loop, readiness for
// systemd, enough descriptors.
//
// Make it first, before any thread is made (transport, disk): threads inherit the signal mask, and
// a thread that does not block SIGTERM would be killed by it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/real/event_loop.h"
#include "common/real/owned_fd.h"
#include "common/result.h"

namespace dfs::real {

class Daemon {
 public:
  struct Handlers {
    // SIGTERM or SIGINT; may come again while the first is still worked on.
    std::function<void()> stop;
    std::function<void()> reopen_log;  // SIGHUP
  };

  // Blocks these signals for the process, ignores SIGPIPE and SIGXFSZ, raises RLIMIT_NOFILE to its
  // hard limit. The loop must outlive the Daemon.
  static Result<std::unique_ptr<Daemon>> create(EventLoop& loop, Handlers handlers);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // To systemd, when it started us; else without effect.
  void notify_ready();
  void notify_stopping();
  void notify_status(const std::string& status);  // one line, for `systemctl status`

 private:
  Daemon(EventLoop& loop, Handlers handlers, OwnedFd signals);
  void read_signals();

  EventLoop& loop_;
  Handlers handlers_;
  OwnedFd signals_;
};

}  // namespace dfs::real
