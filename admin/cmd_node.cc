#include <nlohmann/json.hpp>

#include "admin/commands.h"
#include "admin/table.h"
#include "proto/admin_messages.h"

namespace dfs::admin {
namespace {

const char* state_name(std::uint8_t state) {
  switch (static_cast<NodeState>(state)) {
    case NodeState::kUp: return "up";
    case NodeState::kDown: return "down";
    case NodeState::kDraining: return "draining";
  }
  return "unknown";
}

nlohmann::json to_json(const NodeInfo& node) {
  nlohmann::json directories = nlohmann::json::array();
  for (const DirectoryInfo& directory : node.directories) {
    directories.push_back({{"path", escape(directory.path)},
                           {"total_bytes", directory.total_bytes},
                           {"available_bytes", directory.available_bytes},
                           {"failed", directory.failed},
                           {"failure", escape(directory.failure)}});
  }
  return {{"node", node.node.value},         {"uuid", escape(node.uuid)},
          {"address", escape(node.address)}, {"zone", escape(node.zone)},
          {"state", state_name(node.state)}, {"heard_ms_ago", node.heard_ms_ago},
          {"replicas", node.replicas},       {"reserved_bytes", node.reserved_bytes},
          {"directories", directories}};
}

bool is_well(const NodeInfo& node) {
  bool well = static_cast<NodeState>(node.state) != NodeState::kDown;
  for (const DirectoryInfo& directory : node.directories) {
    well = well && !directory.failed;
  }
  return well;
}

std::vector<std::string> row(const NodeInfo& node) {
  std::uint64_t total = 0;
  std::uint64_t available = 0;
  for (const DirectoryInfo& directory : node.directories) {
    total += directory.total_bytes;
    available += directory.available_bytes;
  }
  return {std::to_string(node.node.value),
          escape(node.address),
          node.zone.empty() ? "-" : escape(node.zone),
          state_name(node.state),
          std::to_string(node.heard_ms_ago / 1000) + " s ago",
          std::to_string(node.replicas),
          format_size(available),
          format_size(total)};
}

}  // namespace

Result<Output> node_list(ClusterCalls& calls, bool as_json) {
  DFS_TRY(const ListNodesReply reply, calls.master(ListNodesRequest{}));
  bool all_well = true;
  nlohmann::json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows = {
      {"node", "address", "zone", "state", "heard", "replicas", "free", "total"}};
  std::string failures;
  for (const NodeInfo& node : reply.nodes) {
    all_well = all_well && is_well(node);
    list.push_back(to_json(node));
    rows.push_back(row(node));
    for (const DirectoryInfo& directory : node.directories) {
      if (directory.failed) {
        failures += "node " + std::to_string(node.node.value) + ": " + escape(directory.path) +
                    " is out of use: " + escape(directory.failure) + "\n";
      }
    }
  }
  const int exit_code = all_well ? kExitOk : kExitProblems;
  if (as_json) {
    return Output{nlohmann::json{{"nodes", list}}.dump(2) + "\n", exit_code};
  }
  if (reply.nodes.empty()) {
    return Output{"no server has registered yet\n", exit_code};
  }
  return Output{format_table(rows) + failures, exit_code};
}

}  // namespace dfs::admin
