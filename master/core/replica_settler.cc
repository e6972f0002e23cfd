#include "master/core/replica_settler.h"

#include "common/assert.h"
#include "master/core/replica_marks.h"
#include "proto/chunk_messages.h"

namespace dfs::master {

ReplicaSettler::ReplicaSettler(World world, InternalOperations& operations, NodeTable& nodes,
                               NodeClients& clients, Duration call_timeout)
    : world_(world),
      operations_(operations),
      nodes_(nodes),
      clients_(clients),
      call_timeout_(call_timeout) {}

void ReplicaSettler::settle(const SealedReplica& replica) {
  DFS_ASSERT(replica.chunk.is_set() && replica.node.is_set());
  if (replica.length_bytes == 0) {
    return;  // nothing was ever stored under this chunk: there is nothing to seal
  }
  if (queue_.size() >= kSettlingQueuedMax) {
    ask_for_inventory(replica.node);
    return;
  }
  queue_.insert_or_assign(Key{replica.chunk, replica.node}, replica);
  pump();
}

void ReplicaSettler::pump() {
  for (auto next = queue_.begin(); next != queue_.end();) {
    if (running_.size() >= kSettlingRunningMax) {
      return;
    }
    const SealedReplica replica = next->second;
    if (running_.contains(next->first)) {
      ++next;
      continue;
    }
    running_.insert(next->first);
    next = queue_.erase(next);
    const SealReplicaRequest request{replica.chunk, replica.epoch, replica.length_bytes};
    clients_.call(replica.node, request, call_timeout_, [this, replica](Result<EmptyReply> reply) {
      finished(replica, reply ? ok() : Status(std::move(reply).error()));
    });
  }
}

void ReplicaSettler::finished(const SealedReplica& replica, const Status& status) {
  running_.erase(Key{replica.chunk, replica.node});
  if (status.code() == ErrorCode::kCorrupt || status.code() == ErrorCode::kNoSuchChunk) {
    const auto state = status.code() == ErrorCode::kCorrupt ? ReplicaRowState::kDamaged
                                                            : ReplicaRowState::kMissing;
    const ReplicaRow row{replica.chunk, replica.node, state};
    operations_.submit(
        [row, why = status.error().detail](OpContext& context) -> Status {
          DFS_CHECK_OK(mark_replica(context, row, "it could not be sealed: " + why));
          return ok();
        },
        [](Status) {}, false);
  } else if (!status) {
    ask_for_inventory(replica.node);
  }
  pump();
}

void ReplicaSettler::ask_for_inventory(NodeId node) {
  if (KnownNode* state = nodes_.find(node)) {
    state->inventory_wanted = true;
  }
}

}  // namespace dfs::master
