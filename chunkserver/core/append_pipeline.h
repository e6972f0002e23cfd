// AppendPipeline: appends, from their arrival to their answer.
//
// An append is checked, put in its place behind what was accepted before, written here and sent to
// the next server of its chain at the same time, and answered when both are done. One that arrives
// ahead of the one it continues is held for a short time. One that is repeated while it is in
// progress joins it; one that is repeated later is recognised by its blocks, written no second time
// and sent on again. Bounded by Bounds. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/options.h"
#include "chunkserver/core/replica_store.h"
#include "chunkserver/core/replica_writer.h"
#include "common/world.h"
#include "proto/chunk_links.h"
#include "proto/chunk_messages.h"

namespace dfs::chunkserver {

class AppendPipeline {
 public:
  // Gets the answer. An Error is one of the request itself (kInvalidArgument, kTooLarge) or kBusy;
  // everything else is in the reply.
  using Done = std::function<void(Result<AppendReply>)>;

  AppendPipeline(World world, ReplicaStore& store, ReplicaWriter& writer, const Bounds& bounds,
                 ReplicaWriter::DiskErrorHandler on_disk_error);
  ~AppendPipeline();

  void append(AppendRequest request, Buffer frame, Done done);

  // Refuses what is held for the chunk and would not be taken any more: it was fenced or sealed.
  void recheck_held(ChunkId chunk);

  // This server's id at the master; answers name it as the place of a failure here.
  void set_identity(NodeId node, ClusterTag cluster) {
    node_ = node;
    chain_.set_cluster(cluster);
  }

  std::size_t in_progress_count() const { return in_progress_count_; }

 private:
  class Append;
  using AppendPtr = std::shared_ptr<Append>;
  enum class Place { kRefused, kHeld, kStarted };

  Status check_request(const AppendRequest& request, const Buffer& frame) const;
  bool join(const AppendRequest& request, const Buffer& frame, Done& done);
  Place place(const AppendPtr& append);
  Status admit(const AppendPtr& append, const ReplicaPtr& replica) const;
  bool hold(const AppendPtr& append);
  void release_held(ChunkId chunk);
  void start(const AppendPtr& append, ReplicaPtr replica);
  Status write_new_part(Append& append, const ReplicaPtr& replica);
  Result<ReplicaPtr> create(const Append& append);
  void forward(const AppendPtr& append);
  void on_forwarded(const AppendPtr& append, Result<RpcReply<AppendReply>> reply);
  void on_local(const AppendPtr& append, const ReplicaPtr& replica, const Status& status);
  void fail(const AppendPtr& append, const Error& error, NodeId failed_node);
  void answer_if_done(const AppendPtr& append);
  void answer(const AppendPtr& append, const Result<AppendReply>& reply);

  World world_;
  ReplicaStore& store_;
  ReplicaWriter& writer_;
  const Bounds bounds_;
  ReplicaWriter::DiskErrorHandler on_disk_error_;
  ChunkLinks chain_;
  NodeId node_;
  // Not answered yet, held ones included.
  std::map<ChunkId, std::vector<AppendPtr>> in_progress_;
  std::size_t in_progress_count_ = 0;
  // Shared with the appends, whose bytes count until the disk and the next server are done.
  std::shared_ptr<std::uint64_t> bytes_in_progress_;
  Alive alive_;
};

}  // namespace dfs::chunkserver
