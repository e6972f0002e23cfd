#include "fuse-client/core/block_fetcher.h"

#include <algorithm>
#include <utility>

#include "proto/block.h"
#include "proto/limits.h"

namespace dfs::client {
namespace {

// Requests for much data are cut here, so that several servers and disks work at the same time.
constexpr std::uint64_t kBatchBytes = 1u << 20;
// A live server that is this slow is treated as silent.
constexpr std::chrono::seconds kReadTimeout{8};
constexpr std::size_t kReportedMax = 4096;

static_assert(kBatchBytes + kBlockPayloadBytesMax <= kReadBytesMax);

std::uint32_t round_down(std::uint32_t value, std::uint32_t unit) { return value - value % unit; }

std::uint32_t round_up(std::uint32_t value, std::uint32_t unit) {
  return round_down(value + unit - 1, unit);
}

// The server may have what is asked for, only not now.
bool may_come_back(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kTimedOut ||
         code == ErrorCode::kBusy;
}

}  // namespace

BlockFetcher::BlockFetcher(World world, ChunkLinks& links, MemoryBudget& memory, BlockCache& cache,
                           Events events)
    : world_(world),
      links_(links),
      memory_(memory),
      cache_(cache),
      events_(std::move(events)),
      chooser_(world.scheduler, world.random) {
  cache_.on_first_use([this] { neighbours_.used(); });
  memory_.set_evictor([this](std::uint64_t bytes) { cache_.evict(bytes); });
  memory_.on_room([this] {
    if (!queue_.empty()) {
      post_dispatch();
    }
  });
}

// --- What is wanted ------------------------------------------------------------------------------

void BlockFetcher::read(const BlockPart& part, std::uint32_t unit_bytes,
                        Done<std::vector<Buffer>> done) {
  DFS_ASSERT(part.begin < part.end && part.end <= part.block_bytes);
  auto waiter = std::make_shared<Waiter>();
  waiter->part = part;
  waiter->done = std::move(done);
  collect(part, unit_bytes, waiter);
  if (waiter->missing == 0) {
    complete(waiter);
  }
}

void BlockFetcher::prefetch(const BlockPart& part, std::uint32_t unit_bytes) {
  collect(part, unit_bytes, nullptr);
}

void BlockFetcher::collect(const BlockPart& part, std::uint32_t unit_bytes,
                           const WaiterPtr& waiter) {
  for (std::uint32_t at = part.begin; at < part.end;) {
    if (const auto cached = cache_.find(part.block, at)) {
      const std::uint32_t until = std::min(part.end, cached->end());
      if (waiter) {
        waiter->pieces.emplace(at, cached->data.slice(at - cached->begin, until - at));
      }
      at = until;
      continue;
    }
    FetchPtr fetch = find_pending(part.block, at);
    if (!fetch) {
      fetch = start_fetch(part, unit_bytes, at);
    }
    if (waiter) {
      fetch->waiters.push_back(waiter);
      ++waiter->missing;
    }
    at = std::min(part.end, fetch->part.end);
  }
}

BlockFetcher::FetchPtr BlockFetcher::find_pending(BlockId block, std::uint32_t at) const {
  auto place = pending_.upper_bound({block, at});
  if (place == pending_.begin()) {
    return nullptr;
  }
  --place;
  const bool holds = place->first.block == block && place->second->part.end > at;
  return holds ? place->second : nullptr;
}

BlockFetcher::FetchPtr BlockFetcher::start_fetch(const BlockPart& part, std::uint32_t unit_bytes,
                                                 std::uint32_t at) {
  DFS_ASSERT(unit_bytes > 0 && unit_bytes % kChecksumCellBytes == 0);
  const std::uint32_t last = std::min(part.end, round_down(at, unit_bytes) + kBlockPayloadBytesMax);
  auto [begin, end] = cache_.gap(part.block, at, round_down(at, unit_bytes),
                                 std::min(part.block_bytes, round_up(last, unit_bytes)));
  const auto next = pending_.upper_bound({part.block, at});
  if (next != pending_.end() && next->first.block == part.block) {
    end = std::min(end, next->first.begin);
  }
  if (next != pending_.begin() && std::prev(next)->first.block == part.block) {
    begin = std::max(begin, std::prev(next)->second->part.end);
  }
  auto fetch = std::make_shared<Fetch>();
  fetch->part = {part.block, part.block_bytes, begin, end};
  DFS_ASSERT(begin % kChecksumCellBytes == 0 && begin <= at && at < end);
  pending_.emplace(BlockRangeKey{part.block, begin}, fetch);
  queue_.push_back(fetch);
  post_dispatch();
  return fetch;
}

std::optional<Obstacle> BlockFetcher::obstacle(const BlockPart& part) const {
  const auto first = pending_.lower_bound({part.block, part.begin});
  FetchPtr fetch = find_pending(part.block, part.begin);
  if (!fetch && first != pending_.end() && first->first.block == part.block &&
      first->first.begin < part.end) {
    fetch = first->second;
  }
  if (!fetch) {
    return std::nullopt;
  }
  const bool is_queued = std::find(queue_.begin(), queue_.end(), fetch) != queue_.end();
  return Obstacle{.cause = is_queued ? WaitCause::kMemory : WaitCause::kServer,
                  .server = is_queued ? Address() : fetch->server};
}

void BlockFetcher::complete(const WaiterPtr& waiter) {
  auto done = std::exchange(waiter->done, nullptr);
  if (waiter->error) {
    done(std::move(*waiter->error));
    return;
  }
  std::vector<Buffer> bytes;
  std::uint32_t at = waiter->part.begin;
  for (auto& [begin, piece] : waiter->pieces) {
    DFS_ASSERT(begin == at);
    at += static_cast<std::uint32_t>(piece.size());
    bytes.push_back(std::move(piece));
  }
  DFS_ASSERT(at == waiter->part.end);
  done(std::move(bytes));
}

// --- On the way ----------------------------------------------------------------------------------

void BlockFetcher::post_dispatch() {
  // Once for all that is wanted in this turn, so that it can travel together.
  if (!std::exchange(is_dispatch_posted_, true)) {
    world_.scheduler.post(lifetime_.guard([this] {
      is_dispatch_posted_ = false;
      dispatch();
    }));
  }
}

void BlockFetcher::dispatch() {
  std::deque<FetchPtr> queue = std::exchange(queue_, {});
  std::vector<Batch> batches;
  std::vector<FetchPtr> hopeless;
  // Those somebody waits for go first: they must not find the memory taken by the others.
  std::stable_partition(queue.begin(), queue.end(),
                        [](const FetchPtr& fetch) { return !fetch->waiters.empty(); });
  bool is_full = false;
  for (const FetchPtr& fetch : queue) {
    is_full = is_full || !memory_.try_reserve(MemoryBudget::Use::kInFlight, fetch->size());
    if (is_full) {
      if (fetch->waiters.empty()) {
        pending_.erase({fetch->part.block, fetch->part.begin});
      } else {
        queue_.push_back(fetch);
      }
      continue;
    }
    if (!assign(fetch, batches)) {
      memory_.release(MemoryBudget::Use::kInFlight, fetch->size());
      hopeless.push_back(fetch);
    }
  }
  for (Batch& batch : batches) {
    add_neighbours(batch);
    send(std::move(batch));
  }
  for (const FetchPtr& fetch : hopeless) {
    give_up(fetch);
  }
}

bool BlockFetcher::assign(const FetchPtr& fetch, std::vector<Batch>& batches) {
  const ChunkId chunk = fetch->part.block.chunk;
  const ChunkLocation* where = events_.locate(chunk);
  if (where == nullptr) {
    return false;
  }
  const auto latest = std::find_if(batches.rbegin(), batches.rend(),
                                   [chunk](const Batch& batch) { return batch.chunk == chunk; });
  std::set<NodeId> tried;
  for (const auto& [node, code] : fetch->failures) {
    tried.insert(node);
  }
  const auto choice =
      chooser_.choose(*where, tried, latest == batches.rend() ? NodeId{} : latest->node);
  if (!choice) {
    return false;
  }
  const NodeId node = where->nodes[*choice];
  const bool fits = latest != batches.rend() && latest->node == node &&
                    latest->bytes < kBatchBytes && latest->fetches.size() < kReadRangesMax;
  if (!fits) {
    batches.push_back({chunk, node, where->addresses[*choice], {fetch}, fetch->size(), 0});
  } else {
    latest->fetches.push_back(fetch);
    latest->bytes += fetch->size();
  }
  return true;
}

// A small block brings what lies behind it, up to what is here already.
void BlockFetcher::add_neighbours(Batch& batch) {
  const BlockPart& part = batch.fetches.front()->part;
  const bool is_small_block = batch.fetches.size() == 1 && part.begin == 0 &&
                              part.end == part.block_bytes &&
                              part.block_bytes <= kNeighbourBlockBytesMax;
  if (!is_small_block) {
    return;
  }
  const std::uint32_t end = part.block.offset + block_total_bytes(part.block_bytes);
  const std::uint32_t until = std::min(end + neighbours_.bytes(), cache_.next_block(part.block));
  if (until > end + kBlockHeaderBytes &&
      memory_.try_reserve(MemoryBudget::Use::kInFlight, until - end)) {
    batch.bytes += until - end;
    batch.neighbours_until = until;
    neighbours_.asked();
  }
}

void BlockFetcher::send(Batch batch) {
  ReadRequest request;
  request.chunk = batch.chunk;
  request.neighbours_until = batch.neighbours_until;
  for (const FetchPtr& fetch : batch.fetches) {
    fetch->server = batch.address;
    request.ranges.push_back({.block_offset = fetch->part.block.offset,
                              .block_bytes = fetch->part.block_bytes,
                              .payload_offset = fetch->part.begin,
                              .length_bytes = fetch->size()});
  }
  CallOptions options;
  options.timeout = kReadTimeout;
  RpcClient& server = links_.to(batch.address);
  server.call(request, options,
              [this, batch = std::move(batch)](Result<RpcReply<ReadReply>> reply) {
                answered(batch, std::move(reply));
              });
}

void BlockFetcher::answered(const Batch& batch, Result<RpcReply<ReadReply>> reply) {
  memory_.release(MemoryBudget::Use::kInFlight, batch.bytes);
  if (reply && reply->body.ranges.size() != batch.fetches.size()) {
    reply = make_error(ErrorCode::kBadMessage, "another number of ranges than asked for");
  }
  if (!reply) {
    if (may_come_back(reply.code())) {
      chooser_.failed(batch.node);
    }
    world_.log.warning(
        "A read failed; the next replica is asked. node=" + std::to_string(batch.node.value) +
        " address=" + batch.address + " chunk=" + std::to_string(batch.chunk.value) +
        " code=" + error_code_name(reply.code()));
    for (const FetchPtr& fetch : batch.fetches) {
      fetch_failed(fetch, batch.node, reply.code());
    }
    return;
  }
  chooser_.answered(batch.node);
  take_ranges(batch, *reply);
}

void BlockFetcher::take_ranges(const Batch& batch, const RpcReply<ReadReply>& reply) {
  std::vector<Result<Buffer>> parts;
  std::vector<BlockRange> good;
  std::size_t at = 0;
  for (std::size_t i = 0; i < batch.fetches.size(); ++i) {
    const BlockPart& part = batch.fetches[i]->part;
    const ReadRangeResult& result = reply.body.ranges[i];
    const std::size_t size = std::min<std::size_t>(result.size_bytes, reply.bulk.size() - at);
    parts.push_back(checked(*batch.fetches[i], result, reply.bulk.slice(at, size)));
    at += size;
    if (parts.back()) {
      good.push_back({part.block, part.begin, *parts.back(), false});
    }
  }
  if (batch.neighbours_until != 0) {
    take_neighbours(batch, reply.bulk.slice(at, reply.bulk.size() - at), good);
  }
  // First, so that whoever is answered now and reads on finds it there.
  cache_.insert(std::move(good), reply.bulk.size());
  for (std::size_t i = 0; i < batch.fetches.size(); ++i) {
    if (parts[i]) {
      succeed(batch.fetches[i], *parts[i]);
    } else {
      replica_failed(batch.fetches[i], batch.node, parts[i].error());
    }
  }
}

// What came along is checked like everything else. Where it stops being sound blocks of this chunk
// (the last one may be cut) it is left alone: whoever wants those asks, and then it is reported.
void BlockFetcher::take_neighbours(const Batch& batch, Buffer bytes,
                                   std::vector<BlockRange>& good) {
  const BlockPart& part = batch.fetches.front()->part;
  std::uint32_t offset = part.block.offset + block_total_bytes(part.block_bytes);
  while (!bytes.empty()) {
    const auto block = parse_block(bytes.bytes());
    if (!block || block->header.chunk != batch.chunk || block->header.chunk_offset != offset) {
      return;
    }
    const std::uint32_t payload_bytes = block->header.payload_bytes;
    good.push_back({.block = {batch.chunk, offset},
                    .begin = 0,
                    .data = bytes.slice(block_prefix_bytes(payload_bytes), payload_bytes),
                    .came_along = true});
    const std::uint32_t total = block_total_bytes(payload_bytes);
    bytes = bytes.slice(total, bytes.size() - total);
    offset += total;
  }
}

void BlockFetcher::replica_failed(const FetchPtr& fetch, NodeId node, const Error& error) {
  world_.log.warning(
      "A replica could not be used; the next one is asked. node=" + std::to_string(node.value) +
      " chunk=" + std::to_string(fetch->part.block.chunk.value) +
      " block=" + std::to_string(fetch->part.block.offset) +
      " code=" + error_code_name(error.code) + " detail=" + error.detail);
  if (error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kIo) {
    report(*fetch, node, error.code);
  }
  fetch_failed(fetch, node, error.code);
}

Result<Buffer> BlockFetcher::checked(const Fetch& fetch, const ReadRangeResult& result,
                                     Buffer data) const {
  if (result.code != 0) {
    const ErrorCode code = error_code_from_wire(result.code);
    return make_error(code, "the server says so");
  }
  const std::uint32_t cells = cell_count(fetch.size());
  if (result.first_cell != fetch.part.begin / kChecksumCellBytes || data.size() != fetch.size() ||
      result.size_bytes != fetch.size() || result.checksums.size() != cells) {
    return make_error(ErrorCode::kBadMessage, "other bytes than asked for");
  }
  DFS_CHECK_OK(verify_cells(data.bytes(), result.checksums));
  return data;
}

// --- Ends ----------------------------------------------------------------------------------------

void BlockFetcher::succeed(const FetchPtr& fetch, const Buffer& data) {
  pending_.erase({fetch->part.block, fetch->part.begin});
  for (const auto& [node, code] : fetch->failures) {
    // Missing there, but not everywhere: it really is missing.
    if (code == ErrorCode::kNoSuchChunk) {
      report(*fetch, node, code);
    }
  }
  for (const WaiterPtr& waiter : std::exchange(fetch->waiters, {})) {
    const std::uint32_t begin = std::max(waiter->part.begin, fetch->part.begin);
    const std::uint32_t end = std::min(waiter->part.end, fetch->part.end);
    DFS_ASSERT(begin < end);
    waiter->pieces.emplace(begin, data.slice(begin - fetch->part.begin, end - begin));
    if (--waiter->missing == 0) {
      complete(waiter);
    }
  }
}

void BlockFetcher::fetch_failed(const FetchPtr& fetch, NodeId node, ErrorCode code) {
  fetch->failures.emplace_back(node, code);
  queue_.push_back(fetch);
  post_dispatch();
}

void BlockFetcher::give_up(const FetchPtr& fetch) {
  pending_.erase({fetch->part.block, fetch->part.begin});
  // Another read that failed may have had the location forgotten: then not every replica was asked.
  const bool all_asked =
      fetch->failures.empty() || events_.locate(fetch->part.block.chunk) != nullptr;
  ErrorCode code = all_asked ? ErrorCode::kNoSuchChunk : ErrorCode::kUnavailable;
  std::string detail = "chunk=" + std::to_string(fetch->part.block.chunk.value) +
                       " block=" + std::to_string(fetch->part.block.offset);
  for (const auto& [node, failure] : fetch->failures) {
    detail += " node" + std::to_string(node.value) + "=" + error_code_name(failure);
    if (may_come_back(failure)) {
      code = ErrorCode::kUnavailable;
    } else if (failure != ErrorCode::kNoSuchChunk && code != ErrorCode::kUnavailable) {
      code = ErrorCode::kIo;
    }
  }
  for (const WaiterPtr& waiter : std::exchange(fetch->waiters, {})) {
    waiter->error = make_error(code, detail);
    if (--waiter->missing == 0) {
      complete(waiter);
    }
  }
}

void BlockFetcher::report(const Fetch& fetch, NodeId node, ErrorCode code) {
  if (reported_.size() >= kReportedMax) {
    reported_.clear();
  }
  if (reported_.emplace(fetch.part.block.chunk, node).second) {
    events_.bad_replica(fetch.part.block.chunk, node, fetch.part.block.offset, code);
  }
}

}  // namespace dfs::client
