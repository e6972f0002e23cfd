#include <algorithm>
#include <limits>
#include <map>

#include "master/core/chunk_manager.h"
#include "master/core/node_table.h"
#include "master/core/operations.h"
#include "master/core/replica_marks.h"
#include "master/core/replica_settler.h"
#include "proto/block.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kLastId = std::numeric_limits<std::uint64_t>::max();

// Compares what a server has with what the rows say it has, for one range of chunks.
class Comparison {
 public:
  Comparison(OpContext& context, const KnownNode& node)
      : context_(context), node_(node), marks_(context) {}

  Result<ReportInventoryReply> run(const ReportInventoryRequest& request);

 private:
  Status known(const ReplicaRow& row, const ReplicaInfo* info);
  Status present(const ReplicaRow& row, const ChunkRow& chunk, const ReplicaInfo& info);
  Status absent(const ReplicaRow& row, const ChunkRow& chunk);
  Status unknown(const ReplicaInfo& info);
  Status mark(ReplicaRow row, ReplicaRowState state, const char* why);

  OpContext& context_;
  const KnownNode& node_;
  ReplicaMarks marks_;
  ReportInventoryReply reply_;
};

Result<ReportInventoryReply> Comparison::run(const ReportInventoryRequest& request) {
  auto reported = request.replicas.begin();
  ChunkId after = request.first;
  constexpr std::size_t kRowsPerScan = 1024;
  for (;;) {
    DFS_TRY(const auto rows,
            context_.store.node_replicas(request.node, after, request.last, kRowsPerScan));
    for (const ReplicaRow& row : rows) {
      for (; reported != request.replicas.end() && reported->chunk < row.chunk; ++reported) {
        DFS_CHECK_OK(unknown(*reported));
      }
      const bool is_there = reported != request.replicas.end() && reported->chunk == row.chunk;
      DFS_CHECK_OK(known(row, is_there ? &*reported++ : nullptr));
      after = row.chunk;
    }
    if (rows.size() < kRowsPerScan) {
      break;
    }
  }
  for (; reported != request.replicas.end(); ++reported) {
    DFS_CHECK_OK(unknown(*reported));
  }
  marks_.log_rest(request.node);
  return std::move(reply_);
}

Status Comparison::known(const ReplicaRow& row, const ReplicaInfo* info) {
  DFS_TRY(const auto chunk, context_.store.chunk(row.chunk));
  if (!chunk) {
    return ok();  // being deleted: ReplicaDeleter sees to it
  }
  return info == nullptr ? absent(row, *chunk) : present(row, *chunk, *info);
}

Status Comparison::present(const ReplicaRow& row, const ChunkRow& chunk, const ReplicaInfo& info) {
  if (info.damaged) {
    return mark(row, ReplicaRowState::kDamaged, "its server found bad blocks.");
  }
  if (chunk.state != ChunkState::kSealed) {
    return ok();  // appends may be under way; when it is sealed, its length will be asked for
  }
  if (info.sealed && info.length_bytes != chunk.length_bytes) {
    return mark(row, ReplicaRowState::kDamaged, "it was sealed at another length.");
  }
  if (!info.sealed) {
    // If it is too short, this says so. The report can be older than the last append.
    ReplicaSettler& settler = context_.chunks.settler();
    // After the commit: the row may have become sealed in this very batch.
    context_.after_commit(
        [&settler, replica = SealedReplica{chunk.chunk, row.node, chunk.epoch,
                                           chunk.length_bytes}] { settler.settle(replica); });
  }
  const bool is_whole = info.length_bytes >= chunk.length_bytes;
  return row.state == ReplicaRowState::kMissing && is_whole
             ? mark(row, ReplicaRowState::kGood, "its server has it again.")
             : ok();
}

Status Comparison::absent(const ReplicaRow& row, const ChunkRow& chunk) {
  // An unsealed chunk is made by its first append, one without a block is not kept; and what was
  // opened since the report was asked for may not have been there when it was made.
  const bool must_be_there = chunk.state == ChunkState::kSealed &&
                             chunk.length_bytes > kChunkHeaderBytes &&
                             chunk.chunk < node_.inventory_bound;
  return must_be_there ? mark(row, ReplicaRowState::kMissing, "its server does not have it.")
                       : ok();
}

// Deleting is for ever, so: only what this database is sure to have handed out and forgotten. An
// id it never handed out means that the database is older than the chunk.
Status Comparison::unknown(const ReplicaInfo& info) {
  DFS_TRY(const auto chunk, context_.store.chunk(info.chunk));
  DFS_TRY(const std::uint64_t next_chunk, context_.store.counter(Counter::kNextChunk));
  if (!chunk && info.chunk.value < next_chunk) {
    reply_.unknown.push_back(info.chunk);
    return ok();
  }
  Log& log = context_.chunks.world().log;
  log.warning(std::string("A chunkserver has a replica ") +
              (chunk ? "that was not placed there" : "of a chunk newer than this database") +
              "; it is left alone. chunk=" + std::to_string(info.chunk.value) +
              " node=" + std::to_string(node_.row.node.value));
  return ok();
}

Status Comparison::mark(ReplicaRow row, ReplicaRowState state, const char* why) {
  row.state = state;
  return marks_.mark(row, why);
}

Status check(const ReportInventoryRequest& request) {
  ChunkId before = request.first;
  for (const ReplicaInfo& replica : request.replicas) {
    if (replica.chunk <= before || replica.chunk > request.last) {
      return make_error(ErrorCode::kInvalidArgument, "an inventory out of order or range");
    }
    before = replica.chunk;
  }
  return ok();
}

}  // namespace

Result<ReportInventoryReply> apply(OpContext& context, const ReportInventoryRequest& request) {
  KnownNode* node = context.chunks.nodes().find(request.node);
  if (node == nullptr || !node->is_registered || node->incarnation != request.incarnation) {
    return make_error(ErrorCode::kStale, "the server is not registered");
  }
  DFS_CHECK_OK(check(request));
  if (!request.first.is_set()) {
    node->inventory_wanted = false;  // the series has begun
  }
  DFS_TRY(ReportInventoryReply reply, Comparison(context, *node).run(request));
  if (request.last.value == kLastId) {
    node->inventory_asked = false;
  }
  return reply;
}

}  // namespace dfs::master
