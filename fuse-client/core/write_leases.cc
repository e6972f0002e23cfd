#include "fuse-client/core/write_leases.h"

#include <utility>

#include "proto/limits.h"

namespace dfs::client {
namespace {

// An answer that crossed a notice gives nothing; the next one is asked for when that was heard.
constexpr std::chrono::milliseconds kAskAgainDelay{2};
constexpr std::chrono::milliseconds kReleaseDelay{20};
constexpr std::chrono::seconds kRetryDelay{1};
// No version of any file: what is not known cannot be what the master has.
constexpr std::uint64_t kUnknownVersion = ~std::uint64_t{0};

// The question was not worked on.
bool is_passing(ErrorCode code) {
  return code == ErrorCode::kBusy || code == ErrorCode::kUnavailable ||
         code == ErrorCode::kTimedOut;
}

}  // namespace

WriteLeases::WriteLeases(World world, MasterLink& master, InodeCache& inodes, Events events)
    : world_(world),
      master_(master),
      inodes_(inodes),
      events_(std::move(events)),
      release_timer_(world.scheduler) {
  master_.on_new_session(lifetime_.guard([this] { session_replaced(); }));
}

// --- What may be written -------------------------------------------------------------------------

bool WriteLeases::is_held(InodeId inode) const {
  const auto place = files_.find(inode);
  return place != files_.end() && place->second.is_held;
}

bool WriteLeases::may_write(InodeId inode) const {
  return is_held(inode) && files_.at(inode).settlings == 0 && master_.leases().term().holds();
}

bool WriteLeases::may_write_back(InodeId inode) const {
  const auto place = files_.find(inode);
  if (place == files_.end() || !master_.leases().term().holds()) {
    return false;
  }
  const File& file = place->second;
  // The master takes what is stored before a lease of any kind is said to be over.
  return file.settlings == 0 ? file.is_held : file.writes_back && inodes_.leases().contains(inode);
}

std::uint64_t WriteLeases::epoch(InodeId inode) const {
  return is_held(inode) ? files_.at(inode).epoch : 0;
}

std::vector<WrittenFile> WriteLeases::held() const {
  std::vector<WrittenFile> files;
  for (const auto& [inode, file] : files_) {
    if (file.is_held) {
      files.push_back({inode, file.epoch});
    }
  }
  return files;
}

// --- Taking --------------------------------------------------------------------------------------

void WriteLeases::want(InodeId inode) {
  File& file = files_[inode];
  // While a commit gives it up, the answer to that comes first.
  if (!file.is_asking && (file.settlings == 0 || !file.is_held)) {
    file.is_asking = true;
    ask(inode);
  }
}

void WriteLeases::ask(InodeId inode) {
  const MonoTime sent_at = world_.scheduler.now();
  const TakeWriteLeaseRequest request{.inode = inode,
                                      .data_version = files_.at(inode).data_version};
  files_.at(inode).asked = master_.call(
      request, Done<TakeWriteLeaseReply>(
                   lifetime_.guard([this, request, sent_at](Result<TakeWriteLeaseReply> reply) {
                     answered(request, std::move(reply), sent_at);
                   })));
}

CallId WriteLeases::asked(InodeId inode) const {
  const auto place = files_.find(inode);
  return place == files_.end() || !place->second.is_asking ? CallId{} : place->second.asked;
}

void WriteLeases::ask_later(InodeId inode, Duration delay) {
  world_.scheduler.run_after(delay, lifetime_.guard([this, inode] {
    if (files_.contains(inode)) {
      ask(inode);
    }
  }));
}

void WriteLeases::answered(const TakeWriteLeaseRequest& request, Result<TakeWriteLeaseReply> reply,
                           MonoTime sent_at) {
  const InodeId inode = request.inode;
  const auto place = files_.find(inode);
  if (place == files_.end()) {
    return;  // the file is gone
  }
  File& file = place->second;
  if (!reply && is_passing(reply.code())) {
    ask_later(inode, kRetryDelay);
    return;
  }
  if (!reply) {
    file.is_asking = false;
    if (reply.code() == ErrorCode::kLeaseLost) {
      file.data_version = 0;
    }
    seen(inode);
    tidy(inode);
    events_.refused(inode, std::move(reply).error());
    return;
  }
  const Told told = master_.leases().told(sent_at, reply->lease);
  inodes_.learn(reply->attributes, told);
  // A question asked before the session was lost did not say what was written over.
  if (!told.is_leased || request.data_version != file.data_version) {
    ask_later(inode, kAskAgainDelay);
    return;
  }
  file.is_asking = false;
  granted(inode, reply->epoch);
  events_.taken(inode);
}

void WriteLeases::granted(InodeId inode, std::uint64_t epoch) {
  File& file = files_[inode];
  file.is_held = true;
  file.epoch = epoch;
  file.data_version = 0;
  seen(inode);
}

// --- Pages of mapped files -----------------------------------------------------------------------

void WriteLeases::written_back(InodeId inode) {
  File& file = files_[inode];
  file.is_unseen = file.is_unseen || !file.is_held;
}

// All others have dropped the file before this client gets a lease.
void WriteLeases::when_seen(InodeId inode, Task seen) {
  const auto place = files_.find(inode);
  if (place == files_.end() || !place->second.is_unseen) {
    seen();
    return;
  }
  place->second.when_seen.push_back(std::move(seen));
  want(inode);
}

void WriteLeases::seen(InodeId inode) {
  File& file = files_.at(inode);
  file.is_unseen = false;
  for (const Task& seen : std::exchange(file.when_seen, {})) {
    world_.scheduler.post(seen);
  }
}

// --- Giving up -----------------------------------------------------------------------------------

void WriteLeases::begin_settling(InodeId inode) { ++files_[inode].settlings; }

void WriteLeases::begin_writing_back(InodeId inode) {
  if (!std::exchange(files_[inode].writes_back, true)) {
    events_.settled(inode);
  }
}

void WriteLeases::stop_writing_back(InodeId inode) {
  const auto place = files_.find(inode);
  if (place != files_.end()) {
    place->second.writes_back = false;
  }
}

void WriteLeases::end_settling(InodeId inode, bool is_over) {
  const auto place = files_.find(inode);
  if (place == files_.end()) {
    return;
  }
  File& file = place->second;
  DFS_ASSERT(file.settlings > 0);
  --file.settlings;
  file.is_held = file.is_held && !is_over;
  if (file.settlings > 0) {
    return;
  }
  file.writes_back = false;
  tidy(inode);
  events_.settled(inode);  // what waits asks for it, if it is not held
}

void WriteLeases::closed(InodeId inode) {
  const auto place = files_.find(inode);
  if (place != files_.end()) {
    seen(inode);  // nobody can ask any more
    tidy(inode);
  }
  release_soon(inode);
}

void WriteLeases::release_soon(InodeId inode) {
  if (!is_held(inode)) {
    return;
  }
  to_release_.insert(inode);
  if (!release_timer_.is_armed()) {
    release_timer_.start(kReleaseDelay, [this] { release_now(); });
  }
}

void WriteLeases::release_now() {
  ReleaseWriteLeasesRequest request;
  while (!to_release_.empty() && request.inodes.size() < kReleasedLeasesMax) {
    const InodeId inode = to_release_.extract(to_release_.begin()).value();
    // It may be in use again; what ends it otherwise ends it without this.
    if (may_write(inode) && !events_.is_open(inode) && !events_.is_dirty(inode)) {
      begin_settling(inode);
      request.inodes.push_back(inode);
    }
  }
  if (!to_release_.empty()) {
    release_timer_.start(kReleaseDelay, [this] { release_now(); });
  }
  if (request.inodes.empty()) {
    return;
  }
  master_.call(request, Done<EmptyReply>(lifetime_.guard(
                            [this, inodes = request.inodes](const Result<EmptyReply>& reply) {
                              for (const InodeId inode : inodes) {
                                end_settling(inode, reply.has_value());
                              }
                            })));
}

void WriteLeases::note_versions() {
  for (auto& [inode, file] : files_) {
    if (const Attributes* known = inodes_.attributes(inode)) {
      file.noted_version = known->data_version;
    }
  }
}

void WriteLeases::lost(InodeId inode) {
  File& file = files_[inode];
  if (const Attributes* known = inodes_.attributes(inode)) {
    file.noted_version = known->data_version;
  }
  lose(inode, file);
  want(inode);
}

void WriteLeases::lose(InodeId inode, File& file) {
  if (file.data_version == 0 && events_.is_dirty(inode)) {
    file.data_version = file.noted_version == 0 ? kUnknownVersion : file.noted_version;
  }
  file.is_held = false;
}

void WriteLeases::session_replaced() {
  note_versions();
  std::vector<InodeId> all;
  for (auto& [inode, file] : files_) {
    lose(inode, file);
    all.push_back(inode);
  }
  for (const InodeId inode : all) {
    tidy(inode);
  }
}

void WriteLeases::tidy(InodeId inode) {
  const File& file = files_.at(inode);
  if (!file.is_held && !file.is_asking && file.settlings == 0 && file.data_version == 0 &&
      !file.is_unseen) {
    files_.erase(inode);
  }
}

}  // namespace dfs::client
