#include "master/core/replica_deleter.h"

#include <memory>
#include <vector>

#include "master/core/op_context.h"
#include "proto/chunk_messages.h"

namespace dfs::master {

struct ReplicaDeleter::Job {
  NodeId node;
  std::vector<ChunkId> chunks;
};

void ReplicaDeleter::look(NodeId node) {
  if (!running_.insert(node).second) {
    return;
  }
  auto job = std::make_shared<Job>();
  job->node = node;
  read_rows(job);
}

void ReplicaDeleter::read_rows(const JobPtr& job) {
  auto read = [job](OpContext& context) -> Status {
    job->chunks.clear();
    DFS_TRY(const auto rows, context.store.deleting_replicas(job->node, kDeletionsPerCall));
    for (const ReplicaRow& row : rows) {
      job->chunks.push_back(row.chunk);
    }
    return ok();
  };
  // Rows become kDeleting in durable commits only, so what is read here and committed is durable.
  operations_.submit(
      read,
      [this, job](Status status) {
        if (!status || job->chunks.empty()) {
          running_.erase(job->node);
        } else {
          ask(job);
        }
      },
      false);
}

void ReplicaDeleter::ask(const JobPtr& job) {
  clients_.call(job->node, DeleteReplicasRequest{job->chunks}, call_timeout_,
                [this, job](Result<EmptyReply> reply) {
                  if (reply) {
                    confirm(job);
                  } else {
                    running_.erase(job->node);  // the next heartbeat brings us here again
                  }
                });
}

void ReplicaDeleter::confirm(const JobPtr& job) {
  auto erase = [job](OpContext& context) -> Status {
    for (const ChunkId chunk : job->chunks) {
      DFS_CHECK_OK(context.store.erase_replica(chunk, job->node));
    }
    return ok();
  };
  operations_.submit(
      erase,
      [this, job](Status status) {
        if (status) {
          read_rows(job);
        } else {
          running_.erase(job->node);
        }
      },
      false);
}

}  // namespace dfs::master
