#include "fuse-client/core/committer.h"

#include <utility>

namespace dfs::client {
namespace {

// The request was not worked on, or may be repeated as it is: extents lie over themselves.
bool is_worth_repeating(ErrorCode code) {
  return code == ErrorCode::kBusy || code == ErrorCode::kUnavailable ||
         code == ErrorCode::kTimedOut;
}

}  // namespace

Committer::Committer(World world, MasterLink& master, Events events)
    : world_(world), master_(master), events_(std::move(events)) {}

void Committer::ready(InodeId inode) {
  ready_.insert(inode);
  pump_soon();
}

void Committer::pump_soon() {
  if (!std::exchange(is_pump_posted_, true)) {
    world_.scheduler.post(lifetime_.guard([this] {
      is_pump_posted_ = false;
      pump();
    }));
  }
}

void Committer::pump() {
  while (in_flight_ < kCommitsInFlightMax && !ready_.empty()) {
    if (auto batch = next_batch()) {
      ++in_flight_;
      send(std::move(batch));
    }
  }
}

std::shared_ptr<Committer::Batch> Committer::next_batch() {
  auto batch = std::make_shared<Batch>();
  // A committed range leaves the dirty buffer, so a later fsync could not send it again: were it
  // lost with the master's unsynced transactions, that fsync would report success for it.
  batch->request.durable = true;
  std::size_t extents = 0;
  while (!ready_.empty() && batch->parts.size() < kCommitFilesMax && extents < kCommitExtentsMax) {
    const InodeId inode = *ready_.begin();
    ready_.erase(ready_.begin());
    auto part = events_.take(inode, kCommitExtentsMax - extents);
    if (part) {
      extents += part->blocks.size();
      batch->request.files.push_back(part->commit);
      batch->parts.push_back(std::move(*part));
    }
  }
  return batch->parts.empty() ? nullptr : batch;
}

void Committer::send(std::shared_ptr<Batch> batch) {
  master_.call(batch->request, Done<CommitExtentsReply>(
                                   lifetime_.guard([this, batch](Result<CommitExtentsReply> reply) {
                                     answered(batch, std::move(reply));
                                   })));
}

void Committer::answered(const std::shared_ptr<Batch>& batch, Result<CommitExtentsReply> reply) {
  if (!reply && is_worth_repeating(reply.code())) {
    world_.scheduler.run_after(kCommitRetryDelay, lifetime_.guard([this, batch] { send(batch); }));
    return;
  }
  --in_flight_;
  if (reply && reply->results.size() != batch->parts.size()) {
    reply = make_error(ErrorCode::kBadMessage, "a commit's answer has a wrong count of results");
  }
  for (std::size_t i = 0; i < batch->parts.size(); ++i) {
    auto result = reply ? Result<FileCommitResult>(reply->results[i])
                        : Result<FileCommitResult>(reply.error());
    if (result && result->code != 0) {
      const std::string inode = std::to_string(batch->parts[i].commit.inode.value);
      result = make_error(error_code_from_wire(result->code),
                          "the master refused the commit of inode " + inode);
    }
    events_.answered(std::move(batch->parts[i]), std::move(result));
  }
  pump_soon();
}

void Committer::sync_metadata(Done<Unit> done) {
  sync_waiters_.push_back(std::move(done));
  if (!is_sync_under_way_) {
    send_sync();
  }
}

void Committer::send_sync() {
  is_sync_under_way_ = true;
  auto waiters = std::make_shared<std::vector<Done<Unit>>>(std::exchange(sync_waiters_, {}));
  master_.call(SyncMetadataRequest{},
               Done<EmptyReply>(lifetime_.guard([this, waiters](auto&& reply) {
                 is_sync_under_way_ = false;
                 if (!sync_waiters_.empty()) {
                   send_sync();
                 }
                 for (auto& waiter : *waiters) {
                   waiter(reply ? ok() : Status(reply.error()));
                 }
               })));
}

}  // namespace dfs::client
