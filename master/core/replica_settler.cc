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
  switch (status.code()) {
    case ErrorCode::kOk: break;
    case ErrorCode::kCorrupt:          // shorter than the chunk
    case ErrorCode::kInvalidArgument:  // no block of it ends where the chunk does
    case ErrorCode::kIo:               // what its disk holds is not known
      mark(replica, ReplicaRowState::kDamaged, status.error());
      break;
    case ErrorCode::kNoSuchChunk: mark(replica, ReplicaRowState::kMissing, status.error()); break;
    case ErrorCode::kSealed:
      world_.log.error("A replica knows a newer epoch than the master. chunk=" +
                       std::to_string(replica.chunk.value) +
                       " node=" + std::to_string(replica.node.value));
      break;
    default:
      ask_for_inventory(replica.node);  // not reached or not able to just now
      break;
  }
  pump();
}

void ReplicaSettler::mark(const SealedReplica& replica, ReplicaRowState state, const Error& why) {
  const ReplicaRow row{replica.chunk, replica.node, state};
  operations_.submit(
      [row, text = "it could not be sealed: " + why.detail](OpContext& context) -> Status {
        DFS_CHECK_OK(mark_replica(context, row, text));
        return ok();
      },
      [](Status) {}, false);
}

void ReplicaSettler::ask_for_inventory(NodeId node) {
  if (KnownNode* state = nodes_.find(node)) {
    state->inventory_wanted = true;
  }
}

}  // namespace dfs::master
