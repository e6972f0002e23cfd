#include "master/core/replica_marks.h"

#include <algorithm>

#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"

namespace dfs::master {
namespace {

bool is_allowed(ReplicaRowState from, ReplicaRowState to) {
  switch (from) {
    case ReplicaRowState::kGood:
      return to == ReplicaRowState::kDamaged || to == ReplicaRowState::kMissing;
    case ReplicaRowState::kMissing:
      return to == ReplicaRowState::kDamaged || to == ReplicaRowState::kGood;
    case ReplicaRowState::kDamaged:
    case ReplicaRowState::kDeleting: return false;
  }
  return false;
}

}  // namespace

const char* replica_state_name(ReplicaRowState state) {
  switch (state) {
    case ReplicaRowState::kGood: return "good";
    case ReplicaRowState::kDamaged: return "damaged";
    case ReplicaRowState::kMissing: return "missing";
    case ReplicaRowState::kDeleting: return "deleting";
  }
  return "unknown";
}

Result<bool> mark_replica(OpContext& context, ReplicaRow replica, const std::string& why) {
  DFS_TRY(const auto rows, context.store.replicas(replica.chunk));
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const ReplicaRow& r) { return r.node == replica.node; });
  if (row == rows.end() || !is_allowed(row->state, replica.state)) {
    return false;
  }
  DFS_CHECK_OK(context.store.put_replica(replica));
  const KnownNode* node = context.chunks.nodes().find(replica.node);
  std::string line = std::string("A replica is now ") + replica_state_name(replica.state) + ": " +
                     why + " chunk=" + std::to_string(replica.chunk.value) +
                     " node=" + std::to_string(replica.node.value) +
                     " address=" + (node == nullptr ? "?" : node->row.address);
  const LogLevel level =
      replica.state == ReplicaRowState::kGood ? LogLevel::kInfo : LogLevel::kWarning;
  Log& log = context.chunks.world().log;
  context.after_commit([&log, level, text = std::move(line)] { log.write(level, text); });
  return true;
}

}  // namespace dfs::master
