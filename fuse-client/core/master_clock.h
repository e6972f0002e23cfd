// The master's wall clock as this client knows it, for the times of what it writes: files get the
// times of one clock, however wrong those of the clients' machines are, and `make` is right.
//
// Never ahead of the master's: a reply is taken to have arrived in the moment in which it was made.
// So what another client makes after it saw a write is not older than that write. Behind by at most
// the way of the quickest reply, and never before a time that a reply to a change named.
#pragma once

#include <optional>

#include "common/scheduler.h"

namespace dfs::client {

class MasterClock {
 public:
  explicit MasterClock(Scheduler& scheduler) : scheduler_(scheduler) {}

  // Now comes the reply to a question sent at `sent_at`, that was made when the master's clock
  // showed `time`. Believed also if the clock was set back.
  void heard(MonoTime sent_at, Timestamp time);
  // Now comes a reply that names a time the master's clock has shown, perhaps long ago.
  void at_least(Timestamp time);

  // Not before what this answered earlier, unless the master's clock was set back. This machine's
  // own clock before anything was heard.
  Timestamp time();

 private:
  struct Reading {
    Timestamp time;
    MonoTime at;
  };
  Timestamp estimate() const;

  Scheduler& scheduler_;
  std::optional<Reading> reading_;
  std::optional<Timestamp> last_;
};

// `time` and as much later.
Timestamp later(Timestamp time, Duration by);

}  // namespace dfs::client
