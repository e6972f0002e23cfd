#include "chunkserver/core/reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/assert.h"
#include "proto/block.h"
#include "proto/limits.h"

namespace dfs::chunkserver {

namespace {

// Bytes read for nothing are cheaper than a second disk read, up to here.
constexpr std::uint32_t kPrefixGapMax = 64 * 1024;
constexpr std::uint32_t kNeighbourGapMax = 16 * 1024;
// Larger reads stay apart, so that they run at the same time.
constexpr std::uint32_t kSharedSpanMax = 512 * 1024;

// What a read that failed as `failure` is answered with.
ErrorCode answer_for(ErrorCode failure) {
  if (failure == ErrorCode::kNotFound) {
    return ErrorCode::kNoSuchChunk;
  }
  return is_shortage(failure) ? ErrorCode::kBusy : ErrorCode::kIo;
}

}  // namespace

// One read of the disk.
struct Reader::Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  Result<Buffer> bytes = Buffer();
};

struct Reader::Range {
  ErrorCode code = ErrorCode::kOk;
  std::uint32_t block_offset = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t first_cell = 0;
  std::uint32_t cells_begin = 0;  // in the chunk file
  std::uint32_t cells_bytes = 0;
  std::size_t prefix_span = 0;  // not used when the checksums are known
  std::size_t cells_span = 0;
  std::uint32_t neighbours_bytes = 0;  // behind the cells
  Checksums checksums;                 // of the whole block
  Buffer cells;
};

struct Reader::Job {
  ReplicaPtr replica;
  Done done;
  std::vector<Range> ranges;
  std::vector<Span> spans;
  std::size_t spans_left = 0;
  std::uint64_t counted_bytes = 0;

  // The span that will hold [begin, end): the last one, widened, when they are close.
  std::size_t add_span(std::uint32_t begin, std::uint32_t end) {
    if (!spans.empty()) {
      Span& last = spans.back();
      const bool is_close = begin >= last.begin && begin <= last.end + kNeighbourGapMax;
      if (is_close && (end <= last.end || end - last.begin <= kSharedSpanMax)) {
        last.end = std::max(last.end, end);
        return spans.size() - 1;
      }
    }
    spans.push_back({begin, end, Buffer()});
    return spans.size() - 1;
  }

  // The bytes from `begin` on of a span that was read; fails as the read, and with kCorrupt when
  // the file ended before.
  Result<Buffer> bytes(std::size_t span, std::uint32_t begin, std::uint32_t size_bytes) const {
    const Span& read = spans[span];
    if (!read.bytes) {
      return read.bytes.error();
    }
    const std::uint32_t at = begin - read.begin;
    if (at + size_bytes > read.bytes->size()) {
      return make_error(ErrorCode::kCorrupt, "the file ends early");
    }
    return read.bytes->slice(at, size_bytes);
  }
};

Reader::Reader(ReplicaStore& store, const Bounds& bounds, Hooks hooks)
    : store_(store),
      bounds_(bounds),
      hooks_(std::move(hooks)),
      prefixes_(bounds.cached_prefixes_max) {}

void Reader::read(const ReadRequest& request, Done done) {
  auto checked = check_request(request);
  if (!checked) {
    done(std::move(checked).error());
    return;
  }
  auto job = std::make_shared<Job>();
  job->replica = store_.find(request.chunk);
  job->done = std::move(done);
  if (!job->replica) {
    job->done(make_error(ErrorCode::kNoSuchChunk, "the chunk is not here"));
    return;
  }
  std::uint64_t sent_bytes = 0;
  for (const ReadRange& asked : request.ranges) {
    plan(*job, asked);
    sent_bytes += job->ranges.back().cells_bytes;
  }
  if (request.neighbours_until != 0 && request.ranges.size() == 1) {
    add_neighbours(*job, request.neighbours_until);
  }
  if (sent_bytes > kBulkBytesMax) {
    job->done(make_error(ErrorCode::kTooLarge, "the cells of the ranges are too many"));
    return;
  }
  for (const Span& span : job->spans) {
    job->counted_bytes += span.end - span.begin;
  }
  if (bytes_in_progress_ + job->counted_bytes > bounds_.read_bytes_in_progress_max) {
    job->done(make_error(ErrorCode::kBusy, "too many reads in progress"));
    return;
  }
  start(job);
}

Status Reader::check_request(const ReadRequest& request) {
  if (request.ranges.empty()) {
    return make_error(ErrorCode::kInvalidArgument, "a read without ranges");
  }
  std::uint64_t asked_bytes = 0;
  for (const ReadRange& range : request.ranges) {
    asked_bytes += range.length_bytes;
  }
  if (request.ranges.size() > kReadRangesMax || asked_bytes > kReadBytesMax) {
    return make_error(ErrorCode::kTooLarge, "a read of too much at once");
  }
  return ok();
}

void Reader::plan(Job& job, const ReadRange& asked) {
  Range range;
  range.code = check_range(*job.replica, asked);
  if (range.code != ErrorCode::kOk) {
    job.ranges.push_back(std::move(range));
    return;
  }
  range.block_offset = asked.block_offset;
  range.block_bytes = asked.block_bytes;
  range.first_cell = asked.payload_offset / kChecksumCellBytes;
  const std::uint32_t cells_offset = range.first_cell * kChecksumCellBytes;
  const std::uint32_t payload_end = asked.payload_offset + asked.length_bytes;
  const std::uint32_t cells_end =
      std::min(asked.block_bytes, cell_count(payload_end) * kChecksumCellBytes);
  const std::uint32_t prefix_end = asked.block_offset + block_prefix_bytes(asked.block_bytes);
  range.cells_begin = prefix_end + cells_offset;
  range.cells_bytes = cells_end - cells_offset;
  const std::uint32_t end = range.cells_begin + range.cells_bytes;
  if (const Checksums* known = prefixes_.find({job.replica->chunk, asked.block_offset});
      known != nullptr && (*known)->size() == cell_count(asked.block_bytes)) {
    range.checksums = *known;
    range.cells_span = job.add_span(range.cells_begin, end);
  } else if (cells_offset <= kPrefixGapMax) {
    range.prefix_span = range.cells_span = job.add_span(asked.block_offset, end);
  } else {
    range.prefix_span = job.add_span(asked.block_offset, prefix_end);
    range.cells_span = job.add_span(range.cells_begin, end);
  }
  job.ranges.push_back(std::move(range));
}

// Widens the one span by what is stored behind the block.
void Reader::add_neighbours(Job& job, std::uint32_t until) {
  Range& range = job.ranges.front();
  const std::uint32_t end = range.cells_begin + range.cells_bytes;
  const bool ends_block = range.code == ErrorCode::kOk &&
                          end == range.block_offset + block_total_bytes(range.block_bytes);
  until = std::min(until, job.replica->length_bytes);
  if (ends_block && until > end) {
    range.neighbours_bytes = std::min(until - end, kReadNeighboursBytesMax);
    job.spans[range.cells_span].end = end + range.neighbours_bytes;
  }
}

ErrorCode Reader::check_range(const Replica& replica, const ReadRange& asked) const {
  if (asked.block_bytes == 0 || asked.block_bytes > kBlockPayloadBytesMax ||
      asked.length_bytes == 0 || asked.payload_offset >= asked.block_bytes ||
      asked.length_bytes > asked.block_bytes - asked.payload_offset ||
      asked.block_offset < kChunkHeaderBytes || asked.block_offset >= kChunkBytesMax) {
    return ErrorCode::kInvalidArgument;
  }
  const std::uint32_t block_end = asked.block_offset + block_total_bytes(asked.block_bytes);
  if (block_end > replica.length_bytes) {
    return ErrorCode::kNoSuchChunk;  // this part of it
  }
  if (!replica.open) {
    return ErrorCode::kOk;
  }
  const auto& blocks = replica.open->blocks;
  const auto block = std::lower_bound(
      blocks.begin(), blocks.end(), asked.block_offset,
      [](const BlockMark& mark, std::uint32_t offset) { return mark.offset < offset; });
  const bool is_block =
      block != blocks.end() && block->offset == asked.block_offset && block->end == block_end;
  return is_block ? ErrorCode::kOk : ErrorCode::kInvalidArgument;
}

void Reader::start(const JobPtr& job) {
  bytes_in_progress_ += job->counted_bytes;
  ++in_progress_count_;
  if (job->spans.empty()) {
    finish(job);
    return;
  }
  auto file = store_.file(job->replica);
  if (!file) {
    hooks_.on_read_error(job->replica, file.error());
    for (Span& span : job->spans) {
      span.bytes = file.error();
    }
    finish(job);
    return;
  }
  job->spans_left = job->spans.size();
  for (std::size_t i = 0; i < job->spans.size(); ++i) {
    read_span(job, i, *file);
  }
}

void Reader::read_span(const JobPtr& job, std::size_t span, const std::shared_ptr<DiskFile>& file) {
  const auto& [begin, end, bytes] = job->spans[span];
  file->read(begin, end - begin, alive_.guard([this, job, span, file](Result<Buffer> read) {
    if (!read && drop_neighbours(*job, span)) {
      read_span(job, span, file);
    } else {
      on_span_read(job, span, std::move(read));
    }
  }));
}

// A bad place behind the block must not cost the block that was asked for.
bool Reader::drop_neighbours(Job& job, std::size_t span) {
  Range& range = job.ranges.front();
  if (range.neighbours_bytes == 0 || range.cells_span != span) {
    return false;
  }
  job.spans[span].end -= std::exchange(range.neighbours_bytes, 0);
  return true;
}

void Reader::on_span_read(const JobPtr& job, std::size_t span, Result<Buffer> bytes) {
  if (!bytes && !job->replica->gone) {
    hooks_.on_read_error(job->replica, bytes.error());
  }
  job->spans[span].bytes = std::move(bytes);
  DFS_ASSERT(job->spans_left > 0);
  if (--job->spans_left == 0) {
    finish(job);
  }
}

void Reader::finish(const JobPtr& job) {
  Answer answer;
  std::size_t bulk_bytes = 0;
  for (Range& range : job->ranges) {
    range.code = check(*job, range);
    ReadRangeResult result;
    result.code = static_cast<std::uint16_t>(range.code);
    if (range.code == ErrorCode::kOk) {
      result.first_cell = range.first_cell;
      result.size_bytes = range.cells_bytes;
      const auto first = range.checksums->begin() + range.first_cell;
      result.checksums.assign(first, first + cell_count(range.cells_bytes));
    }
    bulk_bytes += range.cells.size();
    answer.reply.ranges.push_back(std::move(result));
  }
  // One range is sent as it was read; several have to be brought together.
  if (job->ranges.size() == 1) {
    answer.bulk = job->ranges.front().cells;
  } else {
    std::vector<std::byte> bulk;
    bulk.reserve(bulk_bytes);
    for (const Range& range : job->ranges) {
      bulk.insert(bulk.end(), range.cells.data(), range.cells.data() + range.cells.size());
    }
    answer.bulk = Buffer::adopt(std::move(bulk));
  }
  DFS_ASSERT(bytes_in_progress_ >= job->counted_bytes && in_progress_count_ > 0);
  bytes_in_progress_ -= job->counted_bytes;
  --in_progress_count_;
  job->done(std::move(answer));
}

// The range's code; with kOk its cells and checksums are in it.
ErrorCode Reader::check(const Job& job, Range& range) {
  if (range.code != ErrorCode::kOk) {
    return range.code;
  }
  if (job.replica->gone || range.cells_begin + range.cells_bytes > job.replica->length_bytes) {
    return ErrorCode::kNoSuchChunk;  // deleted or cut while it was read
  }
  const ErrorCode prefix = check_prefix(job, range);
  if (prefix != ErrorCode::kOk) {
    return prefix;
  }
  auto cells = job.bytes(range.cells_span, range.cells_begin, range.cells_bytes);
  Status verified = ok();
  if (cells) {
    const std::span<const std::uint32_t> checksums(*range.checksums);
    verified = verify_cells(cells->bytes(),
                            checksums.subspan(range.first_cell, cell_count(range.cells_bytes)));
  }
  if (!cells && cells.code() != ErrorCode::kCorrupt) {
    return answer_for(cells.code());
  }
  if (!cells || !verified) {
    const std::string& why = cells ? verified.error().detail : cells.error().detail;
    hooks_.on_damaged(job.replica, "block at " + std::to_string(range.block_offset) + ": " + why);
    return ErrorCode::kCorrupt;
  }
  range.cells = std::move(*cells);
  if (range.neighbours_bytes > 0) {
    auto with_neighbours =
        job.bytes(range.cells_span, range.cells_begin, range.cells_bytes + range.neighbours_bytes);
    if (with_neighbours) {
      range.cells = std::move(*with_neighbours);
    }
  }
  return ErrorCode::kOk;
}

ErrorCode Reader::check_prefix(const Job& job, Range& range) {
  if (range.checksums) {
    return ErrorCode::kOk;
  }
  const std::uint32_t prefix_bytes = block_prefix_bytes(range.block_bytes);
  auto bytes = job.bytes(range.prefix_span, range.block_offset, prefix_bytes);
  if (!bytes && bytes.code() != ErrorCode::kCorrupt) {
    return answer_for(bytes.code());
  }
  auto block = bytes ? parse_block_prefix(bytes->bytes()) : bytes.error();
  if (!block || block->header.chunk != job.replica->chunk ||
      block->header.chunk_offset != range.block_offset ||
      block->header.payload_bytes != range.block_bytes) {
    hooks_.on_suspect(job.replica);
    return ErrorCode::kCorrupt;
  }
  auto checksums = std::make_shared<std::vector<std::uint32_t>>();
  const std::uint32_t cells = cell_count(range.block_bytes);
  checksums->reserve(cells);
  for (std::uint32_t cell = 0; cell < cells; ++cell) {
    checksums->push_back(block->checksum(cell));
  }
  range.checksums = std::move(checksums);
  prefixes_.put({job.replica->chunk, range.block_offset}, range.checksums);
  return ErrorCode::kOk;
}

}  // namespace dfs::chunkserver
