// At the end of a run, with all servers up: are the replicas what the master thinks they are?
//
// Every replica of a sealed chunk is verified by its server. Those found sound must have the same
// bytes, one of them at least must be there, and the master must know which are not sound. Only the
// server whose disks were spoilt may have any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/cluster/admin_probe.h"

namespace dfs::sim {

class ReplicaCheck {
 public:
  // `victim`: null when no disk was spoilt.
  ReplicaCheck(SimEnvironment& environment, std::vector<ChunkserverProcess*> servers,
               const ChunkserverProcess* victim);
  ~ReplicaCheck();

  // What is wrong, a sentence for each; empty when all is well.
  std::string run();

 private:
  struct Chunk {
    ChunkDescription described;
    std::vector<bool> is_sound;  // of each replica
  };

  std::vector<ChunkDescription> list_chunks();
  void verify(Chunk& chunk);
  bool is_sound(const ChunkDescription& chunk, const std::string& address);
  void compare_bytes(const Chunk& chunk);
  void compare_states(const Chunk& before, const ChunkDescription& now);
  ChunkserverProcess* server_at(const std::string& address) const;
  void problem(ChunkId chunk, const std::string& what);

  SimEnvironment& environment_;
  std::vector<ChunkserverProcess*> servers_;
  const ChunkserverProcess* victim_;
  AdminProbe master_;
  std::map<std::string, std::unique_ptr<AdminProbe>> probes_;  // by address
  std::string problems_;
};

}  // namespace dfs::sim
