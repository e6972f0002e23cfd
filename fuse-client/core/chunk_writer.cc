#include "fuse-client/core/chunk_writer.h"

#include <algorithm>
#include <utility>

namespace dfs::client {

ChunkWriter::ChunkWriter(World world, ChunkLinks& links, MemoryBudget& memory, OpenChunkReply chunk,
                         Events events)
    : world_(world),
      links_(links),
      memory_(memory),
      chunk_(std::move(chunk)),
      events_(std::move(events)),
      builder_(memory, chunk_.chunk, chunk_.epoch),
      last_used_(world.scheduler.now()) {
  DFS_ASSERT(!chunk_.nodes.empty() && chunk_.nodes.size() == chunk_.addresses.size());
  DFS_ASSERT(chunk_.capacity_bytes >= kChunkHeaderBytes);
}

ChunkWriter::~ChunkWriter() { abandon(); }

std::uint64_t ChunkWriter::room() const {
  return is_broken_ || free_bytes() <= kChunkTailBytes ? 0 : free_bytes() - kChunkTailBytes;
}

std::uint32_t ChunkWriter::payload_fitting() const {
  const std::uint32_t free = free_bytes();
  if (is_broken_ || free < block_total_bytes(1)) {
    return 0;
  }
  if (free >= block_total_bytes(kBlockPayloadBytesMax)) {
    return kBlockPayloadBytesMax;
  }
  // Largest payload with header + 4 for each cell + payload <= free.
  std::uint32_t payload = free - kBlockHeaderBytes;
  while (block_total_bytes(payload) > free) {
    payload -= block_total_bytes(payload) - free;
  }
  return payload;
}

void ChunkWriter::add(const FlightBlockPtr& block) {
  DFS_ASSERT(!is_broken_ && block->state == FlightBlock::State::kWaiting);
  DFS_ASSERT(block->room_bytes() <= free_bytes());
  block->state = FlightBlock::State::kPlaced;
  block->chunk = chunk_.chunk;
  planned_end_ += block->room_bytes();
  queue_bytes_ += block->room_bytes();
  queue_.push_back(block);
  ++unsettled_;
  last_used_ = world_.scheduler.now();
  // Large streams do not wait for the end of the flush that brought them.
  if (queue_bytes_ >= kBlockPayloadBytesMax) {
    pump();
  }
}

void ChunkWriter::request_sync() {
  is_sync_wanted_ = true;
  pump();
}

bool ChunkWriter::is_window_open() const {
  return window_frames_ < kAppendWindowFrames && window_bytes_ < kAppendWindowBytes;
}

void ChunkWriter::pump() {
  while (!is_broken_ && is_window_open()) {
    skip_dropped();
    if (!send_next()) {
      return;
    }
  }
}

// Blocks nobody wants any more give their planned place to those behind them.
void ChunkWriter::skip_dropped() {
  while (!queue_.empty() && queue_.front()->is_dropped) {
    planned_end_ -= queue_.front()->room_bytes();
    queue_bytes_ -= queue_.front()->room_bytes();
    queue_.pop_front();
  }
}

bool ChunkWriter::send_next() {
  const bool is_settled = queue_.empty();
  if (is_settled && (!is_sync_wanted_ || unsynced_bytes_ == 0)) {
    is_sync_wanted_ = false;
    return false;
  }
  const bool is_small_stream = queue_bytes_ < kBlockPayloadBytesMax && !is_sync_wanted_;
  if (!is_settled && is_small_stream) {
    return false;
  }
  Frame frame;
  frame.chunk_offset = sent_end_;
  if (!is_settled) {
    auto built = builder_.build(queue_, sent_end_);
    if (!built) {
      return false;  // pumped again when there is memory
    }
    frame = std::move(*built);
    queue_bytes_ -= frame.size_bytes;
  }
  const std::uint64_t sync_every =
      std::min(kSyncEveryBytes, memory_.share(MemoryBudget::Use::kDirty) / 4);
  unsynced_bytes_ += frame.size_bytes;
  frame.has_sync = (queue_.empty() && is_sync_wanted_) || unsynced_bytes_ >= sync_every;
  if (frame.has_sync) {
    unsynced_bytes_ = 0;
    is_sync_wanted_ = is_sync_wanted_ && !queue_.empty();
  }
  send(std::move(frame));
  return true;
}

void ChunkWriter::send(Frame frame) {
  AppendRequest request;
  request.chunk = chunk_.chunk;
  request.epoch = chunk_.epoch;
  request.chunk_offset = frame.chunk_offset;
  request.sync = frame.has_sync;
  request.chain_nodes.assign(chunk_.nodes.begin() + 1, chunk_.nodes.end());
  request.chain_addresses.assign(chunk_.addresses.begin() + 1, chunk_.addresses.end());
  sent_end_ = frame.end();
  window_bytes_ += frame.size_bytes;
  ++window_frames_;
  const std::uint64_t frame_id = first_frame_id_ + frames_.size();
  CallOptions options;
  options.timeout = kAppendTimeout;
  const Buffer bulk = frame.bulk;
  frames_.push_back(std::move(frame));
  frames_.back().call =
      links_.to(chunk_.addresses.front())
          .call(request, options,
                std::function<void(Result<RpcReply<AppendReply>>)>(
                    lifetime_.guard([this, frame_id](auto&& reply) { answered(frame_id, reply); })),
                bulk);
}

void ChunkWriter::answered(std::uint64_t frame_id, const Result<RpcReply<AppendReply>>& reply) {
  // A frame that is gone was covered by the sync of a later one.
  if (is_broken_ || frame_id < first_frame_id_) {
    return;
  }
  last_used_ = world_.scheduler.now();
  Frame& frame = frames_[frame_id - first_frame_id_];
  frame.call = CallId{};
  if (!reply) {
    break_off(chunk_.nodes.front(), reply.code(), reply.error().detail);
    return;
  }
  check(frame, reply->body);
  if (is_broken_) {
    return;
  }
  acknowledge(frame);
  if (frame.has_sync) {
    std::vector<FlightBlockPtr> stable;
    for (; first_frame_id_ <= frame_id; ++first_frame_id_) {
      Frame& first = frames_.front();
      acknowledge(first);
      for (FlightBlockPtr& block : first.blocks) {
        stable.push_back(std::move(block));
      }
      frames_.pop_front();
    }
    events_.stable(stable);
  }
  pump();
}

void ChunkWriter::check(const Frame& frame, const AppendReply& reply) {
  const ErrorCode outcome = error_code_from_wire(reply.outcome);
  if (outcome != ErrorCode::kOk) {
    break_off(reply.failed_node, outcome, reply.detail);
  } else if (reply.length_bytes < frame.end()) {
    break_off(chunk_.nodes.front(), ErrorCode::kCorrupt,
              "it says the chunk ends before what it took");
  }
}

void ChunkWriter::acknowledge(Frame& frame) {
  if (frame.is_acknowledged) {
    return;
  }
  frame.is_acknowledged = true;
  DFS_ASSERT(window_frames_ > 0 && window_bytes_ >= frame.size_bytes);
  --window_frames_;
  window_bytes_ -= frame.size_bytes;
  frame.bulk = Buffer();
  memory_.release(MemoryBudget::Use::kInFlight, std::exchange(frame.reserved_bytes, 0));
}

void ChunkWriter::break_off(NodeId failed_node, ErrorCode failure, const std::string& detail) {
  if (is_broken_) {
    return;
  }
  is_broken_ = true;
  failed_node_ = failed_node;
  failure_ = failure;
  failure_detail_ = detail;
  abandon();
  events_.broken(*this);
}

void ChunkWriter::abandon() {
  for (Frame& frame : frames_) {
    if (frame.call.is_set()) {
      links_.to(chunk_.addresses.front()).cancel(frame.call);
    }
    acknowledge(frame);
  }
  first_frame_id_ += frames_.size();
  frames_.clear();
  queue_.clear();
  queue_bytes_ = 0;
}

}  // namespace dfs::client
