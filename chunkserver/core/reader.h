// Reader: answers reads with whole cells, each checked against its checksum before it is sent.
//
// A range takes one disk read when its block's prefix is known from an earlier read or lies close
// before the cells, else two at once; small neighbouring ranges share one. What is found damaged is
// answered with kCorrupt and reported through the hooks. Bounded by Bounds. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/lru_map.h"
#include "chunkserver/core/options.h"
#include "chunkserver/core/replica_store.h"
#include "common/buffer.h"
#include "common/disk.h"
#include "common/result.h"
#include "proto/chunk_messages.h"

namespace dfs::chunkserver {

class Reader {
 public:
  struct Answer {
    ReadReply reply;
    Buffer bulk;
  };
  using Done = std::function<void(Result<Answer>)>;

  struct Hooks {
    // Cells of a known block are not what their checksums say.
    std::function<void(const ReplicaPtr&, const std::string& what)> on_damaged;
    // No sound block begins where one was expected: the replica's fault or the asker's.
    std::function<void(const ReplicaPtr&)> on_suspect;
    // The file could not be opened or read.
    std::function<void(const ReplicaPtr&, const Error&)> on_read_error;
  };

  Reader(ReplicaStore& store, const Bounds& bounds, Hooks hooks);

  // Fails with kNoSuchChunk, kTooLarge, kInvalidArgument (no ranges), kBusy; what concerns a single
  // range is in its result.
  void read(const ReadRequest& request, Done done);

  std::size_t in_progress_count() const { return in_progress_count_; }

 private:
  struct Span;
  struct Range;
  struct Job;
  using JobPtr = std::shared_ptr<Job>;
  using Checksums = std::shared_ptr<const std::vector<std::uint32_t>>;

  static Status check_request(const ReadRequest& request);
  void plan(Job& job, const ReadRange& asked);
  static void add_neighbours(Job& job, std::uint32_t until);
  ErrorCode check_range(const Replica& replica, const ReadRange& asked) const;
  void start(const JobPtr& job);
  void read_span(const JobPtr& job, std::size_t span, const std::shared_ptr<DiskFile>& file);
  static bool drop_neighbours(Job& job, std::size_t span);
  void on_span_read(const JobPtr& job, std::size_t span, Result<Buffer> bytes);
  void finish(const JobPtr& job);
  ErrorCode check(const Job& job, Range& range);
  ErrorCode check_prefix(const Job& job, Range& range);

  ReplicaStore& store_;
  const Bounds bounds_;
  Hooks hooks_;
  LruMap<std::pair<ChunkId, std::uint32_t>, Checksums> prefixes_;  // checked ones, by block
  std::uint64_t bytes_in_progress_ = 0;
  std::size_t in_progress_count_ = 0;
  Alive alive_;
};

}  // namespace dfs::chunkserver
