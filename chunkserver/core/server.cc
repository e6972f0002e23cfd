#include "chunkserver/core/server.h"

#include <algorithm>
#include <utility>

#include "common/assert.h"
#include "proto/codec.h"
#include "proto/limits.h"

namespace dfs::chunkserver {

namespace {

// A disk with so many unreadable places is not worth asking any more.
constexpr std::uint32_t kReadErrorsMax = 16;
constexpr std::size_t kDeletesPerTurn = 32;

}  // namespace

Server::Server(World world, Disk& disk, ServerOptions options)
    : world_(world),
      disk_(disk),
      options_(std::move(options)),
      incarnation_(world.random.next_u64() | 1),
      directories_(disk, world.random, world.log, options_.data_directories,
                   options_.reserve_bytes),
      store_(disk, directories_, world.log, options_.bounds),
      writer_(
          disk, store_,
          [this](std::size_t directory, const Error& error) { on_disk_error(directory, error); }),
      appends_(
          world, store_, writer_, options_.bounds,
          [this](std::size_t directory, const Error& error) { on_disk_error(directory, error); }),
      sealer_(
          disk, directories_, store_, writer_,
          {[this](std::size_t directory, const Error& error) { on_disk_error(directory, error); },
           [this](ChunkId chunk) { appends_.recheck_held(chunk); }}),
      reader_(store_, options_.bounds,
              {[this](const ReplicaPtr& replica, const std::string& what) {
                 mark_damaged(replica, what);
               },
               [this](const ReplicaPtr& replica) { verifier_.verify(replica->chunk, nullptr); },
               [this](const ReplicaPtr& replica, const Error& error) {
                 on_read_error(replica, error);
               }}),
      verifier_(store_, options_.bounds,
                {[this](const ReplicaPtr& replica, const std::string& what) {
                   mark_damaged(replica, what);
                 },
                 [this](const ReplicaPtr& replica, const Error& error) {
                   on_read_error(replica, error);
                 }}),
      shortages_(world.log, world.scheduler),
      read_error_counts_(options_.data_directories.size(), 0),
      probe_timer_(world.scheduler),
      stop_timer_(world.scheduler) {
  directories_.on_failed([this](std::size_t directory, const Error& error) {
    // Whoever found out may be in the middle of something with a replica.
    world_.scheduler.post(
        alive_.guard([this, directory, error] { drop_failed_directory(directory, error); }));
  });
}

Server::~Server() = default;

void Server::start(std::function<void(Status)> done) {
  DFS_ASSERT(!rpc_ && !is_stopping_);
  auto opened = directories_.open();
  if (!opened) {
    done(std::move(opened).error());
    return;
  }
  auto scanned = store_.scan();
  if (!scanned) {
    done(std::move(scanned));
    return;
  }
  if (directories_.usable_count() == 0) {
    done(make_error(ErrorCode::kIo, "no data directory can be read"));
    return;
  }
  sync_names([this, done = std::move(done)] {
    auto listening = listen();
    if (listening) {
      world_.log.info("Serving. address=" + address() +
                      " replicas=" + std::to_string(store_.size()) +
                      " node_uuid=" + directories_.identity().node_uuid);
      reporter_->start();
      probe_timer_.start(options_.bounds.probe_interval, [this] { probe_directories(); });
    }
    done(std::move(listening));
  });
}

// The folders were made just now, or by a start that was cut short: their names must be there after
// a power loss, or those of the chunks in them are worth nothing.
void Server::sync_names(std::function<void()> done) {
  auto left = std::make_shared<std::size_t>(1);
  auto finish = alive_.guard([left, done = std::move(done)] {
    if (--*left == 0) {
      done();
    }
  });
  for (std::size_t i = 0; i < directories_.count(); ++i) {
    if (!directories_.is_usable(i)) {
      continue;
    }
    for (const std::string& path : {directories_.path(i), directories_.chunks_path(i)}) {
      ++*left;
      disk_.sync_directory(path, alive_.guard([this, i, finish](const Status& synced) {
        if (!synced) {
          on_disk_error(i, synced.error());
        }
        finish();
      }));
    }
  }
  world_.scheduler.post(finish);
}

Status Server::listen() {
  DFS_TRY(rpc_, RpcServer::create(world_, options_.listen, incarnation_,
                                  [this](const RpcRequest& request) { handle(request); }));
  rpc_->set_cluster(cluster_tag(directories_.identity().cluster_id));
  MasterReporter::Settings settings{options_.master, advertised_address(), options_.zone,
                                    incarnation_};
  MasterReporter::Hooks hooks;
  hooks.load = [this] { return load(); };
  hooks.on_registered = [this](NodeId node) {
    node_ = node;
    const ClusterTag cluster = cluster_tag(directories_.identity().cluster_id);
    rpc_->set_cluster(cluster);
    appends_.set_identity(node, cluster);
  };
  hooks.delete_unknown = [this](std::vector<ChunkId> chunks) {
    world_.log.info("Deleting replicas the master does not know. count=" +
                    std::to_string(chunks.size()) + " first=" + chunk_text(chunks.front()));
    delete_chunks(std::make_shared<const std::vector<ChunkId>>(std::move(chunks)), 0, [] {});
  };
  hooks.on_fatal = [this](const Error& error) {
    world_.log.error("Cannot go on. " + error.detail);
    reporter_->stop();
    if (fatal_handler_) {
      world_.scheduler.post(alive_.guard([this, error] { fatal_handler_(error); }));
    }
  };
  reporter_ = std::make_unique<MasterReporter>(world_, std::move(settings), directories_, store_,
                                               std::move(hooks));
  return ok();
}

Address Server::advertised_address() const {
  const std::string listening = rpc_->address();
  if (options_.advertise.empty()) {
    return listening;
  }
  const std::string any_port = ":0";
  const std::size_t colon = options_.advertise.size() - any_port.size();
  if (options_.advertise.size() > any_port.size() &&
      options_.advertise.compare(colon, any_port.size(), any_port) == 0) {
    return options_.advertise.substr(0, colon) + listening.substr(listening.rfind(':'));
  }
  return options_.advertise;
}

void Server::stop(std::function<void()> done) {
  DFS_ASSERT(!is_stopping_);
  is_stopping_ = true;
  probe_timer_.stop();
  if (reporter_) {
    reporter_->stop();
  }
  struct Stopping {
    std::size_t left = 1;
    std::function<void()> done;
  };
  auto stopping = std::make_shared<Stopping>();
  stopping->done = std::move(done);
  const auto finish = alive_.guard([this, stopping](const Status&) {
    if (--stopping->left == 0) {
      stop_timer_.stop();
      world_.scheduler.post(stopping->done);
    }
  });
  for (const ReplicaPtr& replica : store_.open_replicas()) {
    const OpenState& open = *replica->open;
    if (open.file && !open.broken && open.synced_end < open.accepted_end) {
      ++stopping->left;
      writer_.wait(replica, {open.accepted_end, true, finish});
    }
  }
  stop_timer_.start(options_.bounds.stop_time, [this, stopping] {
    world_.log.warning("Stopping although writes or syncs are still in progress.");
    stopping->left = 0;
    stopping->done();
  });
  finish(ok());
}

Address Server::address() const {
  DFS_ASSERT(rpc_);
  return rpc_->address();
}

void Server::handle(const RpcRequest& request) {
  const ReplyAddress from = request.reply_address();
  if (is_stopping_) {
    rpc_->fail(from, make_error(ErrorCode::kUnavailable, "the chunkserver is stopping"));
    return;
  }
  switch (request.envelope.type) {
    case MessageType::kAppend: return decode_and(request, &Server::handle_append);
    case MessageType::kRead: return decode_and(request, &Server::handle_read);
    case MessageType::kFenceReplica: return decode_and(request, &Server::handle_fence);
    case MessageType::kSealReplica: return decode_and(request, &Server::handle_seal);
    case MessageType::kDeleteReplicas: return decode_and(request, &Server::handle_delete);
    case MessageType::kListReplicas: return decode_and(request, &Server::handle_list);
    case MessageType::kVerifyReplica: return decode_and(request, &Server::handle_verify);
    default:
      rpc_->fail(from,
                 make_error(ErrorCode::kNotSupported, "not a request that a chunkserver answers"));
  }
}

template <class Request>
void Server::decode_and(const RpcRequest& request,
                        void (Server::*handler)(const ReplyAddress&, Request, Buffer bulk)) {
  auto body = decode_body<Request>(request.body);
  if (!body) {
    rpc_->fail(request.reply_address(), body.error());
    return;
  }
  (this->*handler)(request.reply_address(), std::move(*body), request.bulk);
}

void Server::handle_append(const ReplyAddress& from, AppendRequest request, Buffer bulk) {
  if (directories_.identity().cluster_id.empty()) {
    rpc_->fail(from, make_error(ErrorCode::kBusy, "no master has told this server its cluster"));
    return;
  }
  appends_.append(std::move(request), std::move(bulk),
                  [this, from](const Result<AppendReply>& reply) {
                    if (reply) {
                      rpc_->reply(from, *reply);
                    } else {
                      rpc_->fail(from, reply.error());
                    }
                  });
}

void Server::handle_read(const ReplyAddress& from, ReadRequest request, Buffer) {
  reader_.read(request, [this, from](Result<Reader::Answer> answer) {
    if (answer) {
      rpc_->reply(from, answer->reply, std::move(answer->bulk));
    } else {
      rpc_->fail(from, answer.error());
    }
  });
}

void Server::handle_fence(const ReplyAddress& from, FenceReplicaRequest request, Buffer) {
  sealer_.fence(request.chunk, request.epoch, [this, from](const Result<ReplicaInfo>& replica) {
    if (replica) {
      rpc_->reply(from, FenceReplicaReply{*replica});
    } else {
      rpc_->fail(from, replica.error());
    }
  });
}

void Server::handle_seal(const ReplyAddress& from, SealReplicaRequest request, Buffer) {
  sealer_.seal(request, [this, from](const Status& sealed) {
    if (sealed) {
      rpc_->reply(from, EmptyReply{});
    } else {
      rpc_->fail(from, sealed.error());
    }
  });
}

void Server::handle_delete(const ReplyAddress& from, DeleteReplicasRequest request, Buffer) {
  delete_chunks(std::make_shared<const std::vector<ChunkId>>(std::move(request.chunks)), 0,
                [this, from] { rpc_->reply(from, EmptyReply{}); });
}

// Removing files blocks; a long list gives way to other work, pings not least, in between.
void Server::delete_chunks(std::shared_ptr<const std::vector<ChunkId>> chunks, std::size_t at,
                           std::function<void()> done) {
  const std::size_t end = std::min(chunks->size(), at + kDeletesPerTurn);
  for (; at < end; ++at) {
    sealer_.remove((*chunks)[at]);
  }
  if (at == chunks->size()) {
    reporter_->space_changed();
    done();
    return;
  }
  world_.scheduler.post(
      alive_.guard([this, chunks, at, done] { delete_chunks(chunks, at, done); }));
}

void Server::handle_list(const ReplyAddress& from, ListReplicasRequest request, Buffer) {
  constexpr std::uint32_t kPageReplicasMax = 4096;
  const std::uint32_t wanted = request.replicas_max;
  const std::uint32_t page = wanted == 0 || wanted > kPageReplicasMax ? kPageReplicasMax : wanted;
  ListReplicasReply reply;
  reply.replicas = store_.page(request.after, page);
  reply.end = reply.replicas.size() < page;
  rpc_->reply(from, reply);
}

void Server::handle_verify(const ReplyAddress& from, VerifyReplicaRequest request, Buffer) {
  verifier_.verify(request.chunk, [this, from](const Result<VerifyReplicaReply>& reply) {
    if (reply) {
      rpc_->reply(from, *reply);
    } else {
      rpc_->fail(from, reply.error());
    }
  });
}

void Server::on_disk_error(std::size_t directory, const Error& error) {
  if (is_directory_failure(error.code)) {
    directories_.fail(directory, error);
  } else if (is_shortage(error.code)) {
    shortages_.warning("A disk operation failed, not for the disk. reason=" + error.detail);
  } else if (error.code == ErrorCode::kNotFound) {
    world_.scheduler.post(alive_.guard([this, directory] { probe(directory); }));
  }
}

// One bad place of a disk costs one replica; the probe tells whether it is more than that.
void Server::on_read_error(const ReplicaPtr& replica, const Error& error) {
  if (replica->gone) {
    return;
  }
  const std::size_t directory = replica->directory;
  if (is_shortage(error.code)) {
    on_disk_error(directory, error);
    return;
  }
  if (error.code == ErrorCode::kNotFound) {
    world_.log.error("A replica's file is gone. chunk=" + chunk_text(replica->chunk));
    store_.drop(replica);
    writer_.abandon(replica, error);
    reporter_->report_lost({replica->chunk});
  } else {
    mark_damaged(replica, error.detail);
    if (++read_error_counts_[directory] >= kReadErrorsMax) {
      directories_.fail(directory, error);
      return;
    }
  }
  world_.scheduler.post(alive_.guard([this, directory] { probe(directory); }));
}

void Server::mark_damaged(const ReplicaPtr& replica, const std::string& what) {
  if (replica->damaged || replica->gone) {
    return;
  }
  replica->damaged = true;
  world_.log.error("Damaged replica. chunk=" + chunk_text(replica->chunk) +
                   " directory=" + directories_.path(replica->directory) + " what=" + what);
  reporter_->report_damaged(replica->chunk);
}

void Server::drop_failed_directory(std::size_t directory, const Error& error) {
  std::vector<ChunkId> lost;
  for (const ReplicaPtr& replica : store_.drop_directory(directory)) {
    lost.push_back(replica->chunk);
    writer_.abandon(replica, error);
    appends_.recheck_held(replica->chunk);
  }
  if (reporter_) {
    reporter_->report_lost(lost);
    reporter_->heartbeat_soon();
  }
}

void Server::probe_directories() {
  for (std::size_t i = 0; i < directories_.count(); ++i) {
    probe(i);
  }
  probe_timer_.start(options_.bounds.probe_interval, [this] { probe_directories(); });
}

void Server::probe(std::size_t directory) {
  if (!directories_.is_usable(directory)) {
    return;
  }
  auto probed = directories_.probe(directory);
  if (!probed && is_shortage(probed.code())) {
    on_disk_error(directory, probed.error());
  } else if (!probed) {
    directories_.fail(directory, probed.error());
  }
}

std::uint32_t Server::load() const {
  return static_cast<std::uint32_t>(appends_.in_progress_count() + reader_.in_progress_count() +
                                    verifier_.in_progress_count());
}

}  // namespace dfs::chunkserver
