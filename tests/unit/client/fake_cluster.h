// A master and chunkservers as a client sees them, in memory, on a simulated network: for tests of
// the client core that want to look at, and interfere with, everything that arrives.
//
// The fakes keep the rules of the protocol that matter to a client and report a breach of them by
// the client as a test failure: commits name whole blocks that are on stable storage, appends
// continue their chunk, blocks are well formed.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/all_messages.h"
#include "proto/extent.h"
#include "proto/rpc_server.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::client {

inline constexpr const char* kFakeMaster = "master:1";
inline constexpr const char* kFakeClusterId = "0123456789abcdef0123456789abcdef";

// One process on a host of its own.
struct FakeHost {
  FakeHost(sim::SimEvents& events, sim::SimNetwork& network, const std::string& name,
           std::uint64_t seed)
      : scheduler(events),
        random(seed),
        log(name, &events),
        transport(network.transport(scheduler, name)) {}
  World world() { return {scheduler, random, log, *transport}; }

  sim::SimScheduler scheduler;
  sim::SimRandom random;
  sim::SimLog log;
  std::unique_ptr<Transport> transport;
};

struct FakeChunk {
  SessionId session;
  Epoch epoch{1};
  std::uint32_t capacity_bytes = 0;
  std::vector<NodeId> nodes;
  std::string bytes;               // the same on each replica
  std::uint32_t synced_bytes = 0;  // on stable storage of each
  bool is_sealed = false;
  NodeId failed_node;  // as SealChunk said
};

struct FakeFile {
  ExtentList extents;
  Attributes attributes;
  bool is_gone = false;
};

class FakeCluster {
 public:
  explicit FakeCluster(std::uint64_t seed = 1, std::uint32_t node_count = 3);
  ~FakeCluster();

  // --- Knobs ---
  std::uint32_t chunk_capacity_bytes = kChunkBytesMax;
  std::uint64_t space_bytes = std::uint64_t{1} << 40;  // for chunks, each counted once
  ErrorCode open_chunk_error = ErrorCode::kOk;
  ErrorCode commit_error = ErrorCode::kOk;
  std::uint32_t window_pieces_max = kWindowPiecesMax;
  KeepAliveReply keep_alive_reply{.incarnation = 1, .wants_replay = false};
  bool is_holding_commits = false;     // until release_commits
  bool is_holding_questions = false;   // for attributes and extents, until release_questions
  std::uint64_t attributes_lease = 0;  // that answers to questions for attributes bear
  bool is_silent_to_opens = false;
  bool is_silent_to_write_leases = false;
  std::map<NodeId, ErrorCode> append_errors;
  // Runs before an append is looked at; true: it goes unanswered.
  std::function<bool(const AppendRequest&, const Buffer&)> on_append;
  // Requests the fakes do not know; true: answered.
  std::function<bool(RpcServer&, const RpcRequest&)> on_other;

  void release_commits();
  void release_questions();
  void kill_node(NodeId node);
  void expire_session();
  Timestamp master_wall_now() const { return master_host_->scheduler.wall_now(); }
  // Tells the client, once it waits for that, what others change.
  bool notify(const std::vector<LeaseChange>& changes);
  void remove_file(InodeId inode) { files[inode].is_gone = true; }

  // --- What happened ---
  std::set<ClusterTag> clusters_named;  // in what nodes were asked
  std::map<ChunkId, FakeChunk> chunks;
  std::map<InodeId, FakeFile> files;
  std::vector<AppendRequest> appends;
  std::vector<CommitExtentsRequest> commits;
  std::vector<OpenChunkRequest> opens;
  std::vector<TakeWriteLeaseRequest> write_leases;
  std::vector<ReclaimLeasesRequest> reclaims;
  std::vector<SealChunkRequest> seals;
  std::uint32_t metadata_syncs = 0;
  std::uint64_t notices_handled = 0;  // by number: all up to there
  std::set<std::uint64_t> notices_held_up;
  std::uint64_t newest_notice() const { return notice_; }

  // The file as a reader would find it, every block checked. Holes are zeros.
  std::string contents(InodeId inode) const;
  std::string bytes_of(const Extent& extent) const;
  std::uint64_t reserved_bytes() const;
  std::size_t open_chunks() const;
  static std::string address_of(NodeId node);

  sim::SimEvents events;
  sim::SimNetwork network;

 private:
  struct Node {
    std::unique_ptr<FakeHost> host;
    std::unique_ptr<RpcServer> server;
  };

  std::optional<ReplyAddress> waits_for_notices_;
  std::uint64_t notice_ = 1;  // as ReclaimLeasesReply says

  void start_master();
  void start_node(NodeId node);
  void master_request(const RpcRequest& request);
  void change_request(const RpcRequest& request);
  void open_session(const RpcRequest& request);
  void reclaim(const RpcRequest& request);
  void open_chunk(const RpcRequest& request);
  void seal_chunk(const RpcRequest& request);
  void commit(const RpcRequest& request);
  FileCommitResult commit_file(const FileCommit& commit, SessionId session);
  void answer_question(const RpcRequest& request);
  void get_extents(const RpcRequest& request);
  void get_attributes(const RpcRequest& request);
  void wait_for_notices(const RpcRequest& request);
  void take_write_lease(const RpcRequest& request);
  void append(RpcServer& server, const RpcRequest& request);
  AppendReply store(const AppendRequest& request, const Buffer& bulk);
  void check_blocks(const AppendRequest& request, const Buffer& bulk);
  Attributes& attributes_of(InodeId inode);
  template <class Reply>
  void answer_change(const RpcRequest& request, const Reply& reply);
  void refuse_change(const RpcRequest& request, ErrorCode code);

  std::unique_ptr<FakeHost> master_host_;
  std::unique_ptr<RpcServer> master_;
  std::map<NodeId, Node> nodes_;
  std::set<SessionId> sessions_;
  std::uint64_t next_session_ = 1;
  std::uint64_t next_chunk_ = 100;
  std::deque<RpcRequest> held_commits_;
  std::deque<RpcRequest> held_questions_;
  std::map<std::pair<SessionId, std::uint64_t>, Buffer> answers_;  // to changes
};

}  // namespace dfs::client
