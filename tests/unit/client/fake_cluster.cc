#include "tests/unit/client/fake_cluster.h"

#include <algorithm>

#include "proto/block.h"

namespace dfs::client {

FakeCluster::FakeCluster(std::uint64_t seed, std::uint32_t node_count) : network(events, seed) {
  start_master();
  for (std::uint32_t node = 1; node <= node_count; ++node) {
    start_node(NodeId{node});
  }
}

FakeCluster::~FakeCluster() = default;

std::string FakeCluster::address_of(NodeId node) {
  return "node" + std::to_string(node.value) + ":1";
}

void FakeCluster::start_master() {
  master_host_ = std::make_unique<FakeHost>(events, network, "master", 100);
  auto server = RpcServer::create(master_host_->world(), kFakeMaster, 1,
                                  [this](RpcRequest request) { master_request(request); });
  EXPECT_TRUE(server.has_value());
  master_ = std::move(*server);
}

void FakeCluster::start_node(NodeId id) {
  Node& node = nodes_[id];
  node.host = std::make_unique<FakeHost>(events, network, "node" + std::to_string(id.value),
                                         200 + id.value);
  auto server = RpcServer::create(
      node.host->world(), address_of(id), id.value, [this, id](RpcRequest request) {
        RpcServer& own = *nodes_.at(id).server;
        clusters_named.insert(request.envelope.cluster);
        if (request.envelope.type == MessageType::kAppend) {
          append(own, request);
        } else if (!on_other || !on_other(own, request)) {
          own.fail(request.reply_address(), make_error(ErrorCode::kNotSupported));
        }
      });
  EXPECT_TRUE(server.has_value());
  node.server = std::move(*server);
}

void FakeCluster::kill_node(NodeId id) {
  Node& node = nodes_.at(id);
  node.host->scheduler.kill();
  network.drop_host("node" + std::to_string(id.value));
  append_errors[id] = ErrorCode::kUnavailable;
}

void FakeCluster::expire_session() {
  sessions_.clear();
  for (auto& [id, chunk] : chunks) {
    chunk.is_sealed = true;
  }
}

// --- Master --------------------------------------------------------------------------------------

void FakeCluster::master_request(const RpcRequest& request) {
  const ReplyAddress to = request.reply_address();
  if (request.envelope.type == MessageType::kOpenSession) {
    open_session(request);
    return;
  }
  if (!sessions_.contains(request.envelope.session)) {
    master_->fail(to, make_error(ErrorCode::kSessionExpired));
    return;
  }
  if (request.envelope.sequence != 0) {
    const auto known = answers_.find({request.envelope.session, request.envelope.sequence});
    if (known != answers_.end()) {
      master_->send(to.peer, known->second);
      return;
    }
  }
  switch (request.envelope.type) {
    case MessageType::kKeepAlive:
      keep_alive_reply.now = master_wall_now();
      master_->reply(to, keep_alive_reply);
      break;
    case MessageType::kCloseSession:
      sessions_.erase(request.envelope.session);
      master_->reply(to, CloseSessionReply{});
      break;
    case MessageType::kOpenChunk:
      if (!is_silent_to_opens) {
        open_chunk(request);
      }
      break;
    case MessageType::kSealChunk: seal_chunk(request); break;
    case MessageType::kCommitExtents:
      if (!is_holding_commits) {
        commit(request);
      } else if (std::none_of(held_commits_.begin(), held_commits_.end(),
                              [&](const RpcRequest& held) {
                                return held.envelope.request_id == request.envelope.request_id;
                              })) {
        held_commits_.push_back(request);
      }
      break;
    case MessageType::kSyncMetadata:
      ++metadata_syncs;
      master_->reply(to, EmptyReply{});
      break;
    case MessageType::kGetExtents:
    case MessageType::kGetAttributes:
      if (is_holding_questions) {
        held_questions_.push_back(request);
      } else {
        answer_question(request);
      }
      break;
    case MessageType::kReclaimLeases: reclaim(request); break;
    case MessageType::kWaitForNotices: wait_for_notices(request); break;
    case MessageType::kTakeWriteLease: take_write_lease(request); break;
    default:
      if (!on_other || !on_other(*master_, request)) {
        master_->fail(to, make_error(ErrorCode::kNotSupported));
      }
  }
}

void FakeCluster::reclaim(const RpcRequest& request) {
  const auto body = decode_body<ReclaimLeasesRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  reclaims.push_back(*body);
  master_->reply(request.reply_address(), ReclaimLeasesReply{.lease = notice_});
}

void FakeCluster::wait_for_notices(const RpcRequest& request) {
  const auto body = decode_body<WaitForNoticesRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  notices_handled = std::max(notices_handled, body->handled);
  notices_held_up.insert(body->held_up.begin(), body->held_up.end());
  waits_for_notices_ = request.reply_address();
}

bool FakeCluster::notify(const std::vector<LeaseChange>& changes) {
  if (!waits_for_notices_) {
    return false;
  }
  WaitForNoticesReply reply{.incarnation = keep_alive_reply.incarnation, .notices = {}};
  reply.notices.push_back({.number = ++notice_, .changes = changes});
  master_->reply(*std::exchange(waits_for_notices_, std::nullopt), reply);
  return true;
}

template <class Reply>
void FakeCluster::answer_change(const RpcRequest& request, const Reply& reply) {
  const ReplyAddress to = request.reply_address();
  const Buffer head = RpcServer::encode_reply(to, reply);
  answers_[{request.envelope.session, request.envelope.sequence}] = head;
  master_->send(to.peer, head);
}

void FakeCluster::refuse_change(const RpcRequest& request, ErrorCode code) {
  const ReplyAddress to = request.reply_address();
  const Buffer head = RpcServer::encode_failure(to, make_error(code, "as the test wants"));
  answers_[{request.envelope.session, request.envelope.sequence}] = head;
  master_->send(to.peer, head);
}

void FakeCluster::open_session(const RpcRequest& request) {
  OpenSessionReply reply;
  reply.session = SessionId{next_session_++};
  reply.cluster_id = kFakeClusterId;
  reply.incarnation = 1;
  reply.keep_alive_ms = 5000;
  reply.session_timeout_ms = 60000;
  reply.now = master_wall_now();
  sessions_.insert(reply.session);
  master_->reply(request.reply_address(), reply);
}

std::uint64_t FakeCluster::reserved_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& [id, chunk] : chunks) {
    sum += chunk.is_sealed ? chunk.bytes.size() : chunk.capacity_bytes;
  }
  return sum;
}

std::size_t FakeCluster::open_chunks() const {
  return static_cast<std::size_t>(std::count_if(
      chunks.begin(), chunks.end(), [](const auto& entry) { return !entry.second.is_sealed; }));
}

void FakeCluster::open_chunk(const RpcRequest& request) {
  const auto body = decode_body<OpenChunkRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  opens.push_back(*body);
  if (open_chunk_error != ErrorCode::kOk) {
    refuse_change(request, open_chunk_error);
    return;
  }
  const std::uint64_t reserved = reserved_bytes();
  const std::uint64_t left = space_bytes > reserved ? space_bytes - reserved : 0;
  if (left < kChunkCapacityBytesMin) {
    refuse_change(request, ErrorCode::kNoSpace);
    return;
  }
  OpenChunkReply reply;
  for (const bool use_avoided : {false, true}) {
    for (const auto& [node, state] : nodes_) {
      const bool is_avoided =
          std::find(body->avoid.begin(), body->avoid.end(), node) != body->avoid.end();
      const bool is_up = append_errors.find(node) == append_errors.end() || use_avoided;
      if (reply.nodes.size() < body->policy.replicas && is_avoided == use_avoided && is_up) {
        reply.nodes.push_back(node);
        reply.addresses.push_back(address_of(node));
      }
    }
  }
  reply.chunk = ChunkId{next_chunk_++};
  reply.epoch = Epoch{7};
  reply.capacity_bytes =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(left, chunk_capacity_bytes));
  FakeChunk& chunk = chunks[reply.chunk];
  chunk.session = request.envelope.session;
  chunk.epoch = reply.epoch;
  chunk.capacity_bytes = reply.capacity_bytes;
  chunk.nodes = reply.nodes;
  chunk.bytes.assign(kChunkHeaderBytes, '\0');
  answer_change(request, reply);
}

void FakeCluster::seal_chunk(const RpcRequest& request) {
  const auto body = decode_body<SealChunkRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  seals.push_back(*body);
  const auto at = chunks.find(body->chunk);
  ASSERT_TRUE(at != chunks.end());
  if (at->second.session != request.envelope.session) {
    refuse_change(request, ErrorCode::kNoSuchChunk);
    return;
  }
  EXPECT_FALSE(at->second.is_sealed);
  at->second.is_sealed = true;
  at->second.failed_node = body->failed_node;
  answer_change(request, SealChunkReply{});
}

void FakeCluster::release_commits() {
  is_holding_commits = false;
  for (const RpcRequest& request : std::exchange(held_commits_, {})) {
    master_request(request);
  }
}

void FakeCluster::release_questions() {
  is_holding_questions = false;
  for (const RpcRequest& request : std::exchange(held_questions_, {})) {
    answer_question(request);
  }
}

void FakeCluster::commit(const RpcRequest& request) {
  const auto body = decode_body<CommitExtentsRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  commits.push_back(*body);
  CommitExtentsReply reply;
  for (const FileCommit& file : body->files) {
    reply.results.push_back(commit_file(file, request.envelope.session));
  }
  answer_change(request, reply);
}

Attributes& FakeCluster::attributes_of(InodeId inode) {
  Attributes& attributes = files[inode].attributes;
  attributes.inode = inode;
  attributes.mode = kModeRegular | 0644;
  attributes.link_count = 1;
  return attributes;
}

FileCommitResult FakeCluster::commit_file(const FileCommit& commit, SessionId session) {
  FileCommitResult result;
  FakeFile& file = files[commit.inode];
  const auto refuse = [&](ErrorCode code) {
    result.code = static_cast<std::uint16_t>(code);
    return result;
  };
  if (file.is_gone) {
    return refuse(ErrorCode::kStale);
  }
  if (commit_error != ErrorCode::kOk) {
    return refuse(commit_error);
  }
  ExtentList extents = file.extents;
  for (const Extent& extent : commit.extents) {
    const auto chunk = chunks.find(extent.chunk);
    if (chunk == chunks.end() || chunk->second.session != session) {
      return refuse(ErrorCode::kNoSuchChunk);
    }
    EXPECT_TRUE(validate(extent).has_value());
    EXPECT_EQ(extent.file_offset / kExtentWindowBytes, (extent.end() - 1) / kExtentWindowBytes);
    EXPECT_LE(extent.block_offset + block_total_bytes(extent.block_bytes),
              chunk->second.synced_bytes)
        << "committed before it is on stable storage";
    extents.insert(extent);
  }
  std::map<std::uint64_t, std::uint32_t> pieces;
  for (const Extent& extent : extents.extents()) {
    ++pieces[extent.file_offset / kExtentWindowBytes];
  }
  for (const Extent& extent : commit.extents) {
    result.window_pieces_most =
        std::max(result.window_pieces_most, pieces[extent.file_offset / kExtentWindowBytes]);
  }
  if (result.window_pieces_most > window_pieces_max) {
    return refuse(ErrorCode::kTooManyExtents);
  }
  file.extents = extents;
  Attributes& attributes = attributes_of(commit.inode);
  attributes.size_bytes = std::max(attributes.size_bytes, commit.size_bytes_min);
  attributes.mtime = commit.mtime;
  attributes.ctime = std::max(attributes.ctime, commit.ctime);
  result.data_version_before = attributes.data_version++;
  result.attributes = attributes;
  return result;
}

void FakeCluster::answer_question(const RpcRequest& request) {
  if (request.envelope.type == MessageType::kGetExtents) {
    get_extents(request);
  } else {
    get_attributes(request);
  }
}

void FakeCluster::get_extents(const RpcRequest& request) {
  const auto body = decode_body<GetExtentsRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  GetExtentsReply reply;
  reply.attributes = attributes_of(body->inode);
  const std::uint64_t begin = body->offset / kExtentWindowBytes * kExtentWindowBytes;
  reply.covered_end = (body->offset + body->length_bytes + kExtentWindowBytes - 1) /
                      kExtentWindowBytes * kExtentWindowBytes;
  reply.extents = files[body->inode].extents.find(begin, reply.covered_end);
  std::set<ChunkId> named;
  for (const Extent& extent : reply.extents) {
    if (named.insert(extent.chunk).second) {
      ChunkLocation location{extent.chunk, chunks[extent.chunk].nodes, {}};
      for (const NodeId node : location.nodes) {
        location.addresses.push_back(address_of(node));
      }
      reply.locations.push_back(location);
    }
  }
  master_->reply(request.reply_address(), reply);
}

void FakeCluster::get_attributes(const RpcRequest& request) {
  const auto body = decode_body<GetAttributesRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  if (files[body->inode].is_gone) {
    master_->fail(request.reply_address(), make_error(ErrorCode::kStale));
  } else {
    AttributesReply reply{attributes_of(body->inode)};
    reply.lease = attributes_lease;
    master_->reply(request.reply_address(), reply);
  }
}

void FakeCluster::take_write_lease(const RpcRequest& request) {
  const auto body = decode_body<TakeWriteLeaseRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  write_leases.push_back(*body);
  if (!is_silent_to_write_leases) {
    master_->reply(request.reply_address(),
                   TakeWriteLeaseReply{.attributes = attributes_of(body->inode),
                                       .lease = notice_,
                                       .epoch = 100 + write_leases.size()});
  }
}

// --- Chunkservers --------------------------------------------------------------------------------

void FakeCluster::append(RpcServer& server, const RpcRequest& request) {
  const auto body = decode_body<AppendRequest>(request.body);
  ASSERT_TRUE(body.has_value());
  if (on_append && on_append(*body, request.bulk)) {
    return;
  }
  server.reply(request.reply_address(), store(*body, request.bulk));
}

AppendReply FakeCluster::store(const AppendRequest& request, const Buffer& bulk) {
  AppendReply reply;
  const auto refuse = [&](ErrorCode code, NodeId node) {
    reply.outcome = static_cast<std::uint16_t>(code);
    reply.failed_node = node;
    return reply;
  };
  const auto at = chunks.find(request.chunk);
  if (at == chunks.end() || at->second.is_sealed) {
    return refuse(ErrorCode::kSealed, NodeId{});
  }
  FakeChunk& chunk = at->second;
  EXPECT_EQ(request.epoch, chunk.epoch);
  EXPECT_EQ(request.chain_nodes.size() + 1, chunk.nodes.size());
  for (const NodeId node : chunk.nodes) {
    if (const auto error = append_errors.find(node); error != append_errors.end()) {
      return refuse(error->second, node);
    }
  }
  const std::uint64_t end = request.chunk_offset + bulk.size();
  if (end > chunk.capacity_bytes) {
    ADD_FAILURE() << "an append beyond what was reserved";
  }
  if (request.chunk_offset > chunk.bytes.size()) {
    return refuse(ErrorCode::kWrongOffset, chunk.nodes.front());
  }
  check_blocks(request, bulk);
  appends.push_back(request);
  if (end > chunk.bytes.size()) {
    EXPECT_EQ(request.chunk_offset, chunk.bytes.size());
    chunk.bytes.append(bulk.text());
  }
  if (request.sync) {
    chunk.synced_bytes = std::max(chunk.synced_bytes, static_cast<std::uint32_t>(end));
  }
  reply.length_bytes = static_cast<std::uint32_t>(chunk.bytes.size());
  return reply;
}

void FakeCluster::check_blocks(const AppendRequest& request, const Buffer& bulk) {
  EXPECT_LE(bulk.size(), kAppendBytesMax);
  std::span<const std::byte> rest = bulk.bytes();
  std::uint32_t offset = request.chunk_offset;
  while (!rest.empty()) {
    const auto block = parse_block(rest);
    ASSERT_TRUE(block.has_value()) << block.error().detail;
    EXPECT_EQ(block->header.chunk, request.chunk);
    EXPECT_EQ(block->header.epoch, request.epoch);
    EXPECT_EQ(block->header.chunk_offset, offset);
    const std::uint32_t size = block_total_bytes(block->header.payload_bytes);
    offset += size;
    rest = rest.subspan(size);
  }
}

std::string FakeCluster::bytes_of(const Extent& extent) const {
  const FakeChunk& chunk = chunks.at(extent.chunk);
  const auto bytes = std::as_bytes(std::span(chunk.bytes)).subspan(extent.block_offset);
  const auto block = parse_block(bytes);
  EXPECT_TRUE(block.has_value());
  EXPECT_EQ(block->header.payload_bytes, extent.block_bytes);
  EXPECT_EQ(block->header.file_offset + extent.payload_offset, extent.file_offset);
  return std::string(reinterpret_cast<const char*>(block->payload.data()) + extent.payload_offset,
                     extent.length_bytes);
}

std::string FakeCluster::contents(InodeId inode) const {
  const auto at = files.find(inode);
  if (at == files.end()) {
    return {};
  }
  std::string text(at->second.attributes.size_bytes, '\0');
  for (const Extent& extent : at->second.extents.extents()) {
    text.replace(extent.file_offset, extent.length_bytes, bytes_of(extent));
  }
  return text;
}

}  // namespace dfs::client
