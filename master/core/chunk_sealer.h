// Ends chunks at one length on all their replicas, whatever failed.
//
// The steps, each safe to repeat, and what the row says meanwhile:
//  1. begin(): a higher epoch, in the transaction of whoever ends the chunk. [kSealing]
//  2. That is on stable storage; then every replica is told the epoch, durably refuses appends of
//     an older one, and answers its length. Servers that are down, or that the writer could not
//     reach, are not waited for while another answers. [kSealing; a restart begins here]
//  3. The smallest length wins, if all answered; else the committed length, which no replica that
//     turns up later can be short of. All that is committed is on every honest replica, so one that
//     is shorter than that is damaged and has no say. On stable storage before
//  4. replicas are cut and sealed, see ReplicaSettler. A server that did not answer is asked for
//     its inventory when it is heard again, and its replica is settled then. [kSealed]
// When nobody answers: again with growing pauses, and at once when a server comes up.
//
// Queues hold ids and are bounded by the chunks that are not sealed; running ones by
// kSealsRunningMax. Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>

#include "common/world.h"
#include "master/core/internal_operations.h"
#include "master/core/node_clients.h"
#include "master/core/node_table.h"
#include "master/core/op_context.h"
#include "master/core/open_chunks.h"
#include "master/core/replica_settler.h"

namespace dfs::master {

inline constexpr std::size_t kSealsRunningMax = 64;

class ChunkSealer {
 public:
  struct Parts {  // all outlive the sealer
    World world;
    InternalOperations& operations;
    NodeTable& nodes;
    NodeClients& clients;
    OpenChunks& open_chunks;
    ReplicaSettler& settler;
  };
  ChunkSealer(Parts parts, Duration call_timeout);
  ~ChunkSealer();
  ChunkSealer(const ChunkSealer&) = delete;
  ChunkSealer& operator=(const ChunkSealer&) = delete;

  // Step 1, inside a transaction; the rest follows by itself once that is committed. `failed_node`
  // may be 0. No effect on a chunk that is not open. Errors of the Store.
  Status begin(OpContext& context, ChunkId chunk, NodeId failed_node);

  // For a chunk found in state kSealing; before start() they only queue.
  void resume(ChunkId chunk);
  void start();

  // A server is back: what nobody answered for is tried at once.
  void retry_waiting();

  std::size_t waiting_count() const { return queue_.size() + running_.size() + waiting_.size(); }

 private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  void pump();
  void read_row(const JobPtr& job);
  void fence(const JobPtr& job);
  void fenced(const JobPtr& job, NodeId node, Result<FenceReplicaReply> reply);
  void decide(const JobPtr& job);
  Status decide_in(OpContext& context, Job& job);
  void settle_replicas(const Job& job);
  void retry_later(ChunkId chunk);

  Parts parts_;
  Duration call_timeout_;
  bool is_started_ = false;
  std::map<ChunkId, NodeId> queue_;  // with the server that failed the writer, or 0
  std::map<ChunkId, JobPtr> running_;
  std::set<ChunkId> waiting_;  // nobody answered
  Duration retry_pause_;
  Timer pump_timer_;
  Timer retry_timer_;
};

}  // namespace dfs::master
