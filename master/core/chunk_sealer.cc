#include "master/core/chunk_sealer.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "master/core/chunk_manager.h"
#include "master/core/replica_marks.h"
#include "proto/chunk_messages.h"

namespace dfs::master {
namespace {

constexpr Duration kRetryPauseMin = std::chrono::seconds(1);
constexpr Duration kRetryPauseMax = std::chrono::seconds(30);

}  // namespace

struct ChunkSealer::Job {
  ChunkId chunk;
  NodeId failed_node;
  std::optional<ChunkRow> row;  // as read, in state kSealing; none: nothing to do
  std::vector<NodeId> replicas;
  std::set<NodeId> pending;  // called, no answer yet
  std::set<NodeId> awaited;  // of these
  std::map<NodeId, ReplicaInfo> answers;
  bool is_deciding = false;
  bool is_sealed = false;  // by decide_in(); row->length_bytes is the sealed length
  bool is_moot = false;    // found sealed or gone by decide_in()

  // Whether waiting longer could not or should not change the outcome.
  bool is_decidable() const {
    const bool waits = std::any_of(awaited.begin(), awaited.end(),
                                   [this](NodeId node) { return pending.contains(node); });
    return !waits && (!answers.empty() || pending.empty());
  }
};

ChunkSealer::ChunkSealer(Parts parts, Duration call_timeout)
    : parts_(parts),
      call_timeout_(call_timeout),
      retry_pause_(kRetryPauseMin),
      pump_timer_(parts.world.scheduler),
      retry_timer_(parts.world.scheduler) {}

ChunkSealer::~ChunkSealer() = default;

Status ChunkSealer::begin(OpContext& context, ChunkId chunk, NodeId failed_node) {
  DFS_TRY(auto row, context.store.chunk(chunk));
  if (!row || row->state != ChunkState::kOpen) {
    return ok();
  }
  row->state = ChunkState::kSealing;
  row->epoch = Epoch{row->epoch.value + 1};
  DFS_CHECK_OK(context.store.put_chunk(*row));
  // If this transaction does not come to be, read_row() finds the chunk open and lets go of it.
  queue_.insert_or_assign(chunk, failed_node);
  pump_timer_.start(Duration::zero(), [this] { pump(); });
  return ok();
}

void ChunkSealer::resume(ChunkId chunk) {
  if (!running_.contains(chunk) && !waiting_.contains(chunk)) {
    queue_.try_emplace(chunk, NodeId{});
  }
  pump_timer_.start(Duration::zero(), [this] { pump(); });
}

void ChunkSealer::start() {
  is_started_ = true;
  pump();
}

void ChunkSealer::retry_waiting() {
  for (const ChunkId chunk : std::exchange(waiting_, {})) {
    queue_.try_emplace(chunk, NodeId{});
  }
  retry_timer_.stop();
  pump();
}

void ChunkSealer::pump() {
  if (!is_started_) {
    return;
  }
  for (auto next = queue_.begin(); next != queue_.end();) {
    if (running_.size() >= kSealsRunningMax) {
      return;  // whichever ends pumps again
    }
    if (running_.contains(next->first)) {
      ++next;
      continue;
    }
    auto job = std::make_shared<Job>();
    job->chunk = next->first;
    job->failed_node = next->second;
    running_.emplace(job->chunk, job);
    next = queue_.erase(next);
    read_row(job);
  }
}

void ChunkSealer::read_row(const JobPtr& job) {
  auto read = [job](OpContext& context) -> Status {
    job->row.reset();
    job->replicas.clear();
    DFS_TRY(const auto row, context.store.chunk(job->chunk));
    if (!row || row->state != ChunkState::kSealing) {
      return ok();
    }
    DFS_TRY(const auto replicas, context.store.replicas(job->chunk));
    for (const ReplicaRow& replica : replicas) {
      if (replica.state == ReplicaRowState::kGood) {
        job->replicas.push_back(replica.node);
      }
    }
    job->row = row;
    return ok();
  };
  // Durable: with an epoch that could be lost, a second fence would not outrank the first.
  parts_.operations.submit(
      read,
      [this, job](Status status) {
        if (!status) {
          retry_later(job->chunk);
        } else if (!job->row) {
          running_.erase(job->chunk);
          pump();
        } else {
          fence(job);
        }
      },
      true);
}

void ChunkSealer::fence(const JobPtr& job) {
  job->pending = {job->replicas.begin(), job->replicas.end()};
  for (const NodeId node : job->replicas) {
    const KnownNode* state = parts_.nodes.find(node);
    const bool is_down =
        state == nullptr || state->is_suspect || state->liveness == NodeLiveness::kDown;
    if (!is_down && node != job->failed_node) {
      job->awaited.insert(node);
    }
  }
  if (job->pending.empty()) {
    decide(job);
    return;
  }
  const FenceReplicaRequest request{job->chunk, job->row->epoch};
  for (const NodeId node : job->replicas) {
    parts_.clients.call(node, request, call_timeout_,
                        [this, job, node](Result<FenceReplicaReply> reply) {
                          fenced(job, node, std::move(reply));
                        });
  }
}

void ChunkSealer::fenced(const JobPtr& job, NodeId node, Result<FenceReplicaReply> reply) {
  job->pending.erase(node);
  KnownNode* state = parts_.nodes.find(node);
  const bool is_silent =
      reply.code() == ErrorCode::kUnavailable || reply.code() == ErrorCode::kTimedOut;
  if (is_silent && state != nullptr) {
    state->is_suspect = true;
  }
  if (job->is_deciding) {
    return;  // too late to have a say; settled with the next inventory
  }
  if (reply && reply->replica.chunk == job->chunk) {
    job->answers.insert_or_assign(node, reply->replica);
  } else {
    parts_.world.log.warning(
        "A replica could not be fenced. chunk=" + std::to_string(job->chunk.value) +
        " node=" + std::to_string(node.value) +
        " error=" + error_code_name(reply ? ErrorCode::kBadMessage : reply.code()));
  }
  if (job->is_decidable()) {
    decide(job);
  }
}

void ChunkSealer::decide(const JobPtr& job) {
  job->is_deciding = true;
  parts_.operations.submit([this, job](OpContext& context) { return decide_in(context, *job); },
                           [this, job](Status status) {
                             if (!status || (!job->is_sealed && !job->is_moot)) {
                               retry_later(job->chunk);
                               return;
                             }
                             retry_pause_ = kRetryPauseMin;
                             running_.erase(job->chunk);
                             if (job->is_sealed) {
                               settle_replicas(*job);
                             }
                             pump();
                           },
                           true);
}

Status ChunkSealer::decide_in(OpContext& context, Job& job) {
  job.is_sealed = false;
  DFS_TRY(auto row, context.store.chunk(job.chunk));
  job.is_moot = !row || row->state != ChunkState::kSealing || row->epoch != job.row->epoch;
  if (job.is_moot) {
    return ok();
  }
  const std::uint32_t committed_bytes = row->length_bytes;
  std::optional<std::uint32_t> length_bytes;
  std::vector<NodeId> damaged;
  for (const auto& [node, info] : job.answers) {
    if (info.length_bytes < committed_bytes || info.damaged) {
      damaged.push_back(node);
    } else {
      length_bytes = std::min(length_bytes.value_or(info.length_bytes), info.length_bytes);
    }
  }
  if (!length_bytes && job.answers.size() < job.replicas.size()) {
    return ok();  // a replica that has everything may still turn up
  }
  // What lies beyond the committed length is of use only to a commit that is still under way; its
  // sender writes again what is refused. A replica cut short of the chunk would be lost for it.
  const bool have_all_answered = job.answers.size() == job.replicas.size();
  row->state = ChunkState::kSealed;
  row->length_bytes = have_all_answered ? length_bytes.value_or(committed_bytes) : committed_bytes;
  DFS_CHECK_OK(context.store.put_chunk(*row));
  for (const NodeId node : damaged) {
    const ReplicaRow replica{job.chunk, node, ReplicaRowState::kDamaged};
    DFS_CHECK_OK(mark_replica(context, replica, "it has less than was committed or bad blocks."));
    job.answers.erase(node);
  }
  if (const OpenChunk* open = parts_.open_chunks.find(job.chunk)) {
    context.on_rollback([this, copy = *open] {
      if (parts_.open_chunks.find(copy.chunk) == nullptr) {
        parts_.open_chunks.add(copy);
      }
    });
    parts_.open_chunks.remove(job.chunk);
  }
  if (row->live_bytes == 0) {
    context.chunks.wake_reclaimer();
  }
  job.row = row;
  job.is_sealed = true;
  return ok();
}

void ChunkSealer::settle_replicas(const Job& job) {
  DFS_ASSERT(job.row.has_value());
  for (const NodeId node : job.replicas) {
    KnownNode* state = parts_.nodes.find(node);
    if (job.answers.contains(node)) {
      parts_.settler.settle({job.chunk, node, job.row->epoch, job.row->length_bytes});
    } else if (state != nullptr) {
      state->inventory_wanted = true;
    }
  }
}

void ChunkSealer::retry_later(ChunkId chunk) {
  running_.erase(chunk);
  waiting_.insert(chunk);
  if (!retry_timer_.is_armed()) {
    const auto jitter = static_cast<Duration::rep>(
        parts_.world.random.below(static_cast<std::uint64_t>(retry_pause_.count() / 4)));
    retry_timer_.start(retry_pause_ + Duration(jitter), [this] { retry_waiting(); });
    retry_pause_ = std::min(2 * retry_pause_, kRetryPauseMax);
  }
  pump();
}

}  // namespace dfs::master
