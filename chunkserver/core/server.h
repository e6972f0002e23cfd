// Server: a chunkserver without its process. Keeps replicas of chunks in its data directories,
// answers clients, other chunkservers and the master, and reports to the master.
//
// Everything durable is in the data directories; a server that is destroyed at any moment and made
// again continues from there. Single-threaded: every call and callback runs on the World's
// scheduler. Requests are in proto/chunk_messages.h, reports in proto/node_messages.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/append_pipeline.h"
#include "chunkserver/core/directory_set.h"
#include "chunkserver/core/master_reporter.h"
#include "chunkserver/core/options.h"
#include "chunkserver/core/reader.h"
#include "chunkserver/core/replica_sealer.h"
#include "chunkserver/core/replica_store.h"
#include "chunkserver/core/replica_writer.h"
#include "chunkserver/core/verifier.h"
#include "common/disk.h"
#include "common/world.h"
#include "proto/limited_log.h"
#include "proto/rpc_server.h"

namespace dfs::chunkserver {

class Server {
 public:
  // `disk` outlives the server.
  Server(World world, Disk& disk, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Called at most once, when a started server cannot go on: it belongs to another cluster than
  // the master, for example. The owner stops it. Set before start.
  void on_fatal(std::function<void(const Error&)> handler) { fatal_handler_ = std::move(handler); }

  // Reads the data directories (blocking), listens, and begins to register. `done` gets ok once the
  // server listens, whether the master is there or not. Fails as DirectorySet::open and
  // RpcServer::create.
  void start(std::function<void(Status)> done);
  // Takes no more requests, finishes writes in progress, syncs open chunks.
  void stop(std::function<void()> done);

  // Where it listens, with the real port. Precondition: started.
  Address address() const;
  NodeId node() const { return node_; }  // 0 until registered
  const DirectoryIdentity& identity() const { return directories_.identity(); }
  std::vector<DirectoryInfo> directories() { return directories_.infos(); }
  // Up to `replicas_max` replicas with ids above `after`.
  std::vector<ReplicaInfo> replicas(ChunkId after, std::size_t replicas_max) const {
    return store_.page(after, replicas_max);
  }

 private:
  void sync_names(std::function<void()> done);
  Status listen();
  Address advertised_address() const;

  void handle(const RpcRequest& request);
  template <class Request>
  void decode_and(const RpcRequest& request,
                  void (Server::*handler)(const ReplyAddress&, Request, Buffer bulk));
  void handle_append(const ReplyAddress& from, AppendRequest request, Buffer bulk);
  void handle_read(const ReplyAddress& from, ReadRequest request, Buffer bulk);
  void handle_fence(const ReplyAddress& from, FenceReplicaRequest request, Buffer bulk);
  void handle_seal(const ReplyAddress& from, SealReplicaRequest request, Buffer bulk);
  void handle_delete(const ReplyAddress& from, DeleteReplicasRequest request, Buffer bulk);
  void handle_list(const ReplyAddress& from, ListReplicasRequest request, Buffer bulk);
  void handle_verify(const ReplyAddress& from, VerifyReplicaRequest request, Buffer bulk);

  void delete_chunks(std::shared_ptr<const std::vector<ChunkId>> chunks, std::size_t at,
                     std::function<void()> done);
  void on_disk_error(std::size_t directory, const Error& error);
  void on_read_error(const ReplicaPtr& replica, const Error& error);
  void mark_damaged(const ReplicaPtr& replica, const std::string& what);
  void drop_failed_directory(std::size_t directory, const Error& error);
  void probe_directories();
  void probe(std::size_t directory);
  std::uint32_t load() const;

  World world_;
  Disk& disk_;
  const ServerOptions options_;
  const std::uint64_t incarnation_;
  DirectorySet directories_;
  ReplicaStore store_;
  ReplicaWriter writer_;
  AppendPipeline appends_;
  ReplicaSealer sealer_;
  Reader reader_;
  Verifier verifier_;
  std::unique_ptr<MasterReporter> reporter_;
  std::unique_ptr<RpcServer> rpc_;
  NodeId node_;
  bool is_stopping_ = false;
  LimitedLog shortages_;
  std::vector<std::uint32_t> read_error_counts_;  // by directory
  std::function<void(const Error&)> fatal_handler_;
  Timer probe_timer_;
  Timer stop_timer_;
  Alive alive_;
};

}  // namespace dfs::chunkserver
