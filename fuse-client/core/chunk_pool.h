// The chunks this session has open, and the promise that dirty bytes will find room in them.
//
// For each storage policy: one chunk that small files share, chunks of their own for large files,
// and spare ones, asked for ahead of need. Room left in them is counted against what was promised
// to bytes written and not placed yet, so that a full cluster is known at write(2). Chunks are
// sealed when they are full, broken, or not used for kChunkIdleTime, and nothing on them is
// unsettled. Bounded: one OpenChunk under way for each policy; spare, partly used ones kSparesMax.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/chunk_writer.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/master_link.h"
#include "fuse-client/core/obstacle.h"

namespace dfs::client {

// Another chunk is asked for when less than this is not promised.
inline constexpr std::uint64_t kRoomAheadBytes = 16u << 20;
inline constexpr std::chrono::seconds kChunkIdleTime{30};
inline constexpr std::chrono::seconds kOpenRetryDelay{1};
// Chunks that may break before anything became stable until opening the next is delayed.
inline constexpr std::uint32_t kBreaksInARow = 3;
// How long a server that failed is avoided.
inline constexpr std::chrono::seconds kAvoidTime{30};
inline constexpr std::size_t kSparesMax = 2;
// Owner of the chunk that small files share.
inline constexpr InodeId kSharedOwner{0};

class ChunkPool {
 public:
  struct Events {
    std::function<void(const std::vector<FlightBlockPtr>&)> stable;
    std::function<void(ChunkId)> broken;  // its blocks that are not being committed must move
    // A chunk was opened, or could not be. In both cases what waits for room tries again, and asks
    // again by want() if it still lacks some.
    std::function<void(const StoragePolicy&, const Status&)> answered;
  };

  ChunkPool(World world, MasterLink& master, ChunkLinks& links, MemoryBudget& memory,
            Events events);
  ~ChunkPool();
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  // Room in open chunks that is promised to nobody.
  std::uint64_t free_room(const StoragePolicy& policy) const;
  void promise(const StoragePolicy& policy, std::uint64_t bytes);
  void take_back(const StoragePolicy& policy, std::uint64_t bytes);
  // Asks for another chunk, now or kOpenRetryDelay after the last failure.
  void want(const StoragePolicy& policy);
  // For a new write after a refusal for lack of space: there may be room by now, and `df` may say
  // so. Asks without that delay.
  void ask_again_if_full(const StoragePolicy& policy);
  // Why no chunk could be opened at the last try; kOk after a success.
  ErrorCode last_failure(const StoragePolicy& policy) const;
  // The master said kNoSpace just now, for the second time in a row.
  bool is_full(const StoragePolicy& policy) const;

  // Why there is no chunk. `until`, by waiting_clock(), is given up; none: nobody waits so long.
  Obstacle obstacle(const StoragePolicy& policy, std::optional<MonoTime> until) const;
  // What is appended to the chunk waits for its servers.
  Obstacle obstacle_of(ChunkId chunk) const;

  // A clock for how long writes have been without a chunk: it stands still while the master does
  // not answer, which is no reason to lose them.
  MonoTime waiting_clock() const;

  // A chunk with room for a block of `owner`; null: none now, one was asked for. The pointer is
  // good until the current task ends.
  ChunkWriter* take(const StoragePolicy& policy, InodeId owner);
  // The owner has nothing to write for now: its chunk is anybody's.
  void release_owner(InodeId owner);

  ChunkWriter* find(ChunkId chunk);
  // A block placed there was committed or taken away.
  void settle(ChunkId chunk);
  void break_off(ChunkId chunk, ErrorCode failure);

  void pump_all();
  void request_sync_all();
  // The old session is gone and its chunks with it.
  void session_replaced();
  // Gives room back to the cluster: chunks of other policies that nobody needs are sealed.
  void seal_unused(const StoragePolicy& except);
  // Seals all chunks and runs `done` when the master has been told.
  void seal_all(Done<Unit> done);

 private:
  struct Chunk {
    std::unique_ptr<ChunkWriter> writer;
    StoragePolicy policy;
    bool is_owned = false;
    InodeId owner;            // the last one, if it is not owned
    bool is_foreign = false;  // of an expired session
    bool is_to_seal = false;
  };
  struct Policy {
    std::uint64_t promised = 0;
    bool is_opening = false;
    std::unique_ptr<Timer> retry;
    MonoTime retry_at{};
    std::uint32_t breaks_in_a_row = 0;
    ErrorCode last_failure = ErrorCode::kOk;
    std::uint32_t no_space_count = 0;
  };
  using Chunks = std::map<ChunkId, Chunk>;

  Policy& policy_state(const StoragePolicy& policy);
  std::uint64_t room(const StoragePolicy& policy) const;
  static bool is_usable(const Chunk& chunk);
  Chunk* find_owned(const StoragePolicy& policy, InodeId owner);
  Chunk* find_spare(const StoragePolicy& policy, InodeId owner);
  Chunk* find_any(const StoragePolicy& policy);
  bool has_empty_spare(const StoragePolicy& policy) const;
  void open(const StoragePolicy& policy);
  void opened(const StoragePolicy& policy, Result<OpenChunkReply> reply);
  void add_chunk(const StoragePolicy& policy, OpenChunkReply reply);
  void broke(ChunkWriter& writer);
  std::vector<NodeId> avoided();
  void limit_spares(const StoragePolicy& policy);
  void sweep_soon();
  void sweep();
  bool is_to_be_sealed(const Chunk& chunk) const;
  void seal(Chunk& chunk);
  void sealed();
  void tell_if_sealed();

  World world_;
  MasterLink& master_;
  ChunkLinks& links_;
  MemoryBudget& memory_;
  Events events_;
  std::map<StoragePolicy, Policy> policies_;
  std::size_t openings_ = 0;  // under way
  MonoTime opening_since_{};  // of the first of these
  Duration opening_total_{};  // before that
  Chunks chunks_;
  std::map<NodeId, MonoTime> avoid_until_;
  bool is_sweep_posted_ = false;
  Timer idle_timer_;
  std::uint64_t seals_under_way_ = 0;
  std::vector<Done<Unit>> seal_waiters_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
