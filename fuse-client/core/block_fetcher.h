// Brings ranges of blocks from chunkservers into the block cache and to those who wait for them.
//
// Missing ranges are rounded to units, never fetched twice at a time, and those of one chunk that
// are wanted in the same turn travel in one ReadRequest. Every cell is checked on arrival. A server
// that fails is avoided for a while and the next replica asked at once; replicas with bad or
// missing data are reported to the master once.
//
// In flight is what the memory budget allows; demands wait for room, prefetches are dropped.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/block_cache.h"
#include "fuse-client/core/client.h"
#include "fuse-client/core/lifetime.h"
#include "fuse-client/core/memory_budget.h"
#include "fuse-client/core/neighbour_window.h"
#include "fuse-client/core/obstacle.h"
#include "fuse-client/core/replica_chooser.h"
#include "proto/chunk_links.h"
#include "proto/chunk_messages.h"
#include "proto/namespace_messages.h"

namespace dfs::client {

// A range of a block's payload.
struct BlockPart {
  BlockId block;
  std::uint32_t block_bytes = 0;  // of the whole payload
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

class BlockFetcher {
 public:
  struct Events {
    // Where the chunk is; null when that is not known.
    std::function<const ChunkLocation*(ChunkId)> locate;
    std::function<void(ChunkId, NodeId, std::uint32_t block_offset, ErrorCode)> bad_replica;
  };

  BlockFetcher(World world, ChunkLinks& links, MemoryBudget& memory, BlockCache& cache,
               Events events);
  BlockFetcher(const BlockFetcher&) = delete;
  BlockFetcher& operator=(const BlockFetcher&) = delete;

  // The bytes of `part`, in order. May answer inside the call. Fails with kUnavailable (no replica
  // could be used, but some could not be reached or asked), kIo (each replica is bad),
  // kNoSuchChunk (none of them has it, or nobody knows where it is): the extent may be of an older
  // version then.
  void read(const BlockPart& part, std::uint32_t unit_bytes, Done<std::vector<Buffer>> done);
  void prefetch(const BlockPart& part, std::uint32_t unit_bytes);
  // What the first of its bytes that are on their way wait for; nothing: none are.
  std::optional<Obstacle> obstacle(const BlockPart& part) const;

 private:
  struct Waiter {
    BlockPart part;
    std::map<std::uint32_t, Buffer> pieces;  // by where they begin
    std::size_t missing = 0;
    std::optional<Error> error;
    Done<std::vector<Buffer>> done;
  };
  using WaiterPtr = std::shared_ptr<Waiter>;
  struct Fetch {
    BlockPart part;  // cell-aligned, except for the end of the block
    std::vector<WaiterPtr> waiters;
    std::vector<std::pair<NodeId, ErrorCode>> failures;
    Address server;  // that was asked last
    std::uint32_t size() const { return part.end - part.begin; }
  };
  using FetchPtr = std::shared_ptr<Fetch>;
  struct Batch {
    ChunkId chunk;
    NodeId node;
    Address address;
    std::vector<FetchPtr> fetches;
    std::uint64_t bytes = 0;             // of the fetches, and of neighbours
    std::uint32_t neighbours_until = 0;  // as in ReadRequest
  };

  void collect(const BlockPart& part, std::uint32_t unit_bytes, const WaiterPtr& waiter);
  FetchPtr find_pending(BlockId block, std::uint32_t at) const;
  FetchPtr start_fetch(const BlockPart& part, std::uint32_t unit_bytes, std::uint32_t at);
  static void complete(const WaiterPtr& waiter);

  void post_dispatch();
  void dispatch();
  bool assign(const FetchPtr& fetch, std::vector<Batch>& batches);
  void add_neighbours(Batch& batch);
  void send(Batch batch);
  void answered(const Batch& batch, Result<RpcReply<ReadReply>> reply);
  void take_ranges(const Batch& batch, const RpcReply<ReadReply>& reply);
  static void take_neighbours(const Batch& batch, Buffer bytes, std::vector<BlockRange>& good);
  Result<Buffer> checked(const Fetch& fetch, const ReadRangeResult& result, Buffer data) const;
  void replica_failed(const FetchPtr& fetch, NodeId node, const Error& error);
  void fetch_failed(const FetchPtr& fetch, NodeId node, ErrorCode code);
  void give_up(const FetchPtr& fetch);
  void succeed(const FetchPtr& fetch, const Buffer& data);
  void report(const Fetch& fetch, NodeId node, ErrorCode code);

  World world_;
  ChunkLinks& links_;
  MemoryBudget& memory_;
  BlockCache& cache_;
  Events events_;
  ReplicaChooser chooser_;
  NeighbourWindow neighbours_;
  std::map<BlockRangeKey, FetchPtr> pending_;  // by block and begin; not overlapping
  std::deque<FetchPtr> queue_;                 // of pending_: not sent
  bool is_dispatch_posted_ = false;
  std::set<std::pair<ChunkId, NodeId>> reported_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
