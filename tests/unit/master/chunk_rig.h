// MasterRig with chunkservers: they register, send heartbeats and keep replicas as numbers only,
// and they can be made to lie, to fail and to fall silent.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proto/admin_messages.h"
#include "proto/data_messages.h"
#include "proto/node_messages.h"
#include "proto/rpc_server.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {

class FakeChunkserver {
 public:
  FakeChunkserver(MasterRig& rig, std::uint32_t number, std::uint64_t room_bytes);
  ~FakeChunkserver() { kill(); }

  void start();  // listens, registers, reports its inventory, sends heartbeats
  void kill();   // as kill -9; replicas stay
  bool is_alive() const { return scheduler_ != nullptr; }
  void pause() { scheduler_->pause(); }
  void resume() { scheduler_->resume(); }

  // An append of the client, stored and synced here.
  void append_to(ChunkId chunk, Epoch epoch, std::uint32_t length_bytes);

  std::map<ChunkId, ReplicaInfo> replicas;
  std::map<ChunkId, Epoch> fences;
  std::vector<ChunkId> deleted;
  std::uint64_t room_bytes;
  bool directory_failed = false;
  bool takes_deletions = true;
  std::uint32_t fences_seen = 0;
  NodeId id;
  std::string zone;

 private:
  template <class Reply>
  using Done = std::function<void(Result<RpcReply<Reply>>)>;

  void handle(RpcRequest request);
  void fence(const RpcRequest& request);
  void seal(const RpcRequest& request);
  void remove(const RpcRequest& request);
  void register_now();
  void send_heartbeat();
  void send_inventory();
  std::vector<DirectoryInfo> directories() const;

  MasterRig& rig_;
  std::uint32_t number_;
  std::string host_;
  std::uint64_t incarnation_ = 0;
  std::unique_ptr<sim::SimScheduler> scheduler_;
  sim::SimLog log_;
  sim::SimRandom random_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<RpcClient> master_;
};

class ChunkRig : public MasterRig {
 protected:
  // `count` servers with this much room; they are registered on return.
  void add_servers(std::size_t count, std::uint64_t room_bytes = std::uint64_t{100} << 30);

  // After a restart of the master: until every server that lives has registered again.
  void wait_for_servers();

  OpenChunkReply open_chunk(StoragePolicy policy = {2, 2});
  // Appends one block of `bytes` to every replica and makes it the file's at `file_offset`. The
  // chunk's end moves on.
  Extent append(const OpenChunkReply& chunk, std::uint64_t file_offset, std::uint32_t bytes);
  FileCommitResult commit(InodeId inode, std::vector<Extent> extents, bool durable = false);
  // Both, and expects success.
  void write(const OpenChunkReply& chunk, InodeId inode, std::uint64_t file_offset,
             std::uint32_t bytes);
  SealChunkReply seal(ChunkId chunk, NodeId failed = {});

  FakeChunkserver& server(NodeId node);
  FakeChunkserver& server_of(const OpenChunkReply& chunk, std::size_t index) {
    return server(chunk.nodes.at(index));
  }
  std::optional<ChunkRow> row(ChunkId chunk);
  ReplicaRowState state_of(ChunkId chunk, NodeId node);
  bool wait_until_sealed(ChunkId chunk, Duration limit = std::chrono::seconds(30));
  bool wait_until_gone(ChunkId chunk, Duration limit = std::chrono::seconds(30));
  // All slices of a check of the whole database.
  std::vector<MetadataProblem> problems();

  std::vector<std::unique_ptr<FakeChunkserver>> servers;
  std::map<ChunkId, std::uint32_t> ends;  // of the chunk files
};

}  // namespace dfs::master
