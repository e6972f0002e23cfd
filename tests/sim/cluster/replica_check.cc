#include "tests/sim/cluster/replica_check.h"

#include <algorithm>

#include "proto/block.h"

namespace dfs::sim {
namespace {

constexpr std::uint32_t kChunksPerPage = 100;
// For the servers to have told the master what was found.
constexpr std::chrono::seconds kReportWait{15};

}  // namespace

ReplicaCheck::ReplicaCheck(SimEnvironment& environment, std::vector<ChunkserverProcess*> servers,
                           const ChunkserverProcess* victim)
    : environment_(environment),
      servers_(std::move(servers)),
      victim_(victim),
      master_(environment) {}

ReplicaCheck::~ReplicaCheck() = default;

std::string ReplicaCheck::run() {
  std::vector<Chunk> chunks;
  for (ChunkDescription& described : list_chunks()) {
    if (described.sealed && described.length_bytes > kChunkHeaderBytes) {
      chunks.push_back({std::move(described), {}});
      verify(chunks.back());
    }
  }
  environment_.events.run_for(kReportWait);
  std::map<ChunkId, ChunkDescription> after;
  for (ChunkDescription& described : list_chunks()) {
    after.emplace(described.chunk, std::move(described));
  }
  for (const Chunk& chunk : chunks) {
    if (const auto now = after.find(chunk.described.chunk); now != after.end()) {
      compare_bytes(chunk);
      compare_states(chunk, now->second);
    }
  }
  return problems_;
}

std::vector<ChunkDescription> ReplicaCheck::list_chunks() {
  std::vector<ChunkDescription> chunks;
  ListChunksRequest request;
  request.chunks_max = kChunksPerPage;
  for (;;) {
    const auto page = master_.ask(request);
    if (!page) {
      problems_ += "the chunks are not listed; ";
      return chunks;
    }
    chunks.insert(chunks.end(), page->chunks.begin(), page->chunks.end());
    if (page->end || page->chunks.empty()) {
      return chunks;
    }
    request.after = page->chunks.back().chunk;
  }
}

void ReplicaCheck::verify(Chunk& chunk) {
  for (const ReplicaDescription& replica : chunk.described.replicas) {
    const bool sound = is_sound(chunk.described, replica.address);
    chunk.is_sound.push_back(sound);
    if (!sound && server_at(replica.address) != victim_) {
      problem(chunk.described.chunk, "is damaged on " + replica.address + ", whose disk is well");
    }
  }
}

bool ReplicaCheck::is_sound(const ChunkDescription& chunk, const std::string& address) {
  auto& probe = probes_[address];
  if (!probe) {
    probe = std::make_unique<AdminProbe>(environment_, address);
  }
  const auto verified = probe->ask(VerifyReplicaRequest{chunk.chunk});
  return verified && verified->bad_block_offsets.empty() && !verified->replica.damaged &&
         verified->replica.length_bytes >= chunk.length_bytes;
}

void ReplicaCheck::compare_bytes(const Chunk& chunk) {
  const std::uint32_t length = chunk.described.length_bytes;
  std::optional<std::string> first;
  for (std::size_t i = 0; i < chunk.is_sound.size(); ++i) {
    if (!chunk.is_sound[i]) {
      continue;
    }
    const ChunkserverProcess* server = server_at(chunk.described.replicas[i].address);
    const std::string bytes = server->chunk_bytes(chunk.described.chunk).substr(0, length);
    if (bytes.size() != length || bytes != first.value_or(bytes)) {
      problem(chunk.described.chunk, "has other bytes on " + server->host());
    }
    first = bytes;
  }
  if (!first) {
    problem(chunk.described.chunk, "has no sound replica");
  }
}

void ReplicaCheck::compare_states(const Chunk& before, const ChunkDescription& now) {
  for (std::size_t i = 0; i < before.is_sound.size(); ++i) {
    const ReplicaDescription& verified = before.described.replicas[i];
    const auto replica =
        std::find_if(now.replicas.begin(), now.replicas.end(),
                     [&](const ReplicaDescription& each) { return each.node == verified.node; });
    const bool is_good = replica != now.replicas.end() &&
                         replica->state == static_cast<std::uint8_t>(ReplicaState::kGood);
    // One that could not be read once stays damaged for the master, though it be sound.
    const bool may_be_sound = server_at(verified.address) == victim_;
    if (is_good != before.is_sound[i] && (is_good || !may_be_sound)) {
      problem(now.chunk, std::string("is ") + (is_good ? "damaged" : "sound") + " on " +
                             verified.address + ", and the master does not know");
    }
  }
}

ChunkserverProcess* ReplicaCheck::server_at(const std::string& address) const {
  const auto found = std::find_if(
      servers_.begin(), servers_.end(),
      [&](const ChunkserverProcess* server) { return address.starts_with(server->host() + ":"); });
  return found == servers_.end() ? nullptr : *found;
}

void ReplicaCheck::problem(ChunkId chunk, const std::string& what) {
  problems_ += "chunk " + std::to_string(chunk.value) + " " + what + "; ";
}

}  // namespace dfs::sim
