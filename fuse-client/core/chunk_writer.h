// One chunk this session has open: blocks go in, and are told back once they are on stable storage
// of every replica.
//
// Appends are pipelined up to kAppendWindowBytes and kAppendWindowFrames; a sync rides on the last
// append of what is queued when one was requested, and on every kSyncEveryBytes. Any failure breaks
// the chunk for good: nothing more is appended or told, and the owner takes its blocks elsewhere.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "common/world.h"
#include "fuse-client/core/block_builder.h"
#include "fuse-client/core/lifetime.h"
#include "proto/chunk_links.h"
#include "proto/chunk_messages.h"
#include "proto/data_messages.h"

namespace dfs::client {

inline constexpr std::uint64_t kAppendWindowBytes = 16u << 20;
inline constexpr std::size_t kAppendWindowFrames = 16;
inline constexpr std::uint64_t kSyncEveryBytes = 16u << 20;
// Of one append. Pings notice a dead server much earlier; this is for one that is alive and stuck.
inline constexpr std::chrono::seconds kAppendTimeout{30};
// Less room than this is left over at the end of a chunk: a block is cut in two only at a cell.
inline constexpr std::uint32_t kChunkTailBytes = 4352;

class ChunkWriter {
 public:
  struct Events {
    std::function<void(const std::vector<FlightBlockPtr>&)> stable;
    // Called once. The writer may only be destroyed later, from a posted task.
    std::function<void(ChunkWriter&)> broken;
  };

  // Precondition: the reply names at least one node, and an address for each.
  ChunkWriter(World world, ChunkLinks& links, MemoryBudget& memory, OpenChunkReply chunk,
              Events events);
  ~ChunkWriter();
  ChunkWriter(const ChunkWriter&) = delete;
  ChunkWriter& operator=(const ChunkWriter&) = delete;

  ChunkId id() const { return chunk_.chunk; }
  ChunkLocation location() const { return {chunk_.chunk, chunk_.nodes, chunk_.addresses}; }

  // Bytes that blocks can surely be placed in; the last kChunkTailBytes do not count.
  std::uint64_t room() const;
  // The largest payload that fits now as one block; 0 when not even a cell does.
  std::uint32_t payload_fitting() const;
  bool is_empty() const { return planned_end_ == kChunkHeaderBytes; }
  MonoTime last_used() const { return last_used_; }

  // Precondition: not broken, state kWaiting, and it fits. The block becomes kPlaced.
  void add(const FlightBlockPtr& block);
  // Everything added so far is to become stable soon.
  void request_sync();
  // Sends what the window and the memory allow.
  void pump();

  void break_off(NodeId failed_node, ErrorCode failure, const std::string& detail);
  bool is_broken() const { return is_broken_; }
  NodeId failed_node() const { return failed_node_; }
  ErrorCode failure() const { return failure_; }
  const std::string& failure_detail() const { return failure_detail_; }

  // Blocks placed here whose fate is open: not committed, not taken away.
  std::uint64_t unsettled() const { return unsettled_; }
  void settle() {
    DFS_ASSERT(unsettled_ > 0);
    --unsettled_;
  }

 private:
  std::uint32_t free_bytes() const { return chunk_.capacity_bytes - planned_end_; }
  bool is_window_open() const;
  void skip_dropped();
  bool send_next();
  void send(Frame frame);
  void answered(std::uint64_t frame_id, const Result<RpcReply<AppendReply>>& reply);
  void check(const Frame& frame, const AppendReply& reply);
  void acknowledge(Frame& frame);
  void abandon();

  World world_;
  ChunkLinks& links_;
  MemoryBudget& memory_;
  OpenChunkReply chunk_;
  Events events_;
  BlockBuilder builder_;
  std::deque<FlightBlockPtr> queue_;  // placed, not sent
  std::uint64_t queue_bytes_ = 0;
  std::deque<Frame> frames_;  // sent, not known to be stable
  std::uint64_t first_frame_id_ = 1;
  std::uint32_t sent_end_ = kChunkHeaderBytes;
  std::uint32_t planned_end_ = kChunkHeaderBytes;
  std::uint64_t window_bytes_ = 0;
  std::size_t window_frames_ = 0;
  std::uint64_t unsynced_bytes_ = 0;  // sent behind the last sync
  bool is_sync_wanted_ = false;
  bool is_broken_ = false;
  NodeId failed_node_;
  ErrorCode failure_ = ErrorCode::kOk;
  std::string failure_detail_;
  std::uint64_t unsettled_ = 0;
  MonoTime last_used_;
  Lifetime lifetime_;
};

}  // namespace dfs::client
