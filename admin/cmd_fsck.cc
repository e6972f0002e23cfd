// fsck: the metadata in itself, then chunk by chunk against every server's inventory.
//
// Master and servers list by chunk id, so one pass merges them with a page of each in memory. Files
// change while this runs: what looks wrong is asked for again before it is called a problem.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "admin/commands.h"
#include "admin/table.h"
#include "proto/admin_messages.h"

namespace dfs::admin {
namespace {

constexpr std::uint32_t kPage = 1024;
constexpr std::size_t kProblemsMax = 1000;  // more are counted, not listed
constexpr std::uint64_t kProgressChunks = 256;

struct Problem {
  std::string kind;
  InodeId inode;
  ChunkId chunk;
  NodeId node;
  std::string sentence;
};

// One server's inventory, read in order.
class Inventory {
 public:
  Inventory(ClusterCalls& calls, NodeInfo node) : calls_(calls), node_(std::move(node)) {}

  const NodeInfo& node() const { return node_; }

  // The replica of `chunk`; replicas passed over on the way go to `unknown`. Ascending calls only.
  Result<std::optional<ReplicaInfo>> find(ChunkId chunk, std::vector<ReplicaInfo>& unknown) {
    while (true) {
      DFS_CHECK_OK(fill());
      if (next_ == page_.size() || page_[next_].chunk > chunk) {
        return std::optional<ReplicaInfo>();
      }
      const ReplicaInfo replica = page_[next_++];
      if (replica.chunk == chunk) {
        return std::optional(replica);
      }
      unknown.push_back(replica);
    }
  }

 private:
  Status fill() {
    if (next_ < page_.size() || at_end_) {
      return ok();
    }
    DFS_TRY(
        ListReplicasReply reply,
        calls_.server(node_.address, ListReplicasRequest{.after = after_, .replicas_max = kPage}));
    page_ = std::move(reply.replicas);
    next_ = 0;
    at_end_ = reply.end;
    if (!page_.empty()) {
      after_ = page_.back().chunk;
    }
    return ok();
  }

  ClusterCalls& calls_;
  NodeInfo node_;
  std::vector<ReplicaInfo> page_;
  std::size_t next_ = 0;
  ChunkId after_;
  bool at_end_ = false;
};

class Fsck {
 public:
  Fsck(ClusterCalls& calls, bool checksums, const Progress& progress)
      : calls_(calls), checksums_(checksums), progress_(progress) {}

  Result<Output> run(bool as_json) {
    DFS_CHECK_OK(check_metadata());
    DFS_CHECK_OK(open_inventories());
    DFS_CHECK_OK(check_chunks());
    return Output{as_json ? json() : text(), problem_count_ == 0 ? kExitOk : kExitProblems};
  }

 private:
  void add(Problem problem) {
    ++problem_count_;
    if (problems_.size() < kProblemsMax) {
      problems_.push_back(std::move(problem));
    }
  }

  Status check_metadata() {
    CheckMetadataRequest request;
    do {
      DFS_TRY(CheckMetadataReply reply, calls_.master(request));
      rows_ += reply.rows_checked;
      for (const MetadataProblem& found : reply.problems) {
        add({"metadata", found.inode, found.chunk, {}, found.problem});
      }
      request.cursor = reply.cursor;
      progress_("metadata: " + std::to_string(rows_) + " rows checked");
    } while (!request.cursor.empty());
    return ok();
  }

  Status open_inventories() {
    DFS_TRY(ListNodesReply reply, calls_.master(ListNodesRequest{}));
    for (NodeInfo& node : reply.nodes) {
      if (static_cast<NodeState>(node.state) == NodeState::kDown) {
        add({"server",
             {},
             {},
             node.node,
             "server " + node.address + " is down: its replicas were not checked"});
      } else {
        const NodeId id = node.node;
        inventories_.emplace(id, Inventory(calls_, std::move(node)));
      }
    }
    return ok();
  }

  Status check_chunks() {
    ListChunksRequest request{.after = {}, .chunks_max = kPage};
    bool end = false;
    while (!end) {
      DFS_TRY(const ListChunksReply page, calls_.master(request));
      for (const ChunkDescription& chunk : page.chunks) {
        DFS_CHECK_OK(check_chunk(chunk));
        request.after = chunk.chunk;
      }
      end = page.end || page.chunks.empty();
    }
    return check_tails();
  }

  Status check_chunk(const ChunkDescription& chunk) {
    if (++chunks_ % kProgressChunks == 0) {
      progress_("chunks: " + std::to_string(chunks_) + " checked");
    }
    std::map<NodeId, std::optional<ReplicaInfo>> found;
    for (auto& [node, inventory] : inventories_) {
      std::vector<ReplicaInfo> unknown;
      DFS_TRY(found[node], inventory.find(chunk.chunk, unknown));
      DFS_CHECK_OK(check_unknown(inventory.node(), unknown));
    }
    if (is_as_described(chunk, found)) {
      return check_contents(chunk);
    }
    // The cluster went on between the two lists: look again at both sides.
    DFS_TRY(const DescribeChunksReply again,
            calls_.master(DescribeChunksRequest{.chunks = {chunk.chunk}, .written = {}}));
    if (again.chunks.empty()) {
      return ok();  // deleted meanwhile
    }
    for (const ReplicaDescription& replica : again.chunks[0].replicas) {
      const auto inventory = inventories_.find(replica.node);
      if (inventory != inventories_.end()) {
        DFS_TRY(found[replica.node], ask_for(inventory->second.node(), chunk.chunk));
      }
    }
    report_chunk(again.chunks[0], found);
    return check_contents(again.chunks[0]);
  }

  Result<std::optional<ReplicaInfo>> ask_for(const NodeInfo& node, ChunkId chunk) {
    DFS_TRY(const ListReplicasReply reply,
            calls_.server(node.address, ListReplicasRequest{.after = ChunkId{chunk.value - 1},
                                                            .replicas_max = 1}));
    if (reply.replicas.empty() || reply.replicas[0].chunk != chunk) {
      return std::optional<ReplicaInfo>();
    }
    return std::optional(reply.replicas[0]);
  }

  // What is wrong with one replica, or "".
  static std::string fault_of(const ChunkDescription& chunk, const ReplicaDescription& expected,
                              const std::optional<ReplicaInfo>& found) {
    if (static_cast<ReplicaState>(expected.state) == ReplicaState::kMissing || !found) {
      // An open chunk that holds nothing yet has no file anywhere.
      return !found && chunk.length_bytes == 0 && !chunk.sealed ? "" : "is missing";
    }
    if (static_cast<ReplicaState>(expected.state) == ReplicaState::kDamaged || found->damaged) {
      return "is damaged: a checksum failed or it is cut short";
    }
    if (found->length_bytes < chunk.length_bytes) {
      return "has " + std::to_string(found->length_bytes) + " of " +
             std::to_string(chunk.length_bytes) + " bytes";
    }
    if (chunk.sealed && found->sealed && found->length_bytes != chunk.length_bytes) {
      return "is sealed at " + std::to_string(found->length_bytes) + " bytes, not " +
             std::to_string(chunk.length_bytes);
    }
    return "";
  }

  bool is_as_described(const ChunkDescription& chunk,
                       const std::map<NodeId, std::optional<ReplicaInfo>>& found) const {
    return chunk.replicas.size() >= chunk.policy.replicas &&
           std::all_of(chunk.replicas.begin(), chunk.replicas.end(),
                       [&](const ReplicaDescription& replica) {
                         const auto at = found.find(replica.node);
                         return at == found.end() || fault_of(chunk, replica, at->second).empty();
                       });
  }

  void report_chunk(const ChunkDescription& chunk,
                    const std::map<NodeId, std::optional<ReplicaInfo>>& found) {
    std::size_t good = 0;
    for (const ReplicaDescription& replica : chunk.replicas) {
      const auto at = found.find(replica.node);
      const std::string fault = at == found.end() ? "" : fault_of(chunk, replica, at->second);
      if (!fault.empty()) {
        add({"replica",
             {},
             chunk.chunk,
             replica.node,
             "replica of chunk " + std::to_string(chunk.chunk.value) + " on " + replica.address +
                 " " + fault});
      } else if (static_cast<ReplicaState>(replica.state) == ReplicaState::kGood) {
        ++good;
      }
    }
    if (good < chunk.policy.replicas) {
      add({"degraded",
           {},
           chunk.chunk,
           {},
           "chunk " + std::to_string(chunk.chunk.value) + " has " + std::to_string(good) +
               " good replicas, its policy wants " + std::to_string(chunk.policy.replicas)});
    }
  }

  // Replicas of chunks the master does not know. Being deleted is no problem, so ask the server
  // again.
  Status check_unknown(const NodeInfo& node, const std::vector<ReplicaInfo>& unknown) {
    for (const ReplicaInfo& replica : unknown) {
      DFS_TRY(const DescribeChunksReply known,
              calls_.master(DescribeChunksRequest{.chunks = {replica.chunk}, .written = {}}));
      DFS_TRY(const auto still_there, ask_for(node, replica.chunk));
      unknown_ += known.chunks.empty() && still_there ? 1 : 0;
    }
    return ok();
  }

  Status check_tails() {
    for (auto& [node, inventory] : inventories_) {
      std::vector<ReplicaInfo> unknown;
      DFS_CHECK_OK(inventory.find(ChunkId{UINT64_MAX}, unknown));
      // Chunks opened since the master's list was read are among these.
      DFS_CHECK_OK(check_unknown(inventory.node(), unknown));
    }
    return ok();
  }

  Status check_contents(const ChunkDescription& chunk) {
    for (const ReplicaDescription& replica : chunk.replicas) {
      const auto inventory = inventories_.find(replica.node);
      if (!checksums_ || inventory == inventories_.end()) {
        continue;
      }
      const auto reply = calls_.server(inventory->second.node().address,
                                       VerifyReplicaRequest{.chunk = chunk.chunk});
      if (!reply && reply.code() == ErrorCode::kNoSuchChunk) {
        continue;  // said above if it should be there, else deleted meanwhile
      }
      if (!reply) {
        add({"replica",
             {},
             chunk.chunk,
             replica.node,
             "replica of chunk " + std::to_string(chunk.chunk.value) + " on " + replica.address +
                 " could not be read: " + reply.error().detail});
        continue;
      }
      blocks_ += reply->blocks_checked;
      for (const std::uint32_t offset : reply->bad_block_offsets) {
        add({"checksum",
             {},
             chunk.chunk,
             replica.node,
             "replica of chunk " + std::to_string(chunk.chunk.value) + " on " + replica.address +
                 ": checksum of " +
                 (offset == 0 ? "the chunk header" : "the block at " + std::to_string(offset)) +
                 " is wrong"});
      }
    }
    return ok();
  }

  std::string text() const {
    std::string out;
    for (const Problem& problem : problems_) {
      out += (problem.inode.is_set() ? "inode " + std::to_string(problem.inode.value) + ": " : "") +
             escape(problem.sentence) + "\n";
    }
    if (problem_count_ > problems_.size()) {
      out += "… and " + std::to_string(problem_count_ - problems_.size()) + " more\n";
    }
    out += std::to_string(rows_) + " rows of metadata and " + std::to_string(chunks_) +
           " chunks on " + std::to_string(inventories_.size()) + " servers checked";
    if (checksums_) {
      out += ", checksums of " + std::to_string(blocks_) + " blocks";
    }
    out += unknown_ > 0 ? "; " + std::to_string(unknown_) + " replicas wait to be deleted\n" : "\n";
    return out + (problem_count_ == 0 ? "no problems found\n"
                                      : std::to_string(problem_count_) + " problems found\n");
  }

  std::string json() const {
    nlohmann::json list = nlohmann::json::array();
    for (const Problem& problem : problems_) {
      list.push_back({{"kind", problem.kind},
                      {"inode", problem.inode.value},
                      {"chunk", problem.chunk.value},
                      {"node", problem.node.value},
                      {"problem", escape(problem.sentence)}});
    }
    return nlohmann::json{{"problems", list},
                          {"problem_count", problem_count_},
                          {"rows_checked", rows_},
                          {"chunks_checked", chunks_},
                          {"servers_checked", inventories_.size()},
                          {"blocks_checked", blocks_},
                          {"replicas_unknown", unknown_}}
               .dump(2) +
           "\n";
  }

  ClusterCalls& calls_;
  const bool checksums_;
  const Progress& progress_;
  std::map<NodeId, Inventory> inventories_;
  std::vector<Problem> problems_;
  std::size_t problem_count_ = 0;
  std::uint64_t rows_ = 0;
  std::uint64_t chunks_ = 0;
  std::uint64_t blocks_ = 0;
  std::uint64_t unknown_ = 0;
};

}  // namespace

Result<Output> fsck(ClusterCalls& calls, bool checksums, bool as_json, const Progress& progress) {
  return Fsck(calls, checksums, progress).run(as_json);
}

}  // namespace dfs::admin
