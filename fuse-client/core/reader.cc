#include "fuse-client/core/reader.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "proto/limits.h"

namespace dfs::client {
namespace {

constexpr std::uint64_t kAttributesOnly = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kZerosBytes = 128 * 1024;
// A file that others change all the time may answer each question out of date; a bound all the
// same.
constexpr std::uint32_t kRoundsMax = 100;
constexpr std::chrono::milliseconds kRetryDelay{500};

std::uint64_t window_begin_of(std::uint64_t offset) { return offset - offset % kExtentWindowBytes; }

BlockPart part_of(const Extent& extent) {
  return {{extent.chunk, extent.block_offset},
          extent.block_bytes,
          extent.payload_offset,
          extent.payload_offset + extent.length_bytes};
}

Buffer joined(const std::vector<Buffer>& buffers) {
  if (buffers.size() == 1) {
    return buffers.front();
  }
  std::vector<std::byte> bytes;
  for (const Buffer& buffer : buffers) {
    bytes.insert(bytes.end(), buffer.bytes().begin(), buffer.bytes().end());
  }
  return Buffer::adopt(std::move(bytes));
}

}  // namespace

Reader::Reader(World world, MasterLink& master, WriteBack& write_back, InodeCache& inodes,
               LeaseSettler& settler, std::function<bool(InodeId)> is_fresh, BlockFetcher& blocks,
               Duration wait_max)
    : world_(world),
      master_(master),
      write_back_(write_back),
      inodes_(inodes),
      settler_(settler),
      is_fresh_(std::move(is_fresh)),
      blocks_(blocks),
      wait_max_(wait_max),
      zeros_(Buffer::adopt(std::vector<std::byte>(kZerosBytes))) {}

Reader::ReadId Reader::read(const Request& request, Done<std::vector<Buffer>> done) {
  const ReadId id{next_read_++};
  auto read = std::make_shared<Read>();
  read->request = request;
  read->done = std::move(done);
  read->started = read->asked_since = world_.scheduler.now();
  reads_.emplace(id, std::move(read));
  step(id);
  return id;
}

void Reader::interrupt(ReadId id) { finish(id, make_error(ErrorCode::kInterrupted)); }

void Reader::finish(ReadId id, Result<std::vector<Buffer>> result) {
  const auto place = reads_.find(id);
  if (place == reads_.end()) {
    return;
  }
  // Posted, because what is cached is found inside read().
  world_.scheduler.post(
      lifetime_.guard([done = std::move(place->second->done),
                       result = std::move(result)]() mutable { done(std::move(result)); }));
  reads_.erase(place);
}

// --- What the master knows -----------------------------------------------------------------------

bool Reader::has_fresh_data(const Read& read) const {
  // An answer to a question asked since counts however long it took.
  return is_fresh_(read.request.inode) ||
         inodes_.is_data_as_of(read.request.inode, read.asked_since);
}

bool Reader::must_wait(InodeId inode) const {
  return write_back_.is_undecided(inode) || settler_.holds_reads(inode);
}

void Reader::step_later(ReadId id, InodeId inode) {
  const Task again = lifetime_.guard([this, id] {
    const auto waiting = reads_.find(id);
    if (waiting != reads_.end()) {
      waiting->second->asked_since = world_.scheduler.now();
      step(id);
    }
  });
  if (write_back_.is_undecided(inode)) {
    write_back_.when_decided(inode, again);
  } else {
    settler_.when_given_back(inode, again);
  }
}

void Reader::step(ReadId id) {
  const auto place = reads_.find(id);
  if (place == reads_.end()) {
    return;
  }
  Read& read = *place->second;
  const Request& request = read.request;
  if (must_wait(request.inode)) {
    step_later(id, request.inode);
    return;
  }
  const std::uint64_t wanted_end = request.offset + request.size_bytes;
  const Attributes* known = inodes_.attributes(request.inode);
  if (known != nullptr && has_fresh_data(read)) {
    const std::uint64_t committed_end = std::min(wanted_end, known->size_bytes);
    if (request.offset >= committed_end ||
        inodes_.known_until(request.inode, request.offset, committed_end) == committed_end) {
      take_snapshot(id, committed_end);
      return;
    }
  }
  if (++read.rounds > kRoundsMax) {
    world_.log.error("A file changes too fast to be read. inode=" +
                     std::to_string(request.inode.value));
    finish(id, make_error(ErrorCode::kIo, "no consistent extents"));
    return;
  }
  const std::uint64_t ahead = std::uint64_t{request.windows_ahead} * kExtentWindowBytes;
  refresh(request.inode, request.offset, wanted_end + ahead, [this, id](Status status) {
    if (status) {
      step(id);
    } else {
      finish(id, std::move(status).error());
    }
  });
}

void Reader::refresh(InodeId inode, std::uint64_t begin, std::uint64_t end, Refreshed done) {
  const Attributes* known = inodes_.attributes(inode);
  const std::uint64_t needed =
      known == nullptr ? end : std::min(end, std::max(begin, known->size_bytes));
  const std::uint64_t first = inodes_.known_until(inode, begin, needed);
  const bool wants_extents = known == nullptr || first < needed;
  const std::uint64_t offset = window_begin_of(first);
  const std::pair<InodeId, std::uint64_t> key{inode, wants_extents ? offset : kAttributesOnly};
  Refresh& question = refreshes_[key];
  question.waiting.push_back(std::move(done));
  if (question.waiting.size() > 1) {
    return;
  }
  const MonoTime sent_at = world_.scheduler.now();
  if (!wants_extents) {
    question.call = master_.call(
        GetAttributesRequest{inode}, [this, key, sent_at](Result<AttributesReply> reply) {
          if (reply) {
            inodes_.learn(reply->attributes, master_.leases().told(sent_at, reply->lease));
          }
          refreshed(key, reply ? ok() : Status(std::move(reply).error()));
        });
    return;
  }
  GetExtentsRequest request;
  request.inode = inode;
  request.offset = offset;
  request.length_bytes = std::max(end, first + 1) - offset;
  question.call = master_.call(request, [this, key, sent_at](Result<GetExtentsReply> reply) {
    refreshed(key, reply ? inodes_.learn_extents(*reply, key.second,
                                                 master_.leases().told(sent_at, reply->lease))
                         : Status(std::move(reply).error()));
  });
}

void Reader::refreshed(std::pair<InodeId, std::uint64_t> key, Status status) {
  if (status.code() == ErrorCode::kStale) {
    inodes_.erase(key.first);
  }
  const auto place = refreshes_.find(key);
  const std::vector<Refreshed> waiting = std::move(place->second.waiting);
  refreshes_.erase(place);
  for (const Refreshed& done : waiting) {
    done(status);
  }
}

// --- One snapshot --------------------------------------------------------------------------------

void Reader::take_snapshot(ReadId id, std::uint64_t committed_end) {
  Read& read = *reads_.at(id);
  const Request& request = read.request;
  const auto dirty = write_back_.dirty_attributes(request.inode);
  const std::uint64_t size =
      std::max(inodes_.attributes(request.inode)->size_bytes, dirty ? dirty->size_bytes_min : 0);
  const std::uint64_t end = std::min(request.offset + request.size_bytes, size);
  if (request.offset >= end) {
    finish(id, std::vector<Buffer>{});
    return;
  }
  std::vector<Extent> extents;
  if (request.offset < committed_end) {
    extents = *inodes_.extents(request.inode, request.offset, committed_end);
  }
  read.pieces.clear();
  read.error.reset();
  read.version = inodes_.attributes(request.inode)->data_version;
  std::vector<BlockPart> parts;
  std::vector<std::size_t> places;
  std::uint64_t at = request.offset;
  for (DirtyRange& range : write_back_.dirty_ranges(request.inode, request.offset, end)) {
    DFS_ASSERT(range.file_offset >= at && range.file_offset + range.data.size() <= end);
    add_committed(read, at, range.file_offset, extents, parts, places);
    at = range.file_offset + range.data.size();
    read.pieces.push_back({std::move(range.data)});
  }
  add_committed(read, at, end, extents, parts, places);
  read.pieces_missing = parts.size() + 1;
  const std::uint32_t unit_bytes = request.unit_bytes;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    blocks_.read(parts[i], unit_bytes,
                 [this, id, place = places[i]](Result<std::vector<Buffer>> piece) {
                   piece_read(id, place, std::move(piece));
                 });
  }
  // The last of the missing ones is this function itself: pieces may have come inside read().
  piece_read(id, read.pieces.size(), std::vector<Buffer>{});
}

void Reader::add_committed(Read& read, std::uint64_t begin, std::uint64_t end,
                           const std::vector<Extent>& extents, std::vector<BlockPart>& parts,
                           std::vector<std::size_t>& places) {
  if (begin == end) {
    return;  // dirty ranges side by side
  }
  std::uint64_t at = begin;
  auto extent = std::partition_point(extents.begin(), extents.end(),
                                     [begin](const Extent& each) { return each.end() <= begin; });
  for (; begin < end && extent != extents.end() && extent->file_offset < end; ++extent) {
    const Extent piece = clip(*extent, begin, end);
    if (piece.file_offset > at) {
      read.pieces.push_back(zeros(piece.file_offset - at));
    }
    parts.push_back(part_of(piece));
    places.push_back(read.pieces.size());
    read.pieces.emplace_back();
    at = piece.end();
  }
  if (at < end) {
    read.pieces.push_back(zeros(end - at));
  }
}

std::vector<Buffer> Reader::zeros(std::uint64_t size_bytes) {
  std::vector<Buffer> all;
  while (size_bytes > 0) {
    const std::size_t part = std::min<std::uint64_t>(size_bytes, zeros_.size());
    all.push_back(zeros_.slice(0, part));
    size_bytes -= part;
  }
  return all;
}

void Reader::piece_read(ReadId id, std::size_t place, Result<std::vector<Buffer>> piece) {
  const auto found = reads_.find(id);
  if (found == reads_.end()) {
    return;  // interrupted meanwhile
  }
  Read& read = *found->second;
  if (!piece) {
    // Bad data says more than silence: it decides what happens next.
    if (!read.error || read.error->code == ErrorCode::kUnavailable) {
      read.error = std::move(piece).error();
    }
  } else if (place < read.pieces.size()) {
    read.pieces[place] = std::move(*piece);
  }
  if (--read.pieces_missing > 0) {
    return;
  }
  if (read.error) {
    snapshot_failed(id);
    return;
  }
  std::vector<Buffer> all;
  for (std::vector<Buffer>& buffers : read.pieces) {
    std::move(buffers.begin(), buffers.end(), std::back_inserter(all));
  }
  finish(id, std::move(all));
}

void Reader::snapshot_failed(ReadId id) {
  Read& read = *reads_.at(id);
  const bool is_first = read.failures++ == 0;
  const bool are_away = read.error->code == ErrorCode::kUnavailable;
  const bool may_wait = are_away && world_.scheduler.now() - read.started < wait_max_;
  // The file may have been changed since the snapshot, and what it had been deleted.
  const bool may_be_old =
      !are_away && std::exchange(read.bad_version, read.version) != read.version;
  if (!is_first && !may_wait && !may_be_old) {
    world_.log.error(
        "No replica of a block can be read. inode=" + std::to_string(read.request.inode.value) +
        " code=" + error_code_name(read.error->code) + " " + read.error->detail);
    finish(id, make_error(ErrorCode::kIo, read.error->detail));
    return;
  }
  // The extents or locations may be what is wrong.
  const auto again = lifetime_.guard([this, id] {
    const auto place = reads_.find(id);
    if (place != reads_.end()) {
      inodes_.drop_extents(place->second->request.inode);
      place->second->asked_since = world_.scheduler.now();
      step(id);
    }
  });
  if (is_first || may_be_old) {
    world_.scheduler.post(again);
  } else {
    world_.scheduler.run_after(kRetryDelay, again);
  }
}

// --- For people ----------------------------------------------------------------------------------

Obstacle Reader::obstacle(ReadId id) const {
  const auto place = reads_.find(id);
  if (place == reads_.end()) {
    return {.cause = WaitCause::kOthers};
  }
  const Read& read = *place->second;
  const InodeId inode = read.request.inode;
  if (must_wait(inode)) {
    return write_back_.obstacle(inode, {});
  }
  if (read.pieces_missing > 0) {
    const auto extents =
        inodes_.extents(inode, read.request.offset, read.request.offset + read.request.size_bytes);
    for (const Extent& extent : extents.value_or(std::vector<Extent>{})) {
      if (auto obstacle = blocks_.obstacle(part_of(extent))) {
        return std::move(*obstacle);
      }
    }
  }
  const auto question = refreshes_.lower_bound({inode, 0});
  if (question != refreshes_.end() && question->first.first == inode) {
    return {.asked = question->second.call};
  }
  if (read.failures > 0) {
    const Duration left = read.started + wait_max_ - world_.scheduler.now();
    return {.cause = WaitCause::kServers, .ends_in = std::max<Duration>(left, kRetryDelay)};
  }
  return {.cause = WaitCause::kServer};
}

// --- For rewriting -------------------------------------------------------------------------------

struct Reader::Collection {
  std::vector<DirtyRange> ranges;
  std::size_t missing = 0;
  std::optional<Error> error;
  Done<std::vector<DirtyRange>> done;

  void one_less() {
    if (--missing > 0) {
      return;
    }
    if (error) {
      done(std::move(*error));
    } else {
      done(std::move(ranges));
    }
  }
};

void Reader::read_committed(InodeId inode, std::uint64_t offset, std::uint64_t length_bytes,
                            Done<std::vector<DirtyRange>> done) {
  GetExtentsRequest request;
  request.inode = inode;
  request.offset = offset;
  request.length_bytes = length_bytes;
  auto collection = std::make_shared<Collection>();
  collection->done = std::move(done);
  const MonoTime sent_at = world_.scheduler.now();
  master_.call(request, [this, request, collection, sent_at](Result<GetExtentsReply> reply) {
    if (!reply) {
      collection->done(std::move(reply).error());
      return;
    }
    Status status = inodes_.learn_extents(*reply, window_begin_of(request.offset),
                                          master_.leases().told(sent_at, reply->lease));
    if (!status) {
      collection->done(std::move(status).error());
      return;
    }
    std::vector<Extent> extents;
    const std::uint64_t end = request.offset + request.length_bytes;
    for (const Extent& extent : reply->extents) {
      if (extent.end() > request.offset && extent.file_offset < end) {
        extents.push_back(clip(extent, request.offset, end));
      }
    }
    collect(collection, extents);
  });
}

void Reader::collect(const std::shared_ptr<Collection>& collection,
                     const std::vector<Extent>& extents) {
  collection->missing = extents.size() + 1;  // and this function itself
  for (const Extent& extent : extents) {
    collection->ranges.push_back({extent.file_offset, Buffer{}});
  }
  for (std::size_t i = 0; i < extents.size(); ++i) {
    blocks_.read(part_of(extents[i]), kBlockPayloadBytesMax,
                 [collection, i](Result<std::vector<Buffer>> bytes) {
                   if (bytes) {
                     collection->ranges[i].data = joined(*bytes);
                   } else {
                     collection->error = std::move(bytes).error();
                   }
                   collection->one_less();
                 });
  }
  collection->one_less();
}

// --- Prefetch ------------------------------------------------------------------------------------

void Reader::prefetch(InodeId inode, std::uint64_t begin, std::uint64_t end) {
  const Attributes* known = inodes_.attributes(inode);
  if (known == nullptr) {
    return;  // the read that comes with it asks
  }
  end = std::min(end, known->size_bytes);
  if (begin >= end) {
    return;
  }
  if (inodes_.known_until(inode, begin, end) == end) {
    prefetch_known(inode, begin, end);
    return;
  }
  refresh(inode, begin, end, [this, inode, begin, end](Status status) {
    if (status && inodes_.known_until(inode, begin, end) == end) {
      prefetch_known(inode, begin, end);
    }
  });
}

void Reader::prefetch_known(InodeId inode, std::uint64_t begin, std::uint64_t end) {
  const auto extents = inodes_.extents(inode, begin, end);
  for (const Extent& extent : extents.value_or(std::vector<Extent>{})) {
    blocks_.prefetch(part_of(extent), kBlockPayloadBytesMax);
  }
}

}  // namespace dfs::client
