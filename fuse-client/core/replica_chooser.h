// Which replica to read from: one on a server that answered lately, by chance among equals.
//
// A server that did not answer is suspect for a while, longer each time it fails in a row, so that
// only one read in a while waits for a dead server.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "common/random.h"
#include "common/scheduler.h"
#include "proto/namespace_messages.h"

namespace dfs::client {

inline constexpr std::chrono::seconds kSuspectTime{5};
inline constexpr std::uint32_t kSuspectDoublingsMax = 3;

class ReplicaChooser {
 public:
  ReplicaChooser(Scheduler& scheduler, Random& random) : scheduler_(scheduler), random_(random) {}

  // Index into where.nodes; nothing when all of them are in `tried`. The node `preferred` is taken
  // when it is as good as the others.
  std::optional<std::size_t> choose(const ChunkLocation& where, const std::set<NodeId>& tried,
                                    NodeId preferred);
  void failed(NodeId node);
  void answered(NodeId node) { suspects_.erase(node); }
  bool is_suspect(NodeId node) const;

 private:
  struct Suspect {
    MonoTime until{};
    std::uint32_t failures = 0;
  };
  Scheduler& scheduler_;
  Random& random_;
  std::map<NodeId, Suspect> suspects_;
};

}  // namespace dfs::client
