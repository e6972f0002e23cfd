// Chunks that are not sealed, and the room they have reserved on their servers. Made anew from the
// rows by ChunkManager::load(). Bounded by sessions times open chunks of a session.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "common/ids.h"

namespace dfs::master {

struct OpenChunk {
  ChunkId chunk;
  SessionId owner;
  std::uint32_t capacity_bytes = 0;
  std::uint32_t length_bytes = 0;  // committed
  std::vector<NodeId> nodes;

  std::uint32_t unused_bytes() const {
    return capacity_bytes > length_bytes ? capacity_bytes - length_bytes : 0;
  }
};

class OpenChunks {
 public:
  void clear();
  // Precondition: not there yet.
  void add(OpenChunk chunk);
  // To at least `length_bytes`; returns the chunk, or null if it is not there.
  const OpenChunk* grow(ChunkId chunk, std::uint32_t length_bytes);
  void remove(ChunkId chunk);  // no effect if not there

  const OpenChunk* find(ChunkId chunk) const;  // null: none
  std::vector<ChunkId> of_session(SessionId session) const;
  std::size_t count_of(SessionId session) const;

  // Reserved on this server and not committed yet.
  std::uint64_t unused_bytes_on(NodeId node) const;
  std::uint32_t count_on(NodeId node) const;
  std::size_t size() const { return chunks_.size(); }

 private:
  struct Use {
    std::uint64_t unused_bytes = 0;
    std::uint32_t chunks = 0;
  };

  std::map<ChunkId, OpenChunk> chunks_;
  std::map<SessionId, std::set<ChunkId>> by_session_;
  std::map<NodeId, Use> by_node_;
};

}  // namespace dfs::master
