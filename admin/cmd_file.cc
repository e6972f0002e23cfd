#include <map>
#include <nlohmann/json.hpp>

#include "admin/commands.h"
#include "admin/table.h"
#include "proto/admin_messages.h"
#include "proto/data_messages.h"

namespace dfs::admin {
namespace {

constexpr std::size_t kDescribeMax = 1024;

const char* state_name(const ReplicaDescription& replica) {
  switch (static_cast<ReplicaState>(replica.state)) {
    case ReplicaState::kGood: return replica.node_up ? "good" : "good, server down";
    case ReplicaState::kDamaged: return "damaged";
    case ReplicaState::kMissing: return "missing";
  }
  return "unknown";
}

Result<std::vector<Extent>> all_extents(ClusterCalls& calls, const Attributes& attributes) {
  std::vector<Extent> extents;
  std::uint64_t offset = 0;
  while (attributes.is_regular() && offset < attributes.size_bytes) {
    DFS_TRY(const GetExtentsReply page,
            calls.master(GetExtentsRequest{.inode = attributes.inode,
                                           .offset = offset,
                                           .length_bytes = attributes.size_bytes - offset}));
    extents.insert(extents.end(), page.extents.begin(), page.extents.end());
    if (page.covered_end <= offset) {
      return make_error(ErrorCode::kInternal, "the master's list of extents does not go on");
    }
    offset = page.covered_end;
  }
  return extents;
}

using Chunks = std::map<ChunkId, ChunkDescription>;

// `writer` becomes the client that has the write lease of the inode.
Result<Chunks> describe(ClusterCalls& calls, InodeId inode, const std::vector<Extent>& extents,
                        std::string& writer) {
  Chunks chunks;
  for (const Extent& extent : extents) {
    chunks[extent.chunk];
  }
  DescribeChunksRequest request;
  request.written = inode;
  const auto fetch = [&]() -> Status {
    DFS_TRY(const DescribeChunksReply reply, calls.master(request));
    for (const ChunkDescription& chunk : reply.chunks) {
      chunks[chunk.chunk] = chunk;
    }
    request.chunks.clear();
    writer = reply.writer;
    return ok();
  };
  for (const auto& [id, description] : chunks) {
    request.chunks.push_back(id);
    if (request.chunks.size() == kDescribeMax) {
      DFS_CHECK_OK(fetch());
    }
  }
  DFS_CHECK_OK(fetch());
  return chunks;
}

nlohmann::json to_json(const Attributes& attributes, const std::string& writer,
                       const std::vector<Extent>& extents, const Chunks& chunks) {
  nlohmann::json extent_list = nlohmann::json::array();
  for (const Extent& extent : extents) {
    extent_list.push_back({{"file_offset", extent.file_offset},
                           {"length_bytes", extent.length_bytes},
                           {"chunk", extent.chunk.value},
                           {"block_offset", extent.block_offset},
                           {"payload_offset", extent.payload_offset}});
  }
  nlohmann::json chunk_list = nlohmann::json::array();
  for (const auto& [id, chunk] : chunks) {
    nlohmann::json replicas = nlohmann::json::array();
    for (const ReplicaDescription& replica : chunk.replicas) {
      replicas.push_back({{"node", replica.node.value},
                          {"address", escape(replica.address)},
                          {"state", state_name(replica)}});
    }
    chunk_list.push_back({{"chunk", id.value},
                          {"sealed", chunk.sealed},
                          {"length_bytes", chunk.length_bytes},
                          {"replicas_wanted", chunk.policy.replicas},
                          {"replicas", replicas}});
  }
  return {{"inode", attributes.inode.value},
          {"size_bytes", attributes.size_bytes},
          {"stored_bytes", attributes.used_bytes},
          {"writer", escape(writer)},
          {"replicas", attributes.policy.replicas},
          {"min_replicas", attributes.policy.min_replicas},
          {"extents", extent_list},
          {"chunks", chunk_list}};
}

std::string to_text(const Attributes& attributes, const std::string& writer,
                    const std::vector<Extent>& extents, const Chunks& chunks) {
  std::string text = "inode " + std::to_string(attributes.inode.value) + ", " +
                     std::to_string(attributes.size_bytes) + " bytes (" +
                     format_size(attributes.used_bytes) + " stored), policy " +
                     std::to_string(attributes.policy.replicas) + " replicas, at least " +
                     std::to_string(attributes.policy.min_replicas) + "\n";
  if (!writer.empty()) {
    text += "being written by " + escape(writer) +
            ", which may buffer more than is counted and listed here\n";
  }
  if (extents.empty()) {
    return text + "no data stored\n";
  }
  std::vector<std::vector<std::string>> rows = {{"offset", "length", "chunk", "block at"}};
  for (const Extent& extent : extents) {
    rows.push_back({std::to_string(extent.file_offset), std::to_string(extent.length_bytes),
                    std::to_string(extent.chunk.value), std::to_string(extent.block_offset)});
  }
  text += "\n" + format_table(rows);
  rows = {{"chunk", "state", "length", "replica on", "address", "replica"}};
  for (const auto& [id, chunk] : chunks) {
    for (const ReplicaDescription& replica : chunk.replicas) {
      rows.push_back({std::to_string(id.value), chunk.sealed ? "sealed" : "open",
                      std::to_string(chunk.length_bytes),
                      "node " + std::to_string(replica.node.value), escape(replica.address),
                      state_name(replica)});
    }
  }
  return text + "\n" + format_table(rows);
}

}  // namespace

Result<Output> file_info(ClusterCalls& calls, const std::string& path, bool as_json) {
  DFS_TRY(const Attributes attributes, resolve_path(calls, path));
  DFS_TRY(const std::vector<Extent> extents, all_extents(calls, attributes));
  std::string writer;
  DFS_TRY(const Chunks chunks, describe(calls, attributes.inode, extents, writer));
  return Output{as_json ? to_json(attributes, writer, extents, chunks).dump(2) + "\n"
                        : to_text(attributes, writer, extents, chunks)};
}

Result<Output> policy_get(ClusterCalls& calls, const std::string& path, bool as_json) {
  DFS_TRY(const Attributes attributes, resolve_path(calls, path));
  const StoragePolicy& policy = attributes.policy;
  if (as_json) {
    return Output{nlohmann::json{{"path", escape(path)},
                                 {"replicas", policy.replicas},
                                 {"min_replicas", policy.min_replicas}}
                      .dump(2) +
                  "\n"};
  }
  return Output{escape(path) + ": " + std::to_string(policy.replicas) + " replicas, at least " +
                std::to_string(policy.min_replicas) + " to write\n"};
}

Result<Output> policy_set(ClusterCalls& calls, const std::string& path,
                          const StoragePolicy& policy) {
  DFS_TRY(const Attributes attributes, resolve_path(calls, path));
  DFS_CHECK_OK(calls.master(SetPolicyRequest{.inode = attributes.inode, .policy = policy}));
  std::string text = escape(path) + ": " + std::to_string(policy.replicas) +
                     " replicas, at least " + std::to_string(policy.min_replicas) +
                     " to write, from now on";
  text += attributes.is_directory() ? ", for what is newly made in it\n" : ", for new data\n";
  return Output{text};
}

}  // namespace dfs::admin
