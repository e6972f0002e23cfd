// MasterReporter: this server's side of its relation to the master.
//
// Registers, and again whenever the master does not know it; then reports all replicas, page by
// page, sends heartbeats, and reports replicas that turned out damaged or lost. Each kind of
// call has one in progress at most and is made again, from what is true by then, until it
// succeeds: an inventory page that is sent late would call newer replicas missing. One thread.
//
// Between heartbeats it pings the master, so that one that was started anew, and knows nobody, has
// its servers back at once. A ping is pending all the time that the master is away.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/core/alive.h"
#include "chunkserver/core/directory_set.h"
#include "chunkserver/core/replica_store.h"
#include "common/world.h"
#include "proto/node_messages.h"
#include "proto/rpc_client.h"
#include "proto/session_messages.h"

namespace dfs::chunkserver {

class MasterReporter {
 public:
  struct Settings {
    Address master;
    Address address;  // where others reach this server
    std::string zone;
    std::uint64_t incarnation = 0;
  };
  struct Hooks {
    std::function<std::uint32_t()> load;  // requests in progress
    std::function<void(NodeId)> on_registered;
    std::function<void(std::vector<ChunkId>)> delete_unknown;  // never an empty list
    // The server cannot go on: the master belongs to another cluster, or the identity it gave
    // cannot be kept.
    std::function<void(const Error&)> on_fatal;
  };

  MasterReporter(World world, Settings settings, DirectorySet& directories, ReplicaStore& store,
                 Hooks hooks);

  void start();
  void stop();

  void report_damaged(ChunkId chunk);
  void report_lost(const std::vector<ChunkId>& chunks);
  // Something the master should know at once, a failed directory for example.
  void heartbeat_soon();
  // Files were deleted: the master learns of the room within kSpaceReportDelay, in one heartbeat
  // for all that are deleted meanwhile.
  void space_changed();

 private:
  enum class State { kStopped, kRegistering, kRegistered };

  void register_now();
  void on_register_reply(const Result<RpcReply<RegisterNodeReply>>& reply);
  void watch_master();
  void on_ping_reply(const Result<RpcReply<PingReply>>& reply);
  Status accept_registration(const RegisterNodeReply& reply);
  void register_again();
  void forget_calls();
  void send_heartbeat();
  void plan_heartbeat();
  void on_heartbeat_reply(const Result<RpcReply<HeartbeatReply>>& reply);
  void start_inventory();
  void send_inventory_page();
  void on_inventory_reply(const ReportInventoryRequest& page,
                          const Result<RpcReply<ReportInventoryReply>>& reply);
  void send_report();
  void on_report_reply(const ReportReplicasRequest& sent,
                       const Result<RpcReply<EmptyReply>>& reply);
  void complain(const std::string& what, const Error& error);

  // Runs `function` only if the server was not registered anew or stopped meanwhile.
  template <class Function>
  auto in_this_registration(Function function) {
    return alive_.guard([this, at = registration_, function](const auto& reply) {
      if (at == registration_) {
        function(reply);
      }
    });
  }

  World world_;
  const Settings settings_;
  DirectorySet& directories_;
  ReplicaStore& store_;
  Hooks hooks_;
  RpcClient master_;
  State state_ = State::kStopped;
  std::uint64_t registration_ = 0;  // counts them
  NodeId node_;
  Duration heartbeat_interval_;
  std::uint64_t master_incarnation_ = 0;  // as of the last ping since registering; 0: none yet
  bool is_master_silent_ = false;         // the last ping was not answered
  bool is_heartbeat_sent_ = false;
  bool is_space_changed_ = false;  // since the last heartbeat
  bool is_inventory_running_ = false;
  bool is_inventory_wanted_again_ = false;
  bool is_report_sent_ = false;
  bool has_complained_ = false;
  ChunkId inventory_at_;
  std::set<ChunkId> damaged_;  // not yet reported; bounded by the number of replicas
  std::set<ChunkId> lost_;
  Timer watch_timer_;
  Timer register_timer_;
  Timer heartbeat_timer_;
  Timer inventory_timer_;
  Timer report_timer_;
  Alive alive_;
};

}  // namespace dfs::chunkserver
