#include "tests/unit/master/chunk_rig.h"

#include <algorithm>
#include <limits>

#include "master/core/node_table.h"
#include "proto/block.h"

namespace dfs::master {

FakeChunkserver::FakeChunkserver(MasterRig& rig, std::uint32_t number, std::uint64_t room)
    : room_bytes(room),
      rig_(rig),
      number_(number),
      host_("server" + std::to_string(number)),
      random_(number) {}

void FakeChunkserver::start() {
  ++incarnation_;
  scheduler_ = std::make_unique<sim::SimScheduler>(rig_.events);
  transport_ = rig_.network.transport(*scheduler_, host_);
  const World world{*scheduler_, random_, log_, *transport_};
  auto server = RpcServer::create(world, host_ + ":9421", incarnation_,
                                  [this](RpcRequest request) { handle(std::move(request)); });
  ASSERT_TRUE(server);
  server_ = std::move(*server);
  RpcClient::Options options;
  options.when_down = RpcClient::WhenDown::kKeepCalls;
  master_ = std::make_unique<RpcClient>(world, "master:9420", "master", options);
  register_now();
}

void FakeChunkserver::kill() {
  if (scheduler_ == nullptr) {
    return;
  }
  rig_.network.drop_host(host_);
  scheduler_->kill();
  master_.reset();
  server_.reset();
  transport_.reset();
  scheduler_.reset();
}

void FakeChunkserver::append_to(ChunkId chunk, Epoch epoch, std::uint32_t length_bytes) {
  if (epoch >= fences[chunk]) {
    ReplicaInfo& replica = replicas[chunk];
    replica.chunk = chunk;
    replica.epoch = epoch;
    replica.length_bytes = std::max(replica.length_bytes, length_bytes);
  }
}

void FakeChunkserver::handle(RpcRequest request) {
  EXPECT_EQ(request.envelope.cluster, cluster_tag(kTestCluster));
  switch (request.envelope.type) {
    case MessageType::kFenceReplica: fence(request); break;
    case MessageType::kSealReplica: seal(request); break;
    case MessageType::kDeleteReplicas: remove(request); break;
    default: server_->fail(request.reply_address(), make_error(ErrorCode::kNotSupported));
  }
}

void FakeChunkserver::fence(const RpcRequest& request) {
  const auto body = decode_body<FenceReplicaRequest>(request.body);
  ASSERT_TRUE(body);
  ++fences_seen;
  fences[body->chunk] = std::max(fences[body->chunk], body->epoch);
  FenceReplicaReply reply;
  if (const auto found = replicas.find(body->chunk); found != replicas.end()) {
    reply.replica = found->second;
  }
  reply.replica.chunk = body->chunk;
  reply.replica.epoch = fences[body->chunk];
  server_->reply(request.reply_address(), reply);
}

void FakeChunkserver::seal(const RpcRequest& request) {
  const auto body = decode_body<SealReplicaRequest>(request.body);
  ASSERT_TRUE(body);
  const auto found = replicas.find(body->chunk);
  if (body->length_bytes <= kChunkHeaderBytes) {
    replicas.erase(body->chunk);
  } else if (found == replicas.end()) {
    server_->fail(request.reply_address(), make_error(ErrorCode::kNoSuchChunk));
    return;
  } else if (found->second.length_bytes < body->length_bytes) {
    server_->fail(request.reply_address(), make_error(ErrorCode::kCorrupt, "too short"));
    return;
  } else {
    found->second.length_bytes = body->length_bytes;
    found->second.sealed = true;
  }
  server_->reply(request.reply_address(), EmptyReply{});
}

void FakeChunkserver::remove(const RpcRequest& request) {
  const auto body = decode_body<DeleteReplicasRequest>(request.body);
  ASSERT_TRUE(body);
  if (!takes_deletions) {
    server_->fail(request.reply_address(), make_error(ErrorCode::kIo));
    return;
  }
  for (const ChunkId chunk : body->chunks) {
    replicas.erase(chunk);
    deleted.push_back(chunk);
  }
  server_->reply(request.reply_address(), EmptyReply{});
}

std::vector<DirectoryInfo> FakeChunkserver::directories() const {
  DirectoryInfo directory;
  directory.path = "/srv/dfs";
  directory.total_bytes = room_bytes;
  directory.available_bytes = room_bytes;
  directory.failed = directory_failed;
  return {directory};
}

void FakeChunkserver::register_now() {
  RegisterNodeRequest request;
  request.uuid = std::string(30, 'a') + std::to_string(10 + number_);
  request.address = host_ + ":9421";
  request.zone = zone;
  request.incarnation = incarnation_;
  request.directories = directories();
  master_->call(request, {}, Done<RegisterNodeReply>([this](const auto& reply) {
                  ASSERT_TRUE(reply) << error_code_name(reply.code());
                  id = reply->body.node;
                  send_inventory();
                  scheduler_->run_after(std::chrono::milliseconds(reply->body.heartbeat_ms),
                                        [this] { send_heartbeat(); });
                }));
}

void FakeChunkserver::send_heartbeat() {
  HeartbeatRequest request;
  request.node = id;
  request.incarnation = incarnation_;
  request.directories = directories();
  master_->call(request, {}, Done<HeartbeatReply>([this](const auto& reply) {
                  if (!reply) {
                    register_now();
                    return;
                  }
                  if (reply->body.inventory_wanted) {
                    send_inventory();
                  }
                  scheduler_->run_after(kHeartbeatInterval, [this] { send_heartbeat(); });
                }));
}

void FakeChunkserver::send_inventory() {
  ReportInventoryRequest request;
  request.node = id;
  request.incarnation = incarnation_;
  request.last = ChunkId{std::numeric_limits<std::uint64_t>::max()};
  for (const auto& [chunk, replica] : replicas) {
    request.replicas.push_back(replica);
  }
  master_->call(request, {}, Done<ReportInventoryReply>([this](const auto& reply) {
                  ASSERT_TRUE(reply) << error_code_name(reply.code());
                  for (const ChunkId chunk : reply->body.unknown) {
                    replicas.erase(chunk);
                    deleted.push_back(chunk);
                  }
                }));
}

void ChunkRig::add_servers(std::size_t count, std::uint64_t room_bytes) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = static_cast<std::uint32_t>(servers.size());
    servers.push_back(std::make_unique<FakeChunkserver>(*this, number, room_bytes));
    servers.back()->start();
  }
  ASSERT_TRUE(events.run_until(
      [this] {
        return std::all_of(servers.begin(), servers.end(),
                           [](const auto& server) { return server->id.is_set(); });
      },
      std::chrono::seconds(10)));
}

void ChunkRig::wait_for_servers() {
  NodeTable& nodes = process->master->chunks().nodes();
  ASSERT_TRUE(events.run_until(
      [&] {
        return std::all_of(servers.begin(), servers.end(), [&](const auto& server) {
          const KnownNode* node = nodes.find(server->id);
          return !server->is_alive() || (node != nullptr && node->is_up());
        });
      },
      std::chrono::seconds(30)));
}

OpenChunkReply ChunkRig::open_chunk(StoragePolicy policy) {
  OpenChunkRequest request;
  request.policy = policy;
  const auto reply = client->change(request);
  EXPECT_TRUE(reply) << error_code_name(reply.code());
  return reply ? *reply : OpenChunkReply{};
}

Extent ChunkRig::append(const OpenChunkReply& chunk, std::uint64_t file_offset,
                        std::uint32_t bytes) {
  std::uint32_t& end = ends.try_emplace(chunk.chunk, kChunkHeaderBytes).first->second;
  Extent extent;
  extent.file_offset = file_offset;
  extent.length_bytes = bytes;
  extent.chunk = chunk.chunk;
  extent.block_offset = end;
  extent.block_bytes = bytes;
  end += block_total_bytes(bytes);
  for (const NodeId node : chunk.nodes) {
    server(node).append_to(chunk.chunk, chunk.epoch, end);
  }
  return extent;
}

FileCommitResult ChunkRig::commit(InodeId inode, std::vector<Extent> extents, bool durable) {
  // A refusal shows in the commit.
  const auto lease = client->ask(TakeWriteLeaseRequest{.inode = inode});
  FileCommit file;
  file.inode = inode;
  file.write_epoch = lease ? lease->epoch : 0;
  file.extents = std::move(extents);
  CommitExtentsRequest request;
  request.files = {file};
  request.durable = durable;
  const auto reply = client->change(request);
  EXPECT_TRUE(reply) << error_code_name(reply.code());
  return reply ? reply->results.at(0) : FileCommitResult{};
}

void ChunkRig::write(const OpenChunkReply& chunk, InodeId inode, std::uint64_t file_offset,
                     std::uint32_t bytes) {
  const FileCommitResult result = commit(inode, {append(chunk, file_offset, bytes)});
  EXPECT_EQ(error_code_from_wire(result.code), ErrorCode::kOk);
}

SealChunkReply ChunkRig::seal(ChunkId chunk, NodeId failed) {
  SealChunkRequest request;
  request.chunk = chunk;
  request.failed_node = failed;
  request.failure =
      static_cast<std::uint16_t>(failed.is_set() ? ErrorCode::kUnavailable : ErrorCode::kOk);
  const auto reply = client->ask(request);
  EXPECT_TRUE(reply) << error_code_name(reply.code());
  return reply ? *reply : SealChunkReply{};
}

FakeChunkserver& ChunkRig::server(NodeId node) {
  const auto found = std::find_if(servers.begin(), servers.end(),
                                  [&](const auto& server) { return server->id == node; });
  DFS_ASSERT(found != servers.end());
  return **found;
}

std::optional<ChunkRow> ChunkRig::row(ChunkId chunk) {
  const auto found = store().chunk(chunk);
  EXPECT_TRUE(found);
  return found ? *found : std::nullopt;
}

ReplicaRowState ChunkRig::state_of(ChunkId chunk, NodeId node) {
  const auto rows = store().replicas(chunk);
  EXPECT_TRUE(rows);
  for (const ReplicaRow& replica : *rows) {
    if (replica.node == node) {
      return replica.state;
    }
  }
  ADD_FAILURE() << "no replica row of chunk " << chunk.value << " on node " << node.value;
  return ReplicaRowState::kGood;
}

bool ChunkRig::wait_until_sealed(ChunkId chunk, Duration limit) {
  return events.run_until(
      [&] {
        const auto found = row(chunk);
        return found && found->state == ChunkState::kSealed;
      },
      limit);
}

bool ChunkRig::wait_until_gone(ChunkId chunk, Duration limit) {
  return events.run_until([&] { return !row(chunk); }, limit);
}

std::vector<MetadataProblem> ChunkRig::problems() {
  std::vector<MetadataProblem> all;
  CheckMetadataRequest request;
  do {
    const auto reply = client->ask(request);
    EXPECT_TRUE(reply) << error_code_name(reply.code());
    if (!reply) {
      return {{InodeId{}, ChunkId{}, "the check failed"}};
    }
    all.insert(all.end(), reply->problems.begin(), reply->problems.end());
    request.cursor = reply->cursor;
  } while (!request.cursor.empty());
  return all;
}

}  // namespace dfs::master
