#include "master/core/grace.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/assert.h"
#include "master/core/once.h"
#include "proto/all_messages.h"

namespace dfs::master {
namespace {

// Changes applied in one transaction, between which keep-alives have their turn.
constexpr std::size_t kSliceMax = 256;
constexpr std::chrono::seconds kNoSpaceRetry{1};

std::string describe(const RpcRequest& change) {
  const Envelope& envelope = change.envelope;
  return std::string("type=") + message_type_name(envelope.type) +
         " session=" + std::to_string(envelope.session.value) +
         " sequence=" + std::to_string(envelope.sequence) +
         " index=" + std::to_string(envelope.stamp.index);
}

}  // namespace

Grace::Grace(World world, InternalOperations& operations, SessionTable& sessions,
             LeaseTable& leases, std::string boot_id)
    : world_(world),
      operations_(operations),
      sessions_(sessions),
      leases_(leases),
      boot_id_(std::move(boot_id)),
      retry_timer_(world.scheduler) {
  if (boot_id_.empty()) {
    boot_id_ = "unknown";
  }
}

Status Grace::decide(Store& store) {
  DFS_TRY(const std::string last, store.boot_id());
  if (last.empty() || (last == boot_id_ && boot_id_ != "unknown")) {
    return store.set_boot_id(boot_id_);
  }
  has_losses_ = true;
  DFS_TRY(const std::uint64_t losses, store.counter(Counter::kLosses));
  return store.set_counter(Counter::kLosses, losses + 1);
}

Status Grace::note_orderly_stop(Store& store) const {
  return is_on() && has_losses_ ? ok() : store.set_boot_id({});
}

void Grace::start(std::function<void()> ended) {
  DFS_ASSERT(is_on());
  ended_ = std::move(ended);
  begun_ = world_.scheduler.now();
  sessions_asked_ = sessions_.count();
  for (const SessionId session : sessions_.ids()) {
    leases_.expect_reclaim(session);
  }
  if (has_losses_) {
    start_collecting_changes();
  } else if (sessions_asked_ > 0) {
    world_.log.info(
        "Clients are asked what they keep in their caches; until then requests wait. "
        "sessions=" +
        std::to_string(sessions_asked_));
  }
  look();
}

void Grace::start_collecting_changes() {
  sessions_.ask_for_replays();
  world_.log.warning(
      "The machine or its disk stopped without a sync: changes may be lost. Clients are asked to "
      "tell theirs again; until then their requests wait. sessions=" +
      std::to_string(sessions_asked_));
}

void Grace::look() {
  if (state_ != State::kCollecting || ended_ == nullptr || !leases_.have_all_reclaimed() ||
      (has_losses_ && !sessions_.have_all_told())) {
    return;
  }
  if (!has_losses_) {
    finish();
    return;
  }
  state_ = State::kApplying;
  sessions_told_ = sessions_.replays().count();
  changes_ = sessions_.replays().take();
  slice_ = kSliceMax;
  apply_next();
}

void Grace::apply_next() {
  if (next_ == changes_.size()) {
    operations_.submit([this](OpContext& context) { return context.store.set_boot_id(boot_id_); },
                       [this](const Status& status) {
                         if (status) {
                           finish();
                         } else {
                           retry_timer_.start(kNoSpaceRetry, [this] { apply_next(); });
                         }
                       },
                       true);
    return;
  }
  operations_.submit([this](OpContext& context) { return apply_slice(context); },
                     [this](const Status& status) { slice_done(status); }, false);
}

Status Grace::apply_slice(OpContext& context) {
  const std::size_t end = std::min(next_ + slice_, changes_.size());
  slice_numbers_ = {};
  for (std::size_t i = next_; i < end; ++i) {
    DFS_TRY(const ReplayOutcome outcome, apply_replay(context, changes_[i]));
    switch (outcome) {
      case ReplayOutcome::kWasThere: ++slice_numbers_.was_there; break;
      case ReplayOutcome::kApplied: ++slice_numbers_.applied; break;
      case ReplayOutcome::kRefused: ++slice_numbers_.refused; break;
    }
  }
  return ok();
}

void Grace::slice_done(const Status& status) {
  if (status) {
    next_ = std::min(next_ + slice_, changes_.size());
    numbers_.was_there += slice_numbers_.was_there;
    numbers_.applied += slice_numbers_.applied;
    numbers_.refused += slice_numbers_.refused;
    slice_ = std::min(2 * slice_, kSliceMax);
  } else if (slice_ > 1) {
    slice_ = 1;  // so that the error meets only what it belongs to
  } else if (status.code() == ErrorCode::kNoSpace) {
    retry_timer_.start(kNoSpaceRetry, [this] { apply_next(); });
    return;
  } else {
    world_.log.error("A change that was answered cannot be applied again and is lost " +
                     describe(changes_[next_]) + " error=" + status.error().detail);
    ++numbers_.refused;
    ++next_;
  }
  apply_next();
}

void Grace::finish() {
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(world_.scheduler.now() - begun_);
  if (!has_losses_ && sessions_asked_ > 0) {
    world_.log.info("Requests are answered. sessions=" + std::to_string(sessions_asked_) +
                    " leases=" + std::to_string(leases_.count()) +
                    " ms=" + std::to_string(took.count()));
  } else if (has_losses_) {
    world_.log.info("What clients knew is applied, requests are answered again. sessions=" +
                    std::to_string(sessions_asked_) + " told=" + std::to_string(sessions_told_) +
                    " changes=" + std::to_string(changes_.size()) +
                    " not_lost=" + std::to_string(numbers_.was_there) +
                    " restored=" + std::to_string(numbers_.applied) + " refused=" +
                    std::to_string(numbers_.refused) + " ms=" + std::to_string(took.count()));
  }
  state_ = State::kOver;
  changes_ = {};
  std::exchange(ended_, nullptr)();
}

}  // namespace dfs::master
