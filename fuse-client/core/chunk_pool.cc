#include "fuse-client/core/chunk_pool.h"

#include <algorithm>
#include <utility>

namespace dfs::client {
namespace {

// A failure that says something about a server, not about the chunk or the session.
bool is_servers_fault(ErrorCode failure) {
  return failure != ErrorCode::kSealed && failure != ErrorCode::kSessionExpired &&
         failure != ErrorCode::kWrongOffset && failure != ErrorCode::kBusy;
}

}  // namespace

ChunkPool::ChunkPool(World world, MasterLink& master, ChunkLinks& links, MemoryBudget& memory,
                     Events events)
    : world_(world),
      master_(master),
      links_(links),
      memory_(memory),
      events_(std::move(events)),
      idle_timer_(world.scheduler) {}

ChunkPool::~ChunkPool() = default;

ChunkPool::Policy& ChunkPool::policy_state(const StoragePolicy& policy) {
  Policy& state = policies_[policy];
  if (!state.retry) {
    state.retry = std::make_unique<Timer>(world_.scheduler);
  }
  return state;
}

std::uint64_t ChunkPool::room(const StoragePolicy& policy) const {
  std::uint64_t sum = 0;
  for (const auto& [id, chunk] : chunks_) {
    if (chunk.policy == policy && is_usable(chunk)) {
      sum += chunk.writer->room();
    }
  }
  return sum;
}

std::uint64_t ChunkPool::free_room(const StoragePolicy& policy) const {
  const auto state = policies_.find(policy);
  const std::uint64_t promised = state == policies_.end() ? 0 : state->second.promised;
  const std::uint64_t sum = room(policy);
  return sum > promised ? sum - promised : 0;
}

void ChunkPool::promise(const StoragePolicy& policy, std::uint64_t bytes) {
  policy_state(policy).promised += bytes;
}

void ChunkPool::take_back(const StoragePolicy& policy, std::uint64_t bytes) {
  Policy& state = policy_state(policy);
  DFS_ASSERT(state.promised >= bytes);
  state.promised -= bytes;
}

ErrorCode ChunkPool::last_failure(const StoragePolicy& policy) const {
  const auto state = policies_.find(policy);
  return state == policies_.end() ? ErrorCode::kOk : state->second.last_failure;
}

bool ChunkPool::is_usable(const Chunk& chunk) {
  return !chunk.is_to_seal && !chunk.is_foreign && chunk.writer->room() > 0;
}

// --- Which chunk ---------------------------------------------------------------------------------

ChunkWriter* ChunkPool::take(const StoragePolicy& policy, InodeId owner) {
  Chunk* chunk = find_owned(policy, owner);
  if (chunk == nullptr) {
    chunk = find_spare(policy, owner);
    if (chunk != nullptr) {
      chunk->is_owned = true;
      chunk->owner = owner;
    }
  }
  if (chunk == nullptr) {
    want(policy);
    // Better in somebody else's chunk than nowhere: the promise counted every chunk's room.
    chunk = last_failure(policy) == ErrorCode::kOk ? nullptr : find_any(policy);
  } else if (owner != kSharedOwner && chunk->writer->room() < kRoomAheadBytes &&
             !has_empty_spare(policy)) {
    want(policy);
  }
  return chunk == nullptr ? nullptr : chunk->writer.get();
}

ChunkPool::Chunk* ChunkPool::find_owned(const StoragePolicy& policy, InodeId owner) {
  for (auto& [id, chunk] : chunks_) {
    if (chunk.is_owned && chunk.owner == owner && chunk.policy == policy && is_usable(chunk)) {
      return &chunk;
    }
  }
  return nullptr;
}

// A large file goes on where it was, or begins an empty chunk; small ones fill what was begun.
ChunkPool::Chunk* ChunkPool::find_spare(const StoragePolicy& policy, InodeId owner) {
  Chunk* best = nullptr;
  for (auto& [id, chunk] : chunks_) {
    if (chunk.is_owned || chunk.policy != policy || !is_usable(chunk)) {
      continue;
    }
    if (owner != kSharedOwner) {
      if (chunk.owner == owner) {
        return &chunk;
      }
      best = best == nullptr && chunk.writer->is_empty() ? &chunk : best;
    } else if (best == nullptr || chunk.writer->room() < best->writer->room()) {
      best = &chunk;
    }
  }
  return best;
}

ChunkPool::Chunk* ChunkPool::find_any(const StoragePolicy& policy) {
  for (auto& [id, chunk] : chunks_) {
    if (chunk.policy == policy && is_usable(chunk)) {
      return &chunk;
    }
  }
  return nullptr;
}

bool ChunkPool::has_empty_spare(const StoragePolicy& policy) const {
  return std::any_of(chunks_.begin(), chunks_.end(), [&](const auto& entry) {
    const Chunk& chunk = entry.second;
    return !chunk.is_owned && chunk.policy == policy && is_usable(chunk) &&
           chunk.writer->is_empty();
  });
}

void ChunkPool::release_owner(InodeId owner) {
  for (auto& [id, chunk] : chunks_) {
    if (chunk.is_owned && chunk.owner == owner) {
      chunk.is_owned = false;
      limit_spares(chunk.policy);
    }
  }
}

// Copying many large files one after the other must not leave a half-empty open chunk for each.
void ChunkPool::limit_spares(const StoragePolicy& policy) {
  std::vector<Chunk*> spares;
  for (auto& [id, chunk] : chunks_) {
    if (!chunk.is_owned && chunk.policy == policy && is_usable(chunk) &&
        !chunk.writer->is_empty()) {
      spares.push_back(&chunk);
    }
  }
  const std::size_t excess = spares.size() > kSparesMax ? spares.size() - kSparesMax : 0;
  for (std::size_t i = 0; i < excess; ++i) {
    if (free_room(policy) >= spares[i]->writer->room()) {
      spares[i]->is_to_seal = true;
      sweep_soon();
    }
  }
}

ChunkWriter* ChunkPool::find(ChunkId chunk) {
  const auto at = chunks_.find(chunk);
  return at == chunks_.end() ? nullptr : at->second.writer.get();
}

// --- Opening -------------------------------------------------------------------------------------

void ChunkPool::want(const StoragePolicy& policy) {
  Policy& state = policy_state(policy);
  if (state.is_opening || state.retry->is_armed()) {
    return;
  }
  const MonoTime now = world_.scheduler.now();
  if (state.retry_at > now) {
    state.retry->start(state.retry_at - now, [this, policy] { open(policy); });
    return;
  }
  open(policy);
}

void ChunkPool::ask_again_if_full(const StoragePolicy& policy) {
  Policy& state = policy_state(policy);
  if (is_full(policy) && !state.is_opening) {
    state.retry->stop();
    open(policy);
  }
}

Obstacle ChunkPool::obstacle(const StoragePolicy& policy, std::optional<MonoTime> until) const {
  const ErrorCode failure = last_failure(policy);
  const auto state = policies_.find(policy);
  // Those that were opened broke, one after the other.
  const bool is_pausing = state != policies_.end() && state->second.retry->is_armed();
  if (failure == ErrorCode::kOk && !is_pausing) {
    return {};  // it is being opened
  }
  // At least a moment is left: what is given up is answered, and waits no more.
  const Duration left =
      until ? std::max<Duration>(*until - waiting_clock(), kOpenRetryDelay) : Duration::zero();
  return {.cause = failure == ErrorCode::kNoSpace ? WaitCause::kSpace : WaitCause::kServers,
          .ends_in = left};
}

Obstacle ChunkPool::obstacle_of(ChunkId chunk) const {
  Obstacle obstacle{.cause = WaitCause::kServer};
  const auto place = chunks_.find(chunk);
  if (place == chunks_.end()) {
    return obstacle;
  }
  for (const Address& address : place->second.writer->location().addresses) {
    obstacle.server += (obstacle.server.empty() ? "" : ", ") + address;
  }
  return obstacle;
}

MonoTime ChunkPool::waiting_clock() const {
  return (openings_ > 0 ? opening_since_ : world_.scheduler.now()) - opening_total_;
}

void ChunkPool::open(const StoragePolicy& policy) {
  policy_state(policy).is_opening = true;
  if (openings_++ == 0) {
    opening_since_ = world_.scheduler.now();
  }
  OpenChunkRequest request;
  request.policy = policy;
  request.avoid = avoided();
  master_.call(request,
               Done<OpenChunkReply>(lifetime_.guard([this, policy](Result<OpenChunkReply> reply) {
                 opened(policy, std::move(reply));
               })));
}

void ChunkPool::opened(const StoragePolicy& policy, Result<OpenChunkReply> reply) {
  Policy& state = policy_state(policy);
  state.is_opening = false;
  if (--openings_ == 0) {
    opening_total_ += world_.scheduler.now() - opening_since_;
  }
  if (reply && (reply->nodes.empty() || reply->nodes.size() != reply->addresses.size() ||
                reply->capacity_bytes <= kChunkHeaderBytes + kChunkTailBytes ||
                reply->capacity_bytes > kChunkBytesMax || chunks_.contains(reply->chunk))) {
    reply = make_error(ErrorCode::kBadMessage, "the master's answer names no usable chunk");
  }
  const Status status = reply ? ok() : Status(reply.error());
  if (reply) {
    state.last_failure = ErrorCode::kOk;
    state.no_space_count = 0;
    add_chunk(policy, std::move(*reply));
  } else {
    if (state.last_failure != status.code()) {
      world_.log.warning("no chunk to write to: " + std::string(error_code_name(status.code())) +
                         " replicas=" + std::to_string(policy.replicas) +
                         " detail=" + status.error().detail);
    }
    state.last_failure = status.code();
    state.no_space_count = status.code() == ErrorCode::kNoSpace ? state.no_space_count + 1 : 0;
    state.retry_at = world_.scheduler.now() + kOpenRetryDelay;
  }
  events_.answered(policy, status);
}

void ChunkPool::add_chunk(const StoragePolicy& policy, OpenChunkReply reply) {
  const ChunkId id = reply.chunk;
  ChunkWriter::Events events;
  events.stable = [this, policy](const std::vector<FlightBlockPtr>& blocks) {
    policy_state(policy).breaks_in_a_row = 0;
    events_.stable(blocks);
  };
  events.broken = [this](ChunkWriter& writer) { broke(writer); };
  Chunk& chunk = chunks_[id];
  chunk.policy = policy;
  chunk.writer =
      std::make_unique<ChunkWriter>(world_, links_, memory_, std::move(reply), std::move(events));
  if (!idle_timer_.is_armed()) {
    idle_timer_.start(kChunkIdleTime, [this] { sweep(); });
  }
}

std::vector<NodeId> ChunkPool::avoided() {
  const MonoTime now = world_.scheduler.now();
  std::erase_if(avoid_until_, [&](const auto& entry) { return entry.second <= now; });
  std::vector<NodeId> nodes;
  for (const auto& [node, until] : avoid_until_) {
    nodes.push_back(node);
  }
  return nodes;
}

// --- Breaking and sealing ------------------------------------------------------------------------

void ChunkPool::broke(ChunkWriter& writer) {
  const NodeId node = writer.failed_node();
  Policy& state = policy_state(chunks_.at(writer.id()).policy);
  if (++state.breaks_in_a_row >= kBreaksInARow) {
    // The master hands out chunks that cannot be written: asking at once would only spin.
    state.retry_at = world_.scheduler.now() + kOpenRetryDelay;
  }
  if (node.is_set() && is_servers_fault(writer.failure())) {
    avoid_until_[node] = world_.scheduler.now() + kAvoidTime;
  }
  world_.log.warning(
      "an append failed, going on in another chunk chunk=" + std::to_string(writer.id().value) +
      " node=" + std::to_string(node.value) + " failure=" + error_code_name(writer.failure()) +
      " detail=" + writer.failure_detail());
  events_.broken(writer.id());
  sweep_soon();
}

void ChunkPool::break_off(ChunkId chunk, ErrorCode failure) {
  if (ChunkWriter* writer = find(chunk)) {
    writer->break_off(NodeId{}, failure, "the master does not know the chunk any more");
  }
}

void ChunkPool::settle(ChunkId chunk) {
  if (ChunkWriter* writer = find(chunk)) {
    writer->settle();
    if (writer->unsettled() == 0) {
      sweep_soon();
    }
  }
}

void ChunkPool::sweep_soon() {
  if (!std::exchange(is_sweep_posted_, true)) {
    world_.scheduler.post(lifetime_.guard([this] { sweep(); }));
  }
}

void ChunkPool::sweep() {
  is_sweep_posted_ = false;
  for (auto at = chunks_.begin(); at != chunks_.end();) {
    if (is_to_be_sealed(at->second)) {
      seal(at->second);
      at = chunks_.erase(at);
    } else {
      ++at;
    }
  }
  if (!idle_timer_.is_armed() && !chunks_.empty()) {
    idle_timer_.start(kChunkIdleTime / 3, [this] { sweep(); });
  }
  tell_if_sealed();
}

bool ChunkPool::is_full(const StoragePolicy& policy) const {
  const auto state = policies_.find(policy);
  return state != policies_.end() && state->second.no_space_count >= 2 &&
         world_.scheduler.now() < state->second.retry_at;
}

bool ChunkPool::is_to_be_sealed(const Chunk& chunk) const {
  const ChunkWriter& writer = *chunk.writer;
  // While a commit that names it is under way the chunk stays: the master would take a sealed
  // chunk without live bytes for garbage.
  if (writer.unsettled() > 0) {
    return false;
  }
  if (writer.is_broken() || chunk.is_to_seal || writer.room() == 0) {
    return true;
  }
  const bool is_idle = world_.scheduler.now() - writer.last_used() >= kChunkIdleTime;
  return is_idle && free_room(chunk.policy) >= writer.room();
}

void ChunkPool::seal(Chunk& chunk) {
  if (chunk.is_foreign) {
    return;  // the master sealed it when it ended the session
  }
  SealChunkRequest request;
  request.chunk = chunk.writer->id();
  request.failed_node = chunk.writer->failed_node();
  request.failure = static_cast<std::uint16_t>(chunk.writer->failure());
  ++seals_under_way_;
  // Whatever the answer, the master seals the chunk: now, or with the session.
  master_.call(request, Done<SealChunkReply>(lifetime_.guard([this](auto&&) { sealed(); })));
}

void ChunkPool::sealed() {
  DFS_ASSERT(seals_under_way_ > 0);
  --seals_under_way_;
  tell_if_sealed();
}

void ChunkPool::tell_if_sealed() {
  if (seals_under_way_ == 0 && chunks_.empty()) {
    for (auto& waiter : std::exchange(seal_waiters_, {})) {
      waiter(ok());
    }
  }
}

void ChunkPool::session_replaced() {
  for (auto& [id, chunk] : chunks_) {
    chunk.is_foreign = true;
  }
  for (auto& [id, chunk] : chunks_) {
    chunk.writer->break_off(NodeId{}, ErrorCode::kSessionExpired, "the session expired");
  }
}

void ChunkPool::seal_unused(const StoragePolicy& except) {
  for (auto& [id, chunk] : chunks_) {
    if (chunk.policy != except && free_room(chunk.policy) >= chunk.writer->room()) {
      chunk.is_to_seal = true;
    }
  }
  sweep_soon();
}

void ChunkPool::seal_all(Done<Unit> done) {
  for (auto& [id, chunk] : chunks_) {
    chunk.is_to_seal = true;
  }
  seal_waiters_.push_back(std::move(done));
  sweep_soon();
}

void ChunkPool::pump_all() {
  for (auto& [id, chunk] : chunks_) {
    chunk.writer->pump();
  }
}

void ChunkPool::request_sync_all() {
  for (auto& [id, chunk] : chunks_) {
    if (!chunk.writer->is_broken()) {
      chunk.writer->request_sync();
    }
  }
}

}  // namespace dfs::client
