// Sends CommitExtents for files whose blocks are on stable storage: many files in one request, one
// request at a time for each file, at most kCommitsInFlightMax altogether. And SyncMetadata, one at
// a time for all who ask.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/flight_block.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/master_link.h"

namespace dfs::client {

inline constexpr std::size_t kCommitsInFlightMax = 4;
inline constexpr std::chrono::seconds kCommitRetryDelay{1};

// What one file contributes to a request.
struct CommitPart {
  FileCommit commit;
  std::vector<FlightBlockPtr> blocks;  // one for each extent
};

class Committer {
 public:
  struct Events {
    // The next part of this file with at most that many extents; none if it has nothing to commit.
    std::function<std::optional<CommitPart>(InodeId, std::size_t extents_max)> take;
    std::function<void(CommitPart, Result<FileCommitResult>)> answered;
  };

  Committer(World world, MasterLink& master, Events events);

  // The file has something to commit: it will be asked for it soon.
  void ready(InodeId inode);
  // Everything the master answered before the call is on its stable storage.
  void sync_metadata(Done<Unit> done);

 private:
  struct Batch {
    CommitExtentsRequest request;
    std::vector<CommitPart> parts;
  };

  void pump_soon();
  void pump();
  std::shared_ptr<Batch> next_batch();
  void send(std::shared_ptr<Batch> batch);
  void answered(const std::shared_ptr<Batch>& batch, Result<CommitExtentsReply> reply);
  void send_sync();

  World world_;
  MasterLink& master_;
  Events events_;
  std::set<InodeId> ready_;
  std::size_t in_flight_ = 0;
  bool is_pump_posted_ = false;
  std::vector<Done<Unit>> sync_waiters_;  // for the next SyncMetadata
  bool is_sync_under_way_ = false;
  Lifetime lifetime_;
};

}  // namespace dfs::client
