#include <algorithm>
#include <nlohmann/json.hpp>

#include "admin/commands.h"
#include "admin/table.h"
#include "proto/admin_messages.h"

namespace dfs::admin {
namespace {

struct Verdict {
  std::string word;  // for programs
  std::string line;  // for people
  bool is_healthy = false;
};

std::string count(std::uint64_t number, const std::string& noun) {
  return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string listed(const std::vector<std::string>& addresses) {
  constexpr std::size_t kNamedMax = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(addresses.size(), kNamedMax); ++i) {
    text += (i == 0 ? "" : ", ") + escape(addresses[i]);
  }
  if (addresses.size() > kNamedMax) {
    text += " and " + std::to_string(addresses.size() - kNamedMax) + " more";
  }
  return text;
}

// Servers that are not there, or that can take nothing, and which.
std::string lacking(const ClusterStatusReply& status, const std::vector<std::string>& down) {
  std::string text;
  if (status.nodes_down > 0) {
    text += "; " + count(status.nodes_down, "server") + " down";
    text += down.empty() ? "" : ": " + listed(down);
  }
  if (!status.nodes_full.empty()) {
    text += "; full: " + listed(status.nodes_full);
  }
  return text;
}

// They are asked for only when there are some.
Result<std::vector<std::string>> servers_down(ClusterCalls& calls,
                                              const ClusterStatusReply& status) {
  std::vector<std::string> down;
  if (status.nodes_down == 0) {
    return down;
  }
  DFS_TRY(const ListNodesReply reply, calls.master(ListNodesRequest{}));
  for (const NodeInfo& node : reply.nodes) {
    if (static_cast<NodeState>(node.state) == NodeState::kDown) {
      down.push_back(node.address);
    }
  }
  return down;
}

// The worst first: what cannot be read, then what is at risk, then what is merely missing.
Verdict judge(const ClusterStatusReply& status, const std::vector<std::string>& down) {
  const std::string lacks = lacking(status, down);
  const std::uint64_t roomy =
      status.nodes_up - std::min<std::uint64_t>(status.nodes_up, status.nodes_full.size());
  if (status.chunks_unavailable > 0) {
    return {"unavailable",
            "UNAVAILABLE: " + count(status.chunks_unavailable, "chunk") +
                " without a good replica on a live server: reads of their files wait or fail" +
                lacks};
  }
  if (status.nodes_up == 0) {
    return {"no_servers", "NO SERVERS: nothing can be written; start a dfs-chunkserver" + lacks};
  }
  if (status.chunks_damaged > 0) {
    return {"damaged", "DAMAGED: " + count(status.chunks_damaged, "chunk") +
                           " with a bad replica; good ones are read. dfs-admin fsck lists them" +
                           lacks};
  }
  if (status.chunks_degraded > 0) {
    return {"degraded", "DEGRADED: " + count(status.chunks_degraded, "chunk") +
                            " below their number of replicas" + lacks};
  }
  if (status.nodes_down > 0) {
    return {"server_down", "SERVER DOWN: every chunk has its replicas" + lacks};
  }
  if (roomy < status.root_policy.replicas) {
    return {"too_few_servers", "TOO FEW SERVERS: the policy of / wants " +
                                   count(status.root_policy.replicas, "replica") + ", " +
                                   count(roomy, "server") + " can hold one each" + lacks};
  }
  return {"healthy", "HEALTHY: every chunk has its replicas" + lacks, true};
}

nlohmann::json to_json(const std::vector<std::string>& addresses) {
  nlohmann::json list = nlohmann::json::array();
  for (const std::string& address : addresses) {
    list.push_back(escape(address));
  }
  return list;
}

nlohmann::json to_json(const ClusterStatusReply& status, const std::vector<std::string>& down,
                       const Verdict& verdict) {
  return {{"verdict", verdict.word},
          {"verdict_line", verdict.line},
          {"cluster_id", escape(status.cluster_id)},
          {"version", escape(status.version)},
          {"uptime_s", status.uptime_s},
          {"nodes_up", status.nodes_up},
          {"nodes_down", status.nodes_down},
          {"servers_down", to_json(down)},
          {"nodes_full", to_json(status.nodes_full)},
          {"sessions", status.sessions},
          {"leases", status.leases},
          {"write_leases", status.write_leases},
          {"leases_max", status.leases_max},
          {"recalls", status.recalls},
          {"oldest_recall_ms", status.oldest_recall_ms},
          {"leases_over_limit", status.leases_over_limit},
          {"inodes", status.inodes},
          {"orphans", status.orphans},
          {"chunks", status.chunks},
          {"chunks_open", status.chunks_open},
          {"chunks_degraded", status.chunks_degraded},
          {"chunks_unavailable", status.chunks_unavailable},
          {"chunks_damaged", status.chunks_damaged},
          {"total_bytes", status.total_bytes},
          {"available_bytes", status.available_bytes},
          {"live_bytes", status.live_bytes},
          {"database_bytes", status.database_bytes},
          {"replicas", status.root_policy.replicas},
          {"min_replicas", status.root_policy.min_replicas}};
}

// One of each inode and session that may keep it.
std::string leases_line(const ClusterStatusReply& status) {
  const std::string oldest =
      status.recalls > 0
          ? ", the oldest for " + std::to_string(status.oldest_recall_ms / 1000) + " s"
          : "";
  return std::to_string(status.leases) + " of at most " + std::to_string(status.leases_max) + " (" +
         std::to_string(status.write_leases) + " to write), " + count(status.recalls, "notice") +
         " not acknowledged yet" + oldest + "; " + std::to_string(status.leases_over_limit) +
         " taken back for the limit";
}

}  // namespace

Result<Output> status(ClusterCalls& calls, bool as_json) {
  DFS_TRY(const ClusterStatusReply status, calls.master(ClusterStatusRequest{}));
  DFS_TRY(const std::vector<std::string> down, servers_down(calls, status));
  const Verdict verdict = judge(status, down);
  const int exit_code = verdict.is_healthy ? kExitOk : kExitProblems;
  if (as_json) {
    return Output{to_json(status, down, verdict).dump(2) + "\n", exit_code};
  }
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  std::string text = verdict.line + "\n\n";
  text += format_facts({
      {"cluster", escape(status.cluster_id) + ", master " + escape(status.version) + " up " +
                      number(status.uptime_s) + " s"},
      {"servers", number(status.nodes_up) + " up, " + number(status.nodes_down) + " down, " +
                      number(status.nodes_full.size()) + " full"},
      {"space", format_size(status.available_bytes) + " free of " +
                    format_size(status.total_bytes) + " on live servers (raw)"},
      {"files", number(status.inodes) + " inodes, " + format_size(status.live_bytes) +
                    " of data, " + number(status.orphans) + " unlinked but not freed yet"},
      {"chunks", number(status.chunks) + " (" + number(status.chunks_open) + " open, " +
                     number(status.chunks_degraded) + " below their replica count, " +
                     number(status.chunks_unavailable) + " unavailable, " +
                     number(status.chunks_damaged) + " with a bad replica)"},
      {"policy of /", number(status.root_policy.replicas) + " replicas, at least " +
                          number(status.root_policy.min_replicas) + " to write"},
      {"clients", number(status.sessions)},
      {"leases", leases_line(status)},
      {"database", format_size(status.database_bytes)},
  });
  return Output{text, exit_code};
}

}  // namespace dfs::admin
