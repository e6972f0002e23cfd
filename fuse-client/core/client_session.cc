// Start, stop, interruption and what runs in the background.
#include <algorithm>

#include "fuse-client/core/client_impl.h"

namespace dfs::client {
namespace {

constexpr std::chrono::seconds kSealWait{2};
constexpr std::chrono::seconds kSessionCloseWait{3};  // as MasterLink::stop gives up
static_assert(kSealWait + kSessionCloseWait <= kCloseLimit);

}  // namespace

Client::Impl::Impl(World world, ClientOptions options, ClientEvents events)
    : world_(world),
      options_(std::move(options)),
      events_(std::move(events)),
      memory_(options_.memory_bytes),
      master_(world, options_.master, options_.name),
      locks_(world, master_),
      chunkservers_(world),
      inodes_(world.scheduler, InodeCacheLimits{},
              [this](InodeId inode) {
                if (events_.invalidate_contents) {
                  events_.invalidate_contents(inode);
                }
              }),
      cached_blocks_(memory_),
      blocks_(world, chunkservers_, memory_, cached_blocks_,
              {.locate = [this](ChunkId chunk) { return inodes_.location(chunk); },
               .bad_replica =
                   [this](ChunkId chunk, NodeId node, std::uint32_t offset, ErrorCode code) {
                     ReportBadReplicaRequest request;
                     request.chunk = chunk;
                     request.node = node;
                     request.block_offset = offset;
                     request.failure = static_cast<std::uint16_t>(code);
                     master_.call(request, [](Result<EmptyReply>) {});
                   }}),
      write_back_(
          world, master_, chunkservers_, memory_,
          {.flush_age = options_.flush_age, .write_wait = options_.write_wait},
          {.committed =
               [this](InodeId, const std::vector<Extent>& extents, const FileCommitResult& result,
                      const std::vector<ChunkLocation>& locations) {
                 inodes_.learn_commit(result, extents, locations);
               },
           .read_committed =
               [this](InodeId inode, std::uint64_t offset, std::uint64_t length_bytes,
                      Done<std::vector<DirtyRange>> done) {
                 reader_.read_committed(inode, offset, length_bytes, std::move(done));
               }}),
      reader_(world, master_, write_back_, inodes_, blocks_, options_.write_wait),
      revalidate_timer_(world.scheduler) {
  // After a power loss of the master its answers may be older than what it said before.
  master_.on_master_restart([this] {
    inodes_.expire_all();
    locks_.master_restarted();
  });
  master_.on_lost_change([this](const std::vector<InodeId>& inodes) {
    lost_changes_.insert(inodes.begin(), inodes.end());
  });
}

void Client::Impl::start(Done<Unit> done) {
  master_.start(options_.connect_wait, [this, done = std::move(done)](Result<Unit> started) {
    if (started) {
      schedule_revalidation();
    }
    done(std::move(started));
  });
}

void Client::Impl::stop(Done<Unit> done) {
  revalidate_timer_.stop();
  write_back_.flush_all(true, [this, done = std::move(done)](Result<Unit> flushed) {
    close([flushed = std::move(flushed), done](Result<Unit>) { done(flushed); });
  });
}

void Client::Impl::close(Done<Unit> done) {
  revalidate_timer_.stop();
  if (!master_.is_up() || !unwritten().is_empty()) {
    close_session(std::move(done));  // its end seals the chunks
    return;
  }
  auto go_on = std::make_shared<Task>([this, done = std::move(done)] { close_session(done); });
  auto once = [go_on] {
    if (const Task task = std::exchange(*go_on, nullptr)) {
      task();
    }
  };
  // What sealing says is of no use any more, and dead servers would be waited for: the end of the
  // session seals what is left.
  world_.scheduler.run_after(kSealWait, lifetime_.guard(once));
  write_back_.seal_all([this, once](Result<Unit>) {
    sync_metadata(OperationId{}, [once](Result<Unit>) { once(); });
  });
}

void Client::Impl::close_session(Done<Unit> done) {
  if (master_.is_up()) {
    master_.stop(std::move(done));
    return;
  }
  world_.log.warning("The master does not answer: the session ends by time-out. session=" +
                     std::to_string(master_.session().value));
  answer_later<Unit>(std::move(done), ok());
}

OperationId Client::Impl::settle(Duration wait, const Done<Unwritten>& done) {
  const OperationId id = begin();
  auto is_late = std::make_shared<bool>(false);
  const auto answer = abandonable<Unit>(id, [this, is_late, done](Result<Unit> settled) {
    if (settled) {
      // In time, what was written since the call does not matter.
      done(*is_late ? unwritten() : Unwritten{});
    } else {
      done(std::move(settled).error());
    }
  });
  world_.scheduler.run_after(wait, lifetime_.guard([is_late, answer] {
    *is_late = true;
    answer(ok());
  }));
  write_back_.flush_all(false, [this, id, answer](Result<Unit> flushed) {
    if (!flushed || !interrupts_.contains(id)) {
      answer(std::move(flushed));
      return;
    }
    const Duration sync_wait = master_.is_up() ? Duration(kSettleSyncWait) : Duration::zero();
    world_.scheduler.run_after(sync_wait, lifetime_.guard([this, id, answer] {
      if (interrupts_.contains(id)) {
        world_.log.warning(
            "The master does not say that the latest names are on stable storage; they are lost if "
            "its power fails now.");
      }
      answer(ok());
    }));
    sync_metadata(OperationId{}, answer);
  });
  return id;
}

void Client::Impl::interrupt(OperationId operation) {
  const auto place = interrupts_.find(operation);
  if (place != interrupts_.end()) {
    // A copy: what it calls may end the operation.
    const auto interrupt_step = place->second;
    interrupt_step();
  }
}

void Client::Impl::forget(InodeId inode) { inodes_.forget(inode); }

ClientUsage Client::Impl::usage() const {
  return {.dirty_bytes = memory_.used(MemoryBudget::Use::kDirty),
          .cached_bytes = memory_.used(MemoryBudget::Use::kCache),
          .in_flight_bytes = memory_.used(MemoryBudget::Use::kInFlight)};
}

Unwritten Client::Impl::unwritten() const {
  Unwritten unwritten = write_back_.unwritten();
  unwritten.master_answers = master_.is_up();
  return unwritten;
}

// --- Revalidation --------------------------------------------------------------------------------

void Client::Impl::schedule_revalidation() {
  revalidate_timer_.start(kRevalidateInterval, [this] {
    revalidate();
    schedule_revalidation();
  });
}

void Client::Impl::revalidate() {
  if (!master_.is_up()) {
    return;  // questions would pile up; the answer to each would be the same
  }
  RevalidateRequest request;
  const auto send = [this, &request] {
    const MonoTime sent_at = world_.scheduler.now();
    master_.call(request, [this, request, sent_at](Result<RevalidateReply> reply) {
      revalidated(request, reply, sent_at);
    });
    request = RevalidateRequest{};
  };
  for (const auto& [inode, open] : open_inodes_) {
    const Attributes* known = inodes_.attributes(inode);
    // While this client writes it, its own commits would look like another's changes.
    if (known == nullptr || write_back_.dirty_attributes(inode)) {
      continue;
    }
    request.inodes.push_back(inode);
    request.data_versions.push_back(known->data_version);
    if (request.inodes.size() == kRevalidateInodesMax) {
      send();
    }
  }
  if (!request.inodes.empty()) {
    send();
  }
}

void Client::Impl::revalidated(const RevalidateRequest& asked, const Result<RevalidateReply>& reply,
                               MonoTime sent_at) {
  if (!reply) {
    return;  // what is cached goes out of date by itself
  }
  for (const InodeId inode : reply->gone) {
    inodes_.erase(inode);
  }
  std::vector<InodeId> changed = reply->gone;
  for (const Attributes& attributes : reply->changed) {
    changed.push_back(attributes.inode);
    inodes_.learn(attributes, sent_at);
  }
  std::sort(changed.begin(), changed.end());
  for (std::size_t i = 0; i < asked.inodes.size(); ++i) {
    if (!std::binary_search(changed.begin(), changed.end(), asked.inodes[i])) {
      inodes_.confirm(asked.inodes[i], asked.data_versions[i], sent_at);
    }
  }
}

}  // namespace dfs::client
