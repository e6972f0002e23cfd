#include "master/core/chunk_manager.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/assert.h"
#include "master/core/chunk_changes.h"
#include "master/core/chunk_sealer.h"
#include "master/core/metadata_check.h"
#include "master/core/node_clients.h"
#include "master/core/node_table.h"
#include "master/core/op_context.h"
#include "master/core/open_chunks.h"
#include "master/core/reclaimer.h"
#include "master/core/replica_deleter.h"
#include "master/core/replica_settler.h"
#include "master/core/session_table.h"
#include "master/core/usable_space.h"

namespace dfs::master {
namespace {

constexpr std::size_t kRowsPerScan = 256;
// Cutting and deleting many replicas takes a live server its time; a dead one is noticed sooner.
constexpr int kDiskCallTimeouts = 10;
constexpr Duration kLivenessCheckInterval = std::chrono::seconds(1);

}  // namespace

ChunkManager::ChunkManager(World world, Store& store, InternalOperations& operations,
                           Options options)
    : world_(world),
      store_(store),
      operations_(operations),
      options_(options),
      nodes_(std::make_unique<NodeTable>()),
      clients_(std::make_unique<NodeClients>(world, *nodes_)),
      open_chunks_(std::make_unique<OpenChunks>()),
      settler_(std::make_unique<ReplicaSettler>(world, operations, *nodes_, *clients_,
                                                kDiskCallTimeouts * options.call_timeout)),
      sealer_(std::make_unique<ChunkSealer>(
          ChunkSealer::Parts{world, operations, *nodes_, *clients_, *open_chunks_, *settler_},
          options.call_timeout)),
      metadata_check_(std::make_unique<MetadataCheck>()),
      deleter_(std::make_unique<ReplicaDeleter>(operations, *clients_,
                                                kDiskCallTimeouts * options.call_timeout)),
      reclaimer_(std::make_unique<Reclaimer>(world.scheduler, operations, *deleter_,
                                             options.reclaim_interval)),
      liveness_timer_(world.scheduler) {}

ChunkManager::~ChunkManager() = default;

Status ChunkManager::load() {
  DFS_TRY(const std::string cluster_id, store_.cluster_id());
  clients_->set_cluster(cluster_tag(cluster_id));
  DFS_TRY(const auto nodes, store_.nodes());
  nodes_->load(nodes, world_.scheduler.now());
  open_chunks_->clear();
  ChunkId after;
  for (;;) {
    DFS_TRY(const auto chunks, store_.scan_unsealed_chunks(after, kRowsPerScan));
    for (const ChunkRow& chunk : chunks) {
      DFS_CHECK_OK(load_open_chunk(chunk));
      after = chunk.chunk;
    }
    if (chunks.size() < kRowsPerScan) {
      return ok();
    }
  }
}

Status ChunkManager::load_open_chunk(const ChunkRow& row) {
  OpenChunk open{row.chunk, row.owner, row.capacity_bytes, row.length_bytes, {}};
  DFS_TRY(const auto replicas, store_.replicas(row.chunk));
  for (const ReplicaRow& replica : replicas) {
    open.nodes.push_back(replica.node);
  }
  open_chunks_->add(std::move(open));
  if (row.state == ChunkState::kSealing) {
    sealer_->resume(row.chunk);
  }
  return ok();
}

void ChunkManager::start() {
  sealer_->start();
  reclaimer_->start();
  check_liveness();
}

// The row of a session can be lost with the last transactions, or its end can be: nobody will ever
// append to its chunks.
void ChunkManager::seal_chunks_without_session() {
  auto last = std::make_shared<std::optional<ChunkId>>();
  auto seal = [this, after = *owners_checked_, last](OpContext& context) -> Status {
    last->reset();
    DFS_TRY(const auto chunks, context.store.scan_unsealed_chunks(after, kRowsPerScan));
    for (const ChunkRow& chunk : chunks) {
      if (!context.sessions.exists(chunk.owner)) {
        DFS_CHECK_OK(sealer_->begin(context, chunk.chunk, NodeId{}));
      }
    }
    if (chunks.size() == kRowsPerScan) {
      *last = chunks.back().chunk;
    }
    return ok();
  };
  auto done = [this, last](Status status) {
    if (status) {
      owners_checked_ = *last;
    }
  };
  operations_.submit(std::move(seal), std::move(done), false);
}

void ChunkManager::check_liveness() {
  if (owners_checked_) {
    seal_chunks_without_session();
  }
  for (const NodeId id : nodes_->notice_silence(world_.scheduler.now(), down_after())) {
    const KnownNode* node = nodes_->find(id);
    world_.log.warning("A chunkserver is down: no heartbeat. node=" + std::to_string(id.value) +
                       " address=" + node->row.address);
  }
  liveness_timer_.start(kLivenessCheckInterval, [this] { check_liveness(); });
}

void ChunkManager::heard_from(KnownNode& node) {
  node.heard = world_.scheduler.now();
  node.is_suspect = false;
  const bool was_up = node.is_up();
  node.liveness = NodeLiveness::kUp;
  if (!was_up) {
    world_.log.info("A chunkserver is up. node=" + std::to_string(node.row.node.value) +
                    " address=" + node.row.address);
    sealer_->retry_waiting();
  }
  deleter_->look(node.row.node);
}

Result<std::vector<ChunkLocation>> ChunkManager::locations(OpContext& context,
                                                           std::span<const Extent> extents) {
  std::set<ChunkId> chunks;
  for (const Extent& extent : extents) {
    chunks.insert(extent.chunk);
  }
  std::vector<ChunkLocation> locations;
  locations.reserve(chunks.size());
  for (const ChunkId chunk : chunks) {
    DFS_TRY(const auto replicas, context.store.replicas(chunk));
    locations.push_back(location(chunk, replicas));
  }
  return locations;
}

ChunkLocation ChunkManager::location(ChunkId chunk, const std::vector<ReplicaRow>& replicas) {
  std::vector<NodeId> live;
  std::vector<NodeId> silent;
  std::vector<NodeId> damaged;
  for (const ReplicaRow& replica : replicas) {
    const KnownNode* node = nodes_->find(replica.node);
    if (node == nullptr) {
      continue;
    }
    if (replica.state == ReplicaRowState::kGood) {
      (node->is_reachable() ? live : silent).push_back(replica.node);
    } else if (replica.state == ReplicaRowState::kDamaged) {
      damaged.push_back(replica.node);
    }
  }
  if (live.size() > 1) {
    const auto first = static_cast<std::ptrdiff_t>(world_.random.below(live.size()));
    std::rotate(live.begin(), live.begin() + first, live.end());
  }
  ChunkLocation location;
  location.chunk = chunk;
  for (const auto* nodes : {&live, &silent, &damaged}) {
    for (const NodeId node : *nodes) {
      location.nodes.push_back(node);
      location.addresses.push_back(nodes_->find(node)->row.address);
    }
  }
  return location;
}

Status ChunkManager::add_live(OpContext& context, std::span<const Extent> extents) {
  ChunkChanges changes;
  changes.add_live(extents);
  return changes.apply(context);
}

Status ChunkManager::subtract_live(OpContext& context, std::span<const Extent> extents) {
  ChunkChanges changes;
  changes.subtract_live(extents);
  return changes.apply(context);
}

Status ChunkManager::seal_chunks_of(OpContext& context, SessionId session) {
  for (const ChunkId chunk : open_chunks_->of_session(session)) {
    DFS_CHECK_OK(sealer_->begin(context, chunk, NodeId{}));
  }
  return ok();
}

void ChunkManager::wake_reclaimer() { reclaimer_->wake(); }

std::uint64_t ChunkManager::room_on(NodeId id) const {
  const KnownNode* node = nodes_->find(id);
  if (node == nullptr) {
    return 0;
  }
  const std::uint64_t taken = open_chunks_->unused_bytes_on(id) + node->written_bytes;
  const std::uint64_t available = node->available_bytes();
  return available > taken ? available - taken : 0;
}

std::uint64_t ChunkManager::chunk_room_on(NodeId id) const {
  const KnownNode* node = nodes_->find(id);
  return node == nullptr ? 0 : std::min(room_on(id), node->largest_directory_bytes());
}

UsableSpace ChunkManager::usable_space(StoragePolicy policy) const {
  std::vector<std::uint64_t> rooms;
  std::vector<std::uint64_t> totals;
  for (const auto& [id, node] : nodes_->all()) {
    if (node.total_bytes() > 0) {
      totals.push_back(node.total_bytes());  // down or not: the disks are still there
    }
    if (node.takes_chunks()) {
      rooms.push_back(room_on(id));
    }
  }
  // With fewer servers than replicas, writes go on with one copy on each.
  const auto usable = [&](std::vector<std::uint64_t> bytes) -> std::uint64_t {
    if (bytes.empty() || bytes.size() < policy.min_replicas) {
      return 0;
    }
    const auto copies = std::clamp<std::size_t>(policy.replicas, 1, bytes.size());
    return usable_bytes(std::move(bytes), static_cast<std::uint32_t>(copies));
  };
  return {usable(std::move(totals)), usable(std::move(rooms))};
}

}  // namespace dfs::master
