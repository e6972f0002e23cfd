#include "chunkserver/core/append_pipeline.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "chunkserver/core/block_check.h"
#include "common/assert.h"
#include "proto/limits.h"

namespace dfs::chunkserver {

namespace {

// What an append takes apart from its frame.
constexpr std::uint64_t kAppendOverheadBytes = 4096;
// Repetitions of one append that wait for its answer; more are dropped, their sender asks again.
constexpr std::size_t kJoinedMax = 16;
// A next server with too much to do is asked again so often, at this distance.
constexpr unsigned kBusyRetriesMax = 20;
constexpr std::chrono::milliseconds kBusyRetryDelay{50};

}  // namespace

class AppendPipeline::Append {
 public:
  Append(AppendRequest new_request, Buffer new_frame, Scheduler& scheduler,
         std::shared_ptr<std::uint64_t> bytes_in_progress)
      : request(std::move(new_request)),
        frame(std::move(new_frame)),
        timer(scheduler),
        bytes_in_progress_(std::move(bytes_in_progress)),
        counted_bytes_(frame.size() + kAppendOverheadBytes) {
    *bytes_in_progress_ += counted_bytes_;
  }
  ~Append() {
    DFS_ASSERT(*bytes_in_progress_ >= counted_bytes_);
    *bytes_in_progress_ -= counted_bytes_;
  }
  Append(const Append&) = delete;
  Append& operator=(const Append&) = delete;

  std::uint32_t begin() const { return request.chunk_offset; }
  std::uint32_t end() const { return begin() + static_cast<std::uint32_t>(frame.size()); }

  const AppendRequest request;
  const Buffer frame;
  std::vector<BlockMark> blocks;
  std::vector<Done> waiting;
  bool is_held = false;
  bool is_written = false;    // here, and synced if asked for
  bool is_forwarded = false;  // or there is nobody behind
  bool is_answered = false;
  unsigned busy_retries = 0;
  std::uint32_t length_bytes = 0;
  Timer timer;  // of the hold, then of asking a busy server again

 private:
  std::shared_ptr<std::uint64_t> bytes_in_progress_;
  const std::uint64_t counted_bytes_;
};

AppendPipeline::AppendPipeline(World world, ReplicaStore& store, ReplicaWriter& writer,
                               const Bounds& bounds, ReplicaWriter::DiskErrorHandler on_disk_error)
    : world_(world),
      store_(store),
      writer_(writer),
      bounds_(bounds),
      on_disk_error_(std::move(on_disk_error)),
      chain_(world, bounds.chain_links_max),
      bytes_in_progress_(std::make_shared<std::uint64_t>(0)) {}

AppendPipeline::~AppendPipeline() {
  // Disk completions may keep an append longer than the scheduler lives.
  for (const auto& [chunk, appends] : in_progress_) {
    for (const AppendPtr& append : appends) {
      append->timer.stop();
    }
  }
}

void AppendPipeline::append(AppendRequest request, Buffer frame, Done done) {
  auto checked = check_request(request, frame);
  if (!checked) {
    done(std::move(checked).error());
    return;
  }
  if (join(request, frame, done)) {
    return;
  }
  if (*bytes_in_progress_ + frame.size() > bounds_.append_bytes_in_progress_max) {
    done(make_error(ErrorCode::kBusy, "too many appends in progress"));
    return;
  }
  auto append = std::make_shared<Append>(std::move(request), std::move(frame), world_.scheduler,
                                         bytes_in_progress_);
  append->waiting.push_back(std::move(done));
  in_progress_[append->request.chunk].push_back(append);
  ++in_progress_count_;
  auto blocks = check_append(append->frame.bytes(), append->request.chunk, append->request.epoch,
                             append->begin());
  if (!blocks) {
    world_.log.warning("Refused an append: " + blocks.error().detail);
    fail(append, blocks.error(), node_);
    return;
  }
  append->blocks = std::move(*blocks);
  const ChunkId chunk = append->request.chunk;
  if (place(append) == Place::kStarted) {
    release_held(chunk);
  }
}

void AppendPipeline::recheck_held(ChunkId chunk) {
  const auto found = in_progress_.find(chunk);
  if (found == in_progress_.end()) {
    return;
  }
  const std::vector<AppendPtr> appends = found->second;
  for (const AppendPtr& append : appends) {
    if (append->is_held && !append->is_answered) {
      auto admitted = admit(append, store_.find(chunk));
      if (!admitted) {
        fail(append, admitted.error(), node_);
      }
    }
  }
}

Status AppendPipeline::check_request(const AppendRequest& request, const Buffer& frame) const {
  const bool is_chain_whole = request.chain_nodes.size() == request.chain_addresses.size() &&
                              request.chain_nodes.size() < kReplicasMax;
  if (!request.chunk.is_set() || !request.epoch.is_set() || !is_chain_whole ||
      request.chunk_offset < kChunkHeaderBytes || (frame.empty() && !request.sync)) {
    return make_error(ErrorCode::kInvalidArgument, "not an append");
  }
  if (frame.size() > kAppendBytesMax || request.chunk_offset > kChunkBytesMax ||
      frame.size() > kChunkBytesMax - request.chunk_offset) {
    return make_error(ErrorCode::kTooLarge, "an append or its chunk would be too large");
  }
  return ok();
}

// Only the very same bytes join; other ones at their offset are refused by the comparison of
// blocks.
bool AppendPipeline::join(const AppendRequest& request, const Buffer& frame, Done& done) {
  const auto found = in_progress_.find(request.chunk);
  if (found == in_progress_.end()) {
    return false;
  }
  for (const AppendPtr& append : found->second) {
    const AppendRequest& other = append->request;
    if (other.chunk_offset == request.chunk_offset && other.epoch == request.epoch &&
        other.sync == request.sync && other.chain_nodes == request.chain_nodes &&
        other.chain_addresses == request.chain_addresses && append->frame.text() == frame.text()) {
      if (append->waiting.size() < kJoinedMax) {
        append->waiting.push_back(std::move(done));
      }
      return true;
    }
  }
  return false;
}

AppendPipeline::Place AppendPipeline::place(const AppendPtr& append) {
  const ReplicaPtr replica = store_.find(append->request.chunk);
  auto admitted = admit(append, replica);
  if (!admitted) {
    fail(append, admitted.error(), node_);
    return Place::kRefused;
  }
  const std::uint32_t accepted_end = replica ? replica->open->accepted_end : kChunkHeaderBytes;
  const bool is_ahead = append->begin() > accepted_end || (!replica && append->frame.empty());
  if (is_ahead) {
    return hold(append) ? Place::kHeld : Place::kRefused;
  }
  append->is_held = false;
  append->timer.stop();
  start(append, replica);
  return Place::kStarted;
}

// Whether the chunk still takes appends of this epoch.
Status AppendPipeline::admit(const AppendPtr& append, const ReplicaPtr& replica) const {
  const ChunkId chunk = append->request.chunk;
  if (store_.was_deleted(chunk)) {
    return make_error(ErrorCode::kSealed, "the chunk was deleted here");
  }
  if (append->request.epoch < store_.epoch(chunk)) {
    return make_error(ErrorCode::kSealed, "the chunk was fenced");
  }
  if (!replica) {
    return ok();
  }
  if (replica->sealed || replica->open->sealing) {
    return make_error(ErrorCode::kSealed, "the chunk is sealed");
  }
  if (replica->open->broken) {
    return *replica->open->broken;
  }
  return ok();
}

bool AppendPipeline::hold(const AppendPtr& append) {
  const std::vector<AppendPtr>& others = in_progress_.at(append->request.chunk);
  const auto held_count = std::count_if(others.begin(), others.end(),
                                        [](const AppendPtr& other) { return other->is_held; });
  if (static_cast<std::size_t>(held_count) >= bounds_.held_appends_max) {
    answer(append, make_error(ErrorCode::kBusy, "too many appends ahead of their turn"));
    return false;
  }
  append->is_held = true;
  append->timer.start(bounds_.hold_time, alive_.guard([this, append] {
    const Error error = make_error(ErrorCode::kWrongOffset, "what it continues did not come");
    fail(append, error, node_);
  }));
  return true;
}

void AppendPipeline::release_held(ChunkId chunk) {
  for (;;) {
    const auto found = in_progress_.find(chunk);
    const ReplicaPtr replica = store_.find(chunk);
    if (found == in_progress_.end() || !replica || !replica->open) {
      return;
    }
    const std::uint32_t accepted_end = replica->open->accepted_end;
    const auto next = std::find_if(found->second.begin(), found->second.end(),
                                   [accepted_end](const AppendPtr& append) {
                                     return append->is_held && append->begin() <= accepted_end;
                                   });
    if (next == found->second.end()) {
      return;
    }
    const AppendPtr append = *next;
    append->is_held = false;
    (void)place(append);
  }
}

void AppendPipeline::start(const AppendPtr& append, ReplicaPtr replica) {
  if (!replica) {
    auto created = create(*append);
    if (!created) {
      fail(append, created.error(), node_);
      return;
    }
    replica = std::move(*created);
  }
  auto written = write_new_part(*append, replica);
  if (!written) {
    fail(append, written.error(), node_);
    return;
  }
  forward(append);
  writer_.wait(replica, {append->end(), append->request.sync,
                         alive_.guard([this, append, replica](const Status& status) {
                           on_local(append, replica, status);
                         })});
}

// Writes the blocks beyond the accepted end; those before it must be the ones that are there. An
// append that was cut short by a crash goes on where the tear was cut.
Status AppendPipeline::write_new_part(Append& append, const ReplicaPtr& replica) {
  OpenState& open = *replica->open;
  for (const BlockMark& block : append.blocks) {
    if (block.offset >= open.accepted_end) {
      break;
    }
    const auto there = std::lower_bound(
        open.blocks.begin(), open.blocks.end(), block.offset,
        [](const BlockMark& mark, std::uint32_t offset) { return mark.offset < offset; });
    if (there == open.blocks.end() || !there->same_bytes(block)) {
      return make_error(ErrorCode::kWrongOffset, "other bytes are there");
    }
  }
  if (append.end() <= open.accepted_end) {
    return ok();
  }
  auto opened = store_.open_for_writing(*replica);
  if (!opened) {
    on_disk_error_(replica->directory, opened.error());
    return opened;
  }
  replica->epoch = std::max(replica->epoch, append.request.epoch);
  const std::uint32_t skipped_bytes = open.accepted_end - append.begin();
  for (const BlockMark& block : append.blocks) {
    if (block.offset >= open.accepted_end) {
      open.blocks.push_back(block);
    }
  }
  writer_.append(replica, append.frame.slice(skipped_bytes, append.frame.size() - skipped_bytes));
  DFS_ASSERT(open.accepted_end == append.end() && open.blocks.back().end == append.end());
  return ok();
}

Result<ReplicaPtr> AppendPipeline::create(const Append& append) {
  DFS_ASSERT(append.begin() == kChunkHeaderBytes && !append.frame.empty());
  std::size_t failed_directory = 0;
  auto created = store_.create(append.request.chunk, append.request.epoch, &failed_directory);
  if (!created) {
    if (is_directory_failure(created.code()) || is_shortage(created.code())) {
      on_disk_error_(failed_directory, created.error());
    }
    return created;
  }
  writer_.append(*created, store_.chunk_header(append.request.chunk));
  return created;
}

void AppendPipeline::forward(const AppendPtr& append) {
  const AppendRequest& request = append->request;
  if (request.chain_nodes.empty()) {
    append->is_forwarded = true;
    return;
  }
  AppendRequest next = request;
  next.chain_nodes.erase(next.chain_nodes.begin());
  next.chain_addresses.erase(next.chain_addresses.begin());
  CallOptions options;
  options.timeout = bounds_.forward_timeout;
  chain_.to(request.chain_addresses.front())
      .call(next, options,
            std::function<void(Result<RpcReply<AppendReply>>)>(
                alive_.guard([this, append](Result<RpcReply<AppendReply>> reply) {
                  on_forwarded(append, std::move(reply));
                })),
            append->frame);
}

void AppendPipeline::on_forwarded(const AppendPtr& append, Result<RpcReply<AppendReply>> reply) {
  if (append->is_answered) {
    return;
  }
  const NodeId next = append->request.chain_nodes.front();
  if (reply.code() == ErrorCode::kBusy && append->busy_retries < kBusyRetriesMax) {
    ++append->busy_retries;
    append->timer.start(kBusyRetryDelay, alive_.guard([this, append] { forward(append); }));
    return;
  }
  if (!reply) {
    fail(append, reply.error(), next);
    return;
  }
  const AppendReply& body = reply->body;
  const ErrorCode outcome = error_code_from_wire(body.outcome);
  if (outcome != ErrorCode::kOk) {
    // A server that does not know its own id yet is the one that was asked.
    fail(append, make_error(outcome, body.detail),
         body.failed_node.is_set() ? body.failed_node : next);
    return;
  }
  append->is_forwarded = true;
  answer_if_done(append);
}

void AppendPipeline::on_local(const AppendPtr& append, const ReplicaPtr& replica,
                              const Status& status) {
  if (append->is_answered) {
    return;
  }
  if (!status) {
    fail(append, status.error(), node_);
    return;
  }
  append->is_written = true;
  append->length_bytes = replica->length_bytes;
  answer_if_done(append);
}

void AppendPipeline::fail(const AppendPtr& append, const Error& error, NodeId failed_node) {
  AppendReply reply;
  reply.outcome = static_cast<std::uint16_t>(error.code);
  reply.failed_node = failed_node;
  reply.detail = error.detail;
  const ReplicaPtr replica = store_.find(append->request.chunk);
  reply.length_bytes = replica ? replica->valid_bytes() : 0;
  answer(append, reply);
}

void AppendPipeline::answer_if_done(const AppendPtr& append) {
  if (append->is_written && append->is_forwarded) {
    AppendReply reply;
    reply.length_bytes = append->length_bytes;
    answer(append, reply);
  }
}

void AppendPipeline::answer(const AppendPtr& append, const Result<AppendReply>& reply) {
  DFS_ASSERT(!append->is_answered);
  append->is_answered = true;
  append->is_held = false;
  append->timer.stop();
  const auto found = in_progress_.find(append->request.chunk);
  DFS_ASSERT(found != in_progress_.end());
  const auto erased = std::erase(found->second, append);
  DFS_ASSERT(erased == 1);
  if (found->second.empty()) {
    in_progress_.erase(found);
  }
  --in_progress_count_;
  for (const Done& done : append->waiting) {
    done(reply);
  }
}

}  // namespace dfs::chunkserver
