// Connections to chunkservers, one for each address, made when first used, kept in LRU order up to
// kChunkLinksMax (one with calls pending is never dropped).
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "common/world.h"
#include "proto/chunk_messages.h"
#include "proto/rpc_client.h"

namespace dfs::client {

inline constexpr std::size_t kChunkLinksMax = 256;

class ChunkLinks {
 public:
  explicit ChunkLinks(World world) : world_(world) {}
  ChunkLinks(const ChunkLinks&) = delete;
  ChunkLinks& operator=(const ChunkLinks&) = delete;

  // The connection to a server; silent for kLivenessTimeout it fails its calls with kUnavailable.
  // The reference is good until the next call of this function.
  RpcClient& to(const Address& address);

 private:
  struct Link {
    std::unique_ptr<RpcClient> rpc;
    std::uint64_t last_used = 0;
  };
  void drop_oldest_idle();

  World world_;
  std::map<Address, Link> links_;
  std::uint64_t use_count_ = 0;
};

}  // namespace dfs::client
