#include "fuse-client/core/lease_link.h"

#include <algorithm>
#include <string>
#include <utility>

#include "proto/limits.h"

namespace dfs::client {
namespace {

constexpr std::chrono::seconds kRetryDelay{1};

void cancel_all(RpcClient& rpc, std::map<std::uint32_t, CallId>& pages) {
  for (const auto& [page, call] : pages) {
    rpc.cancel(call);
  }
  pages.clear();
}

}  // namespace

LeaseLink::LeaseLink(World world, RpcClient& rpc, Session session)
    : world_(world),
      rpc_(rpc),
      session_(std::move(session)),
      term_(world.scheduler),
      term_timer_(world.scheduler),
      poll_timer_(world.scheduler) {}

// --- The term ------------------------------------------------------------------------------------

void LeaseLink::opened(MonoTime sent_at, Duration session_timeout) {
  term_.set_session_timeout(session_timeout);
  keep_alive_answered(sent_at);
}

void LeaseLink::keep_alive_answered(MonoTime sent_at) {
  term_.extend(sent_at);
  watch_term();
}

void LeaseLink::watch_term() {
  has_lapsed_ = has_lapsed_ && !term_.holds();
  if (term_timer_.is_armed()) {
    return;
  }
  term_timer_.start(term_.left(), [this] {
    if (term_.holds()) {
      watch_term();
    } else if (!std::exchange(has_lapsed_, true)) {
      world_.log.warning(
          "Nothing was heard of the master for long: nothing is served from caches.");
      lose();
    }
  });
}

void LeaseLink::lose() {
  if (events_.lost) {
    events_.lost();
  }
}

void LeaseLink::pause() {
  poll_timer_.stop();
  for (const CallId poll : polls_) {
    rpc_.cancel(poll);
  }
  polls_.clear();
}

void LeaseLink::stop() {
  pause();
  term_timer_.stop();
}

// --- Reclaiming ----------------------------------------------------------------------------------

void LeaseLink::begin_reclaim(std::uint64_t incarnation) {
  pause();
  cancel_all(rpc_, reclaim_pages_);
  incarnation_ = incarnation;
  is_reclaiming_ = true;
  // Notices of the old one are void. What they have had dropped so far is still said to be kept.
  dropping_.clear();
  held_up_.clear();
  also_handled_.clear();
  reclaim_now();
}

void LeaseLink::reclaim_now() {
  const std::vector<WrittenFile> written =
      events_.written ? events_.written() : std::vector<WrittenFile>{};
  const std::vector<InodeId> all = events_.kept ? events_.kept() : std::vector<InodeId>{};
  // Those that are written first, then all, in pages.
  const std::size_t count = written.size() + all.size();
  const std::size_t pages =
      std::max<std::size_t>(1, (count + kReclaimInodesMax - 1) / kReclaimInodesMax);
  std::size_t next = 0;
  for (std::size_t page = 0; page < pages; ++page) {
    ReclaimLeasesRequest request;
    request.incarnation = incarnation_;
    request.page = static_cast<std::uint32_t>(page);
    request.pages = static_cast<std::uint32_t>(pages);
    for (const std::size_t end = std::min(count, next + kReclaimInodesMax); next < end; ++next) {
      if (next < written.size()) {
        request.written.push_back(written[next].inode);
        request.epochs.push_back(written[next].epoch);
      } else {
        request.inodes.push_back(all[next - written.size()]);
      }
    }
    reclaim_pages_[request.page] =
        rpc_.call(request, session_.call_options(),
                  [this, number = request.page](const Result<RpcReply<ReclaimLeasesReply>>& reply) {
                    page_reclaimed(number, reply);
                  });
  }
}

void LeaseLink::page_reclaimed(std::uint32_t page,
                               const Result<RpcReply<ReclaimLeasesReply>>& reply) {
  reclaim_pages_.erase(page);
  if (reply.code() == ErrorCode::kSessionExpired) {
    session_.is_over();
    return;
  }
  if (!reply) {
    // Meant for a master that is there no more, most likely: then that begins anew, else this does.
    cancel_all(rpc_, reclaim_pages_);
    session_.ask_for_news();
    poll_timer_.start(kRetryDelay, [this] { begin_reclaim(incarnation_); });
    return;
  }
  if (!reclaim_pages_.empty()) {
    return;
  }
  is_reclaiming_ = false;
  received_ = handled_ = reply->body.lease;
  poll();
}

// --- Notices -------------------------------------------------------------------------------------

void LeaseLink::poll() {
  if (!session_.is_open() || is_reclaiming_) {
    return;  // the end of that begins it
  }
  const WaitForNoticesRequest request{.incarnation = incarnation_,
                                      .received = received_,
                                      .handled = handled_,
                                      .also_handled = {also_handled_.begin(), also_handled_.end()},
                                      .held_up = {held_up_.begin(), held_up_.end()}};
  auto id = std::make_shared<CallId>();
  *id = rpc_.call(request, session_.call_options(),
                  [this, id, request](const Result<RpcReply<WaitForNoticesReply>>& reply) {
                    poll_answered(*id, request, reply);
                  });
  polls_.insert(*id);
}

void LeaseLink::poll_answered(CallId poll_id, const WaitForNoticesRequest& request,
                              const Result<RpcReply<WaitForNoticesReply>>& reply) {
  polls_.erase(poll_id);
  if (reply.code() == ErrorCode::kSessionExpired) {
    session_.is_over();
    return;
  }
  if (!reply) {
    world_.log.warning(std::string("Asking for notices failed. code=") +
                       error_code_name(reply.code()));
    poll_timer_.start(kRetryDelay, [this] { poll(); });
    return;
  }
  const WaitForNoticesReply& body = reply->body;
  if (body.incarnation != incarnation_) {
    session_.met_incarnation(body.incarnation);
    return;
  }
  for (const std::uint64_t number : request.also_handled) {
    also_handled_.erase(number);
  }
  for (const std::uint64_t number : request.held_up) {
    held_up_.erase(number);
  }
  if (body.notices.empty() || body.notices.back().number <= received_) {
    // It made way for another poll. That can have been a late copy of an older one, which nobody
    // listens to any more.
    if (polls_.empty()) {
      poll();
    }
    return;
  }
  const std::uint64_t before = std::exchange(received_, body.notices.back().number);
  for (const LeaseNotice& notice : body.notices) {
    if (notice.number > before) {
      dropping_.insert(notice.number);
    }
  }
  // Before they are dropped, which may take a while, further ones must be heard.
  poll();
  for (const LeaseNotice& notice : body.notices) {
    if (notice.number > before) {
      drop(notice);
    }
  }
}

void LeaseLink::drop(const LeaseNotice& notice) {
  if (!events_.drop) {
    handled(incarnation_, notice.number);
    return;
  }
  const auto then = [this, incarnation = incarnation_, number = notice.number,
                     alive = std::weak_ptr(alive_)](auto note) {
    return [this, incarnation, number, alive, note] {
      if (!alive.expired()) {
        (this->*note)(incarnation, number);
      }
    };
  };
  events_.drop(notice.changes,
               {.dropped = then(&LeaseLink::handled), .held_up = then(&LeaseLink::note_held_up)});
}

// One that takes long, because much must be stored, does not hold up the others.
void LeaseLink::handled(std::uint64_t incarnation, std::uint64_t number) {
  if (incarnation != incarnation_ || is_reclaiming_ || dropping_.erase(number) == 0) {
    return;
  }
  held_up_.erase(number);
  also_handled_.insert(number);
  const std::uint64_t up_to = dropping_.empty() ? received_ : *dropping_.begin() - 1;
  handled_ = std::max(handled_, up_to);
  also_handled_.erase(also_handled_.begin(), also_handled_.upper_bound(handled_));
  poll();
}

void LeaseLink::note_held_up(std::uint64_t incarnation, std::uint64_t number) {
  if (incarnation == incarnation_ && !is_reclaiming_ && dropping_.contains(number)) {
    held_up_.insert(number);
    poll();
  }
}

// --- Changes given up ----------------------------------------------------------------------------

void LeaseLink::give_up(std::uint64_t sequence, std::vector<LeaseChange> changes) {
  given_up_[sequence] = events_.doubt ? events_.doubt(std::move(changes)) : std::move(changes);
  session_.ask_for_news();  // the answer decides, if nothing else is asked
}

void LeaseLink::note_acknowledged(std::uint64_t acknowledged) {
  while (!given_up_.empty() && given_up_.begin()->first <= acknowledged) {
    const std::vector<LeaseChange> changes = std::move(given_up_.begin()->second);
    given_up_.erase(given_up_.begin());
    if (events_.doubt) {
      events_.doubt(changes);
    }
  }
}

}  // namespace dfs::client
