// Until when what the master said may be relied upon: one term after the newest answered keep-alive
// was sent. The master gives a silent client's leases away a little later only, so that by then
// nothing is kept here, however long the client could not be told.
//
// The clock runs through suspend (Scheduler::now()).
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/scheduler.h"

namespace dfs::client {

// How the master's answer to a question is to be taken.
struct Told {
  MonoTime sent_at{};      // when it was asked
  bool is_leased = false;  // it may be kept until a notice, or the end of the term
  // Size and contents, too, are what they were since: what other clients had written was stored
  // first. So in answers to questions, and under a lease.
  bool is_settled = true;
};

class LeaseTerm {
 public:
  explicit LeaseTerm(Scheduler& scheduler) : scheduler_(scheduler) {}

  // The part of the session time-out that is relied upon: the rest is for clocks that run at
  // different speeds and for a reply on its way to an application.
  void set_session_timeout(Duration timeout) { length_ = timeout - timeout / 5; }
  void extend(MonoTime keep_alive_sent_at) { end_ = std::max(end_, keep_alive_sent_at + length_); }
  void end_now() { end_ = MonoTime::min(); }

  bool holds() const { return scheduler_.now() < end_; }
  Duration left() const { return std::max(end_ - scheduler_.now(), Duration::zero()); }

 private:
  Scheduler& scheduler_;
  Duration length_{};
  MonoTime end_ = MonoTime::min();
};

}  // namespace dfs::client
