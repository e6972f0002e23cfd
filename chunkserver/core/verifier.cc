#include "chunkserver/core/verifier.h"

#include <algorithm>
#include <utility>

#include "chunkserver/core/block_check.h"
#include "common/assert.h"
#include "proto/block.h"

namespace dfs::chunkserver {

namespace {

constexpr std::size_t kRunningMax = 2;
constexpr std::size_t kJoinedMax = 16;       // more are dropped, their sender asks again
constexpr std::size_t kBadBlocksNamed = 16;  // "the first few"
constexpr std::uint32_t kPieceBytes = 2u << 20;
static_assert(kPieceBytes >= block_total_bytes(kBlockPayloadBytesMax));

}  // namespace

struct Verifier::Job {
  ChunkId chunk;
  ReplicaPtr replica;
  std::vector<Done> waiting;
  std::uint32_t at = 0;
  std::uint32_t end = 0;
  std::uint32_t bad_count = 0;
  VerifyReplicaReply reply;

  void note_bad(std::uint32_t offset) {
    ++bad_count;
    if (reply.bad_block_offsets.size() < kBadBlocksNamed) {
      reply.bad_block_offsets.push_back(offset);
    }
  }
};

Verifier::Verifier(ReplicaStore& store, const Bounds& bounds, Hooks hooks)
    : store_(store), waiting_max_(bounds.verifications_max), hooks_(std::move(hooks)) {}

void Verifier::verify(ChunkId chunk, Done done) {
  const auto running = running_.find(chunk);
  if (running != running_.end() && join(running->second, done)) {
    return;
  }
  for (const JobPtr& job : waiting_) {
    if (job->chunk == chunk && join(job, done)) {
      return;
    }
  }
  if (waiting_.size() >= waiting_max_) {
    if (done) {
      done(make_error(ErrorCode::kBusy, "too many verifications are waiting"));
    }
    return;
  }
  auto job = std::make_shared<Job>();
  job->chunk = chunk;
  (void)join(job, done);
  waiting_.push_back(std::move(job));
  start_next();
}

bool Verifier::join(const JobPtr& job, Done& done) {
  if (done && job->waiting.size() < kJoinedMax) {
    job->waiting.push_back(std::move(done));
  }
  return true;
}

void Verifier::start_next() {
  while (running_.size() < kRunningMax && !waiting_.empty()) {
    const JobPtr job = waiting_.front();
    waiting_.pop_front();
    running_[job->chunk] = job;
    job->replica = store_.find(job->chunk);
    if (!job->replica) {
      finish(job, make_error(ErrorCode::kNoSuchChunk, "the chunk is not here"));
      continue;
    }
    job->end = job->replica->length_bytes;
    step(job);
  }
}

void Verifier::step(const JobPtr& job) {
  const Replica& replica = *job->replica;
  // It may have been cut to be sealed.
  job->end = std::min(job->end, replica.length_bytes);
  if (replica.gone) {
    finish(job, make_error(ErrorCode::kNoSuchChunk, "the chunk was deleted meanwhile"));
    return;
  }
  if (job->at >= job->end) {
    finish(job, ok());
    return;
  }
  auto file = store_.file(job->replica);
  if (!file) {
    hooks_.on_read_error(job->replica, file.error());
    finish(job, std::move(file).error());
    return;
  }
  (*file)->read(job->at, std::min(kPieceBytes, job->end - job->at),
                alive_.guard([this, job, open = *file](const Result<Buffer>& bytes) {
                  on_read(job, bytes);
                }));
}

void Verifier::on_read(const JobPtr& job, const Result<Buffer>& bytes) {
  if (job->replica->gone || job->replica->length_bytes < job->end) {
    step(job);
    return;
  }
  if (!bytes) {
    hooks_.on_read_error(job->replica, bytes.error());
    finish(job, bytes.error());
    return;
  }
  const bool is_last = bytes->size() < kPieceBytes || job->at + bytes->size() >= job->end;
  if (check_piece(*job, bytes->bytes(), is_last)) {
    step(job);
  } else {
    finish(job, ok());
  }
}

// Checks the whole blocks in `bytes`, which begin at job.at, and the chunk's header. False when
// there is no way on: what follows a block of unknown size cannot be found.
bool Verifier::check_piece(Job& job, std::span<const std::byte> bytes, bool is_last) {
  if (job.at == 0) {
    const auto header = decode_chunk_header(bytes);
    if (!header || header->chunk != job.chunk) {
      job.note_bad(0);
    }
    job.at = std::min(kChunkHeaderBytes, static_cast<std::uint32_t>(bytes.size()));
    bytes = bytes.subspan(job.at);
  }
  while (!bytes.empty()) {
    const bool has_header = bytes.size() >= kBlockHeaderBytes;
    if (!has_header && !is_last) {
      return true;
    }
    const auto claimed = has_header ? claimed_block_bytes(bytes, job.chunk, job.at)
                                    : Result<std::uint32_t>(make_error(ErrorCode::kCorrupt));
    if (!claimed || (*claimed > bytes.size() && is_last)) {
      job.note_bad(job.at);
      return false;
    }
    if (*claimed > bytes.size()) {
      return true;  // the next piece begins with it
    }
    if (!check_block(bytes, job.chunk, job.at)) {
      job.note_bad(job.at);
    }
    ++job.reply.blocks_checked;
    bytes = bytes.subspan(*claimed);
    job.at += *claimed;
  }
  return job.at < job.end || is_last;
}

void Verifier::finish(const JobPtr& job, const Status& status) {
  if (job->bad_count > 0 && !job->replica->gone) {
    hooks_.on_damaged(job->replica, std::to_string(job->bad_count) + " bad blocks, the first at " +
                                        std::to_string(job->reply.bad_block_offsets.front()));
  }
  running_.erase(job->chunk);
  if (job->replica) {
    job->reply.replica = job->replica->info();
    job->reply.replica.epoch = store_.epoch(job->chunk);
  }
  for (const Done& done : job->waiting) {
    if (status) {
      done(job->reply);
    } else {
      done(status.error());
    }
  }
  start_next();
}

}  // namespace dfs::chunkserver
