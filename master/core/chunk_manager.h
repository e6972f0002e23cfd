// Everything about chunks and the servers that keep them: the one door to it for the rest of the
// master.
//
// The truth is rows in the Store; here is what only lives while the master does: who is up and has
// room, what open chunks have reserved, which chunks are being sealed and deleted. load() makes it
// anew from the rows, at the start and after each rollback. So an operation may change it
// together with rows and needs no undo. Work that goes on after a request was answered re-reads
// the rows at each step, in operations of its own (internal_operations.h): a step for a change
// that never was committed finds nothing to do. Loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/world.h"
#include "master/core/internal_operations.h"
#include "master/core/store.h"
#include "proto/extent.h"
#include "proto/limits.h"
#include "proto/namespace_messages.h"

namespace dfs::master {

struct OpContext;
class NodeTable;
struct KnownNode;
class NodeClients;
class OpenChunks;
class ReplicaSettler;
class ChunkSealer;
class MetadataCheck;
class ReplicaDeleter;
class Reclaimer;

struct UsableSpace {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;
};

class ChunkManager {
 public:
  struct Options {
    Duration heartbeat_interval = kHeartbeatInterval;
    std::uint32_t heartbeat_misses_max = kHeartbeatMissesMax;  // down after this many
    Duration call_timeout = kLivenessTimeout;  // how long sealing waits for a silent server
    Duration reclaim_interval = std::chrono::milliseconds(250);
    std::size_t open_chunks_per_session_max = 64;  // kBusy
  };

  // `operations` need not work before start(). All arguments but options outlive this.
  ChunkManager(World world, Store& store, InternalOperations& operations, Options options);
  ~ChunkManager();
  ChunkManager(const ChunkManager&) = delete;
  ChunkManager& operator=(const ChunkManager&) = delete;

  // Makes the volatile state from the store: once before start(), and after each rollback, before
  // the next transaction. Outside of transactions. Errors of the Store.
  Status load();
  // Timers, unfinished sealing, chunks of sessions that are gone. After load(), once.
  void start();

  // --- For operations on names and attributes; inside a transaction -----------------------------
  // Where the chunks of `extents` are, each chunk once, by id. Good replicas on live servers first
  // (in random order, so that reads spread), then good ones elsewhere, then damaged ones: they can
  // still have what is asked for, and checksums tell. Errors of the Store.
  Result<std::vector<ChunkLocation>> locations(OpContext& context, std::span<const Extent> extents);
  // Extents that files began or ceased to refer to. Errors of the Store.
  Status add_live(OpContext& context, std::span<const Extent> extents);
  Status subtract_live(OpContext& context, std::span<const Extent> extents);
  // At the end of a session, expired or closed: nobody appends to its chunks any more.
  Status seal_chunks_of(OpContext& context, SessionId session);
  // An inode became an orphan or lost its last pin: look soon what can be freed.
  void wake_reclaimer();

  // What a new chunk or a statfs may count on: reported, less what is reserved or newly written.
  std::uint64_t room_on(NodeId node) const;
  // The same, of what one new chunk can have: it lies in one directory, whatever the others have.
  std::uint64_t chunk_room_on(NodeId node) const;
  // What fits at the policy's replica count, see usable_space.h; and what could if all was empty.
  UsableSpace usable_space(StoragePolicy policy) const;

  // --- Parts, for the operations on chunks and servers ------------------------------------------
  const Options& options() const { return options_; }
  Duration down_after() const {
    return options_.heartbeat_interval * options_.heartbeat_misses_max;
  }
  World& world() { return world_; }
  NodeTable& nodes() { return *nodes_; }
  void heard_from(KnownNode& node);  // a registration or a heartbeat of it
  OpenChunks& open_chunks() { return *open_chunks_; }
  ReplicaSettler& settler() { return *settler_; }
  ChunkSealer& sealer() { return *sealer_; }
  MetadataCheck& metadata_check() { return *metadata_check_; }
  ReplicaDeleter& deleter() { return *deleter_; }

 private:
  Status load_open_chunk(const ChunkRow& row);
  void seal_chunks_without_session();
  void check_liveness();
  ChunkLocation location(ChunkId chunk, const std::vector<ReplicaRow>& replicas);

  World world_;
  Store& store_;
  InternalOperations& operations_;
  Options options_;
  std::unique_ptr<NodeTable> nodes_;
  std::unique_ptr<NodeClients> clients_;
  std::unique_ptr<OpenChunks> open_chunks_;
  std::unique_ptr<ReplicaSettler> settler_;
  std::unique_ptr<ChunkSealer> sealer_;
  std::unique_ptr<MetadataCheck> metadata_check_;
  std::unique_ptr<ReplicaDeleter> deleter_;
  std::unique_ptr<Reclaimer> reclaimer_;
  Timer liveness_timer_;
  // Chunks up to here belong to a session, or are being sealed; empty: all of them.
  std::optional<ChunkId> owners_checked_ = ChunkId{};
};

}  // namespace dfs::master
