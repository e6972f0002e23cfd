// Verifier: reads whole replicas and checks every block.
//
// A few at a time, piece by piece; further ones wait for their turn. One that is asked for again
// while it runs or waits is done once. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/options.h"
#include "chunkserver/core/replica_store.h"
#include "common/result.h"
#include "proto/chunk_messages.h"

namespace dfs::chunkserver {

class Verifier {
 public:
  using Done = std::function<void(Result<VerifyReplicaReply>)>;
  struct Hooks {
    std::function<void(const ReplicaPtr&, const std::string& what)> on_damaged;
    std::function<void(const ReplicaPtr&, const Error&)> on_read_error;
  };

  Verifier(ReplicaStore& store, const Bounds& bounds, Hooks hooks);

  // Checks what is valid of the replica when its turn comes. `done` may be null. Fails with
  // kNoSuchChunk, kBusy (too many are waiting), or as the disk.
  void verify(ChunkId chunk, Done done);

  std::size_t in_progress_count() const { return running_.size(); }

 private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;

  static bool join(const JobPtr& job, Done& done);
  void start_next();
  void step(const JobPtr& job);
  void on_read(const JobPtr& job, const Result<Buffer>& bytes);
  bool check_piece(Job& job, std::span<const std::byte> bytes, bool is_last);
  void finish(const JobPtr& job, const Status& status);

  ReplicaStore& store_;
  const std::size_t waiting_max_;
  Hooks hooks_;
  std::deque<JobPtr> waiting_;
  std::map<ChunkId, JobPtr> running_;
  Alive alive_;
};

}  // namespace dfs::chunkserver
