#include "tests/unit/chunkserver/chunkserver_rig.h"

#include "chunkserver/core/chunk_names.h"
#include "common/assert.h"
#include "proto/codec.h"

namespace dfs::chunkserver {

FakeMaster::FakeMaster(World world, Address address) : world_(world), address_(std::move(address)) {
  start_anew();
}

void FakeMaster::start_anew() {
  rpc_.reset();
  auto created = RpcServer::create(world_, address_, ++incarnation_,
                                   [this](const RpcRequest& request) { handle(request); });
  DFS_ASSERT(created.has_value());
  rpc_ = std::move(*created);
}

void FakeMaster::handle(const RpcRequest& request) {
  const ReplyAddress from = request.reply_address();
  if (request.envelope.type == MessageType::kRegisterNode) {
    registrations.push_back(*decode_body<RegisterNodeRequest>(request.body));
    const RegisterNodeRequest& node = registrations.back();
    if (!node.cluster_id.empty() && node.cluster_id != cluster_id) {
      rpc_->fail(from, make_error(ErrorCode::kWrongCluster, "another cluster's"));
      return;
    }
    // The test's nodes are called node0, node1 …
    const auto number = static_cast<std::uint32_t>(node.address.at(4) - '0');
    rpc_->reply(from, RegisterNodeReply{NodeId{number + 1}, cluster_id, heartbeat_ms});
  } else if (request.envelope.type == MessageType::kHeartbeat) {
    heartbeats.push_back(*decode_body<HeartbeatRequest>(request.body));
    if (std::exchange(forgets_nodes, false)) {
      rpc_->fail(from, make_error(ErrorCode::kStale, "not registered"));
      return;
    }
    rpc_->reply(from, HeartbeatReply{});
  } else if (request.envelope.type == MessageType::kReportInventory) {
    inventories.push_back(*decode_body<ReportInventoryRequest>(request.body));
    rpc_->reply(from, ReportInventoryReply{unknown});
  } else if (request.envelope.type == MessageType::kReportReplicas) {
    reports.push_back(*decode_body<ReportReplicasRequest>(request.body));
    rpc_->reply(from, EmptyReply{});
  } else {
    rpc_->fail(from, make_error(ErrorCode::kNotSupported, "not a master's request"));
  }
}

ChunkserverRig::ChunkserverRig() {
  master_ = std::make_unique<FakeMaster>(world(master_process_, log_), "master:9420");
  for (std::size_t i = 0; i < kNodes; ++i) {
    nodes_.push_back(std::make_unique<RigNode>(events_, "node" + std::to_string(i), 50 + i));
    clients_.push_back(std::make_unique<RpcClient>(world(client_process_, log_), node(i).address(),
                                                   node(i).name, RpcClient::Options{}));
  }
}

ChunkserverRig::~ChunkserverRig() {
  for (std::size_t i = 0; i < kNodes; ++i) {
    kill(i);
  }
}

World ChunkserverRig::world(RigProcess& process, Log& log) {
  return {process.scheduler, process.random, log, *process.transport};
}

void ChunkserverRig::start(std::size_t index, bool waits_for_master) {
  RigNode& started = node(index);
  ASSERT_FALSE(started.core);
  started.started.reset();
  started.process = std::make_unique<RigProcess>(events_, network_, started.name, ++next_seed_);
  started.disk = std::make_unique<sim::SimDisk>(started.process->scheduler, started.state);
  started.core = std::make_unique<Server>(world(*started.process, started.log), *started.disk,
                                          started.options);
  started.core->on_fatal([&started](const Error& error) { started.fatal = error; });
  started.core->start([&started](Status status) { started.started = std::move(status); });
  ASSERT_TRUE(events_.run_until([&] { return started.started.has_value(); }, seconds(10)));
  if (*started.started && waits_for_master) {
    ASSERT_TRUE(events_.run_until(
        [&] { return started.core->node().is_set() || started.fatal.has_value(); }, seconds(10)));
  }
}

void ChunkserverRig::start_all() {
  for (std::size_t i = 0; i < kNodes; ++i) {
    start(i);
  }
}

void ChunkserverRig::kill(std::size_t index) {
  RigNode& killed = node(index);
  if (!killed.process) {
    return;
  }
  killed.process->scheduler.kill();
  network_.drop_host(killed.name);
  killed.core.reset();
  killed.disk.reset();
  killed.process.reset();
}

void ChunkserverRig::crash(std::size_t index) {
  kill(index);
  node(index).state.crash();
}

std::string ChunkserverRig::blocks(std::uint32_t offset,
                                   const std::vector<std::uint32_t>& payload_sizes, char seed,
                                   ChunkId chunk, Epoch epoch) {
  std::string frame;
  for (const std::uint32_t payload_bytes : payload_sizes) {
    std::string payload(payload_bytes, '\0');
    for (std::size_t i = 0; i < payload.size(); ++i) {
      payload[i] = static_cast<char>(seed + static_cast<char>(i / kChecksumCellBytes % 20));
    }
    BlockHeader header;
    header.chunk = chunk;
    header.epoch = epoch;
    header.inode = InodeId{2};
    header.payload_bytes = payload_bytes;
    header.chunk_offset = offset + static_cast<std::uint32_t>(frame.size());
    header.sequence = header.chunk_offset;
    std::string prefix(block_prefix_bytes(payload_bytes), '\0');
    encode_block_prefix(header, cell_checksums(std::as_bytes(std::span(payload))),
                        reinterpret_cast<std::byte*>(prefix.data()));
    frame += prefix + payload;
  }
  return frame;
}

AppendRequest ChunkserverRig::append_request(std::uint32_t offset, bool sync,
                                             const std::vector<std::size_t>& chain) {
  AppendRequest request;
  request.chunk = kChunk;
  request.epoch = kEpoch;
  request.chunk_offset = offset;
  request.sync = sync;
  for (const std::size_t next : chain) {
    request.chain_nodes.push_back(NodeId{static_cast<std::uint32_t>(next + 1)});
    request.chain_addresses.push_back(node(next).address());
  }
  return request;
}

AppendReply ChunkserverRig::append(std::size_t index, const AppendRequest& request,
                                   const std::string& frame) {
  auto reply = call(index, request, frame);
  if (!reply) {
    return AppendReply{static_cast<std::uint16_t>(reply.code()), NodeId{}, 0, reply.error().detail};
  }
  return reply->body;
}

Result<RpcReply<ReadReply>> ChunkserverRig::read(std::size_t index, std::vector<ReadRange> ranges,
                                                 ChunkId chunk) {
  return call(index, ReadRequest{chunk, std::move(ranges)});
}

ErrorCode ChunkserverRig::read_code(std::size_t index, const ReadRange& range, ChunkId chunk) {
  const auto reply = read(index, {range}, chunk);
  return reply ? error_code_from_wire(reply->body.ranges.at(0).code) : reply.code();
}

Result<RpcReply<FenceReplicaReply>> ChunkserverRig::fence(std::size_t index, Epoch epoch,
                                                          ChunkId chunk) {
  return call(index, FenceReplicaRequest{chunk, epoch});
}

ErrorCode ChunkserverRig::seal(std::size_t index, std::uint32_t length_bytes, Epoch epoch,
                               ChunkId chunk) {
  return call(index, SealReplicaRequest{chunk, epoch, length_bytes}).code();
}

std::vector<ReplicaInfo> ChunkserverRig::list(std::size_t index) {
  const auto reply = call(index, ListReplicasRequest{});
  return reply ? reply->body.replicas : std::vector<ReplicaInfo>();
}

ErrorCode ChunkserverRig::outcome_of(const Pending<AppendRequest>& pending) {
  if (!pending->has_value()) {
    return ErrorCode::kInternal;
  }
  const auto& reply = **pending;
  return reply ? error_code_from_wire(reply->body.outcome) : reply.code();
}

std::string ChunkserverRig::chunk_path(const std::string& suffix, ChunkId chunk) {
  return "/data/chunks/" + folder_name(folder_of(chunk)) + "/" + chunk_text(chunk) + suffix;
}

}  // namespace dfs::chunkserver
