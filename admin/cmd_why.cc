// The calls that wait, all over the cluster: which, for whom, since when, and what ends that.
#include <nlohmann/json.hpp>

#include <array>
#include <map>

#include "admin/commands.h"
#include "admin/table.h"
#include "proto/limits.h"
#include "proto/wait_messages.h"

namespace dfs::admin {
namespace {

// As many as the master can have; no honest one has more.
constexpr std::size_t kPagesMax = 1024;
// A client that lives is heard every 3 s.
constexpr std::uint64_t kSilentNotedMs = 4500;

using Clients = std::map<SessionId, WaitingClient>;

struct Waits {
  std::vector<ListedWait> waits;
  Clients clients;
  std::uint64_t unlisted = 0;
};

Result<Waits> all_waits(ClusterCalls& calls, const std::string& path) {
  Waits all;
  for (std::size_t page = 0; page < kPagesMax; ++page) {
    auto reply = calls.master(ListWaitsRequest{.path = path, .skipped = all.waits.size()});
    if (!reply &&
        (reply.code() == ErrorCode::kUnavailable || reply.code() == ErrorCode::kTimedOut)) {
      return make_error(reply.code(),
                        reply.error().detail +
                            ". Calls that need the master wait until it answers; on a client's "
                            "machine, getfattr -n dfs.waiting --only-values DIR lists its own");
    }
    if (!reply) {
      return std::move(reply).error();
    }
    all.unlisted = reply->unlisted;
    for (const WaitingClient& client : reply->clients) {
      all.clients[client.session] = client;
    }
    all.waits.insert(all.waits.end(), reply->waits.begin(), reply->waits.end());
    if (reply->end || reply->waits.empty()) {
      break;
    }
  }
  return all;
}

std::string count(std::uint64_t number, const std::string& noun) {
  return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string seconds(std::uint64_t ms) { return std::to_string((ms + 500) / 1000) + " s"; }

const char* cause_name(std::uint8_t cause) {
  static constexpr std::array kNames = {"master", "notice",  "writer", "change", "lock",  "start",
                                        "server", "servers", "space",  "memory", "others"};
  static_assert(kNames.size() == kWaitCauseMax + 1);
  return cause < kNames.size() ? kNames[cause] : "unknown";
}

std::string client_name(const Clients& clients, SessionId session) {
  if (!session.is_set()) {
    return "an administrator";
  }
  const auto client = clients.find(session);
  return client == clients.end() ? "a client whose session is over" : escape(client->second.name);
}

std::string caller(const Clients& clients, const ListedWait& wait) {
  const std::string client = client_name(clients, wait.session);
  return wait.pid != 0 ? "process " + std::to_string(wait.pid) + " on " + client : client;
}

std::string others(const Clients& clients, const ListedWait& wait) {
  std::string names;
  for (const SessionId session : wait.others) {
    const auto client = clients.find(session);
    names += (names.empty() ? "" : ", ") + client_name(clients, session);
    if (client != clients.end() && client->second.silent_ms >= kSilentNotedMs) {
      names += ", silent for " + seconds(client->second.silent_ms);
    }
  }
  if (wait.others_total > wait.others.size()) {
    names += " and " + std::to_string(wait.others_total - wait.others.size()) + " more";
  }
  return names.empty() ? "other clients" : names;
}

std::string subject(const ListedWait& wait) {
  const std::string inode = "inode " + std::to_string(wait.inode.value);
  if (!wait.inode.is_set()) {
    return "all of the filesystem";
  }
  return wait.is_removed     ? inode + ", removed"
         : wait.path.empty() ? inode + ", path not known"
                             : escape(wait.path);
}

std::string awaited(const Clients& clients, const ListedWait& wait) {
  switch (static_cast<WaitCause>(wait.cause)) {
    case WaitCause::kMaster: return "the master's answer";
    case WaitCause::kNotice: return "word that nothing of it is kept by " + others(clients, wait);
    case WaitCause::kWriter: return "what was written to be stored by " + others(clients, wait);
    case WaitCause::kChange: return "a change of it, which waits for " + others(clients, wait);
    case WaitCause::kLock: return "the lock held by " + others(clients, wait);
    case WaitCause::kStart: return "a master just started, to hear from " + others(clients, wait);
    case WaitCause::kServer:
      return wait.server.empty() ? "a chunkserver"
             : wait.server.find(',') != std::string::npos
                 ? "the chunkservers at " + escape(wait.server)
                 : "the chunkserver at " + escape(wait.server);
    case WaitCause::kServers: return "chunkservers: too few answer";
    case WaitCause::kSpace: return "space on chunkservers";
    case WaitCause::kMemory: return "memory of the client (mem_limit)";
    case WaitCause::kOthers: return "other calls of the same client";
  }
  return "something that only a newer dfs-admin knows";
}

// The first moment at which a silent client is no longer waited for.
std::string end_of_sessions(const Clients& clients, const ListedWait& wait) {
  std::string ends;
  for (const SessionId session : wait.others) {
    const auto client = clients.find(session);
    if (client != clients.end() && client->second.silent_ms >= kSilentNotedMs) {
      ends = "end of its session in " + seconds(client->second.ends_in_ms);
    }
  }
  return ends;
}

std::string ending(const Clients& clients, const ListedWait& wait) {
  const std::string session = end_of_sessions(clients, wait);
  const auto unless = [&](const std::string& regular) {
    return session.empty() ? regular : session + ", unless it answers";
  };
  const auto fails = [&](const char* error, const std::string& regular) {
    return wait.ends_in_ms == 0
               ? regular
               : regular + ", or " + error + " in " + seconds(wait.ends_in_ms) + " (write_wait)";
  };
  switch (static_cast<WaitCause>(wait.cause)) {
    case WaitCause::kMaster: return "its answer";
    case WaitCause::kNotice:
    case WaitCause::kWriter:
    case WaitCause::kChange:
    case WaitCause::kStart: return unless("its word");
    case WaitCause::kLock: return session.empty() ? "unlock, or a signal" : session + ", or unlock";
    // How long it has been silent only the client knows, and there may be several, one after
    // another.
    case WaitCause::kServer: return "its answer; one silent for 2 s is given up";
    case WaitCause::kServers: return fails("EIO", "a server that answers");
    case WaitCause::kSpace: return fails("ENOSPC", "room");
    case WaitCause::kMemory: return "what is buffered being stored";
    case WaitCause::kOthers: return "those";
  }
  return "not known";
}

nlohmann::json to_json(const Clients& clients, const ListedWait& wait) {
  nlohmann::json awaited_clients = nlohmann::json::array();
  for (const SessionId session : wait.others) {
    const auto client = clients.find(session);
    const bool is_known = client != clients.end();
    awaited_clients.push_back({{"session", session.value},
                               {"client", client_name(clients, session)},
                               {"silent_ms", is_known ? client->second.silent_ms : 0},
                               {"session_ends_in_ms", is_known ? client->second.ends_in_ms : 0}});
  }
  return {{"operation", escape(wait.operation)},
          {"inode", wait.inode.value},
          {"path", escape(wait.path)},
          {"removed", wait.is_removed},
          {"session", wait.session.value},
          {"client", client_name(clients, wait.session)},
          {"pid", wait.pid},
          {"waited_ms", wait.waited_ms},
          {"cause", cause_name(wait.cause)},
          {"waits_for", awaited(clients, wait)},
          {"ends_by", ending(clients, wait)},
          {"others", awaited_clients},
          {"others_total", wait.others_total},
          {"server", escape(wait.server)},
          {"fails_in_ms", wait.ends_in_ms},
          {"told_ms_ago", wait.told_ms_ago}};
}

std::string verdict_line(const Waits& all) {
  if (all.waits.empty()) {
    return "nothing waits";
  }
  const std::uint64_t calls = all.waits.size() + all.unlisted;
  const std::string longest = seconds(all.waits.front().waited_ms);
  return calls == 1 ? "1 call waits, for " + longest
                    : count(calls, "call") + " wait, the longest for " + longest;
}

std::string to_text(const Waits& all) {
  std::vector<std::vector<std::string>> rows = {{"for", "call", "on", "by", "waits for", "until"}};
  for (const ListedWait& wait : all.waits) {
    rows.push_back({seconds(wait.waited_ms), escape(wait.operation), subject(wait),
                    caller(all.clients, wait), awaited(all.clients, wait),
                    ending(all.clients, wait)});
  }
  std::string text = "\n" + format_table(rows);
  if (all.unlisted > 0) {
    text += "and " + std::to_string(all.unlisted) + " more, of clients that have many\n";
  }
  return text;
}

}  // namespace

Result<Output> why(ClusterCalls& calls, const std::string& path, bool as_json) {
  DFS_TRY(const Waits all, all_waits(calls, path));
  const int exit_code = all.waits.empty() ? kExitOk : kExitProblems;
  const std::string line = verdict_line(all);
  if (as_json) {
    nlohmann::json list = nlohmann::json::array();
    for (const ListedWait& wait : all.waits) {
      list.push_back(to_json(all.clients, wait));
    }
    const nlohmann::json object = {{"verdict", all.waits.empty() ? "nothing_waits" : "waiting"},
                                   {"verdict_line", line},
                                   {"unlisted", all.unlisted},
                                   {"waits", list}};
    return Output{object.dump(2) + "\n", exit_code};
  }
  return Output{line + "\n" + (all.waits.empty() ? "" : to_text(all)), exit_code};
}

}  // namespace dfs::admin
