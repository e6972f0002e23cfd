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

Result<bool> change_state(OpContext& context, const ReplicaRow& replica) {
  DFS_TRY(const auto rows, context.store.replicas(replica.chunk));
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const ReplicaRow& r) { return r.node == replica.node; });
  if (row == rows.end() || !is_allowed(row->state, replica.state)) {
    return false;
  }
  DFS_CHECK_OK(context.store.put_replica(replica));
  return true;
}

void log_change(OpContext& context, const ReplicaRow& replica, const std::string& why) {
  const KnownNode* node = context.chunks.nodes().find(replica.node);
  std::string line = std::string("A replica is now ") + replica_state_name(replica.state) + ": " +
                     why + " chunk=" + std::to_string(replica.chunk.value) +
                     " node=" + std::to_string(replica.node.value) +
                     " address=" + (node == nullptr ? "?" : node->row.address);
  const LogLevel level =
      replica.state == ReplicaRowState::kGood ? LogLevel::kInfo : LogLevel::kWarning;
  Log& log = context.chunks.world().log;
  context.after_commit([&log, level, text = std::move(line)] { log.write(level, text); });
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
  DFS_TRY(const bool is_changed, change_state(context, replica));
  if (is_changed) {
    log_change(context, replica, why);
  }
  return is_changed;
}

Status ReplicaMarks::mark(ReplicaRow replica, const std::string& why) {
  DFS_TRY(const bool is_changed, change_state(context_, replica));
  if (is_changed && ++changed_ <= kLinesMax) {
    log_change(context_, replica, why);
  }
  return ok();
}

void ReplicaMarks::log_rest(NodeId node) const {
  if (changed_ > kLinesMax) {
    Log& log = context_.chunks.world().log;
    context_.after_commit([&log, node, rest = changed_ - kLinesMax] {
      log.warning("More replicas named in the same report changed their state. node=" +
                  std::to_string(node.value) + " replicas=" + std::to_string(rest));
    });
  }
}

}  // namespace dfs::master
