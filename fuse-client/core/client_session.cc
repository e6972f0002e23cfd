// Start, stop, interruption and what runs in the background.
#include <algorithm>

#include "fuse-client/core/client_impl.h"

namespace dfs::client {
namespace {

constexpr std::chrono::seconds kSealWait{2};
// What is buffered shows in attributes before the master knows; blocks and times are exact only
// then.
constexpr std::chrono::seconds kDirtyAttributesTime{1};
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
      chunkservers_(world, kChunkLinksMax),
      inodes_(world.scheduler, master_.leases().term(), InodeCacheLimits{},
              {.changed =
                   [this](InodeId inode) {
                     if (events_.invalidate_contents) {
                       events_.invalidate_contents(inode);
                     }
                   },
               .is_in_kernel =
                   [this](InodeId inode) { return events_.is_known && events_.is_known(inode); },
               .lease_left = [this](InodeId inode) { names_.forget(inode); }}),
      names_(world.scheduler),
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
      write_leases_(
          world, master_, inodes_,
          {.is_dirty =
               [this](InodeId inode) { return write_back_.dirty_attributes(inode).has_value(); },
           .taken = [this](InodeId inode) { write_back_.lease_taken(inode); },
           .settled = [this](InodeId) { write_back_.lease_settled(); },
           .is_open = [this](InodeId inode) { return open_inodes_.contains(inode); },
           .refused = [this](InodeId inode,
                             const Error& error) { write_back_.lease_refused(inode, error); }}),
      write_back_(world, master_, chunkservers_, memory_,
                  {.flush_age = options_.flush_age, .write_wait = options_.write_wait},
                  write_back_events()),
      lease_settler_(world.scheduler, events_, inodes_, names_, own_changes_, write_leases_,
                     write_back_),
      reader_(
          world, master_, write_back_, inodes_, lease_settler_,
          [this](InodeId inode) { return may_answer(inode); }, blocks_, options_.write_wait),
      waits_timer_(world.scheduler) {
  master_.set_sessions(options_.dead_sessions, events_.has_session);
  master_.on_tell([this](KeepAliveRequest& request) { tell_waits(request); });
  master_.on_must_tell([this] { locks_.tell_all(); });
  master_.leases().on_events(
      {.kept =
           [this] {
             return std::vector<InodeId>(inodes_.leases().begin(), inodes_.leases().end());
           },
       .written = [this] { return write_leases_.held(); },
       .drop =
           [this](const std::vector<LeaseChange>& changes, NoticeOutcome outcome) {
             lease_settler_.give_back(changes, std::move(outcome));
           },
       .doubt =
           [this](std::vector<LeaseChange> changes) {
             return lease_settler_.doubt(std::move(changes));
           },
       .lost =
           [this] {
             write_leases_.note_versions();
             inodes_.end_all_leases();
             names_.clear();
           }});
  master_.on_lost_change([this](const std::vector<InodeId>& inodes) {
    lost_changes_.insert(inodes.begin(), inodes.end());
  });
}

void Client::Impl::start(Done<Unit> done) {
  master_.start(options_.connect_wait, [this, done = std::move(done)](Result<Unit> started) {
    chunkservers_.set_cluster(cluster_tag(master_.cluster_id()));
    done(std::move(started));
  });
}

void Client::Impl::stop(Done<Unit> done) {
  write_back_.flush_all(true, [this, done = std::move(done)](Result<Unit> flushed) {
    close([flushed = std::move(flushed), done](Result<Unit>) { done(flushed); });
  });
}

void Client::Impl::close(Done<Unit> done) {
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
  const OperationId id = begin("unmount", InodeId{});
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
    if (!flushed || !operations_.contains(id)) {
      answer(std::move(flushed));
      return;
    }
    const Duration sync_wait = master_.is_up() ? Duration(kSettleSyncWait) : Duration::zero();
    world_.scheduler.run_after(sync_wait, lifetime_.guard([this, id, answer] {
      if (operations_.contains(id)) {
        world_.log.warning(
            "The master does not say that the latest names are on stable storage; they are lost if "
            "its power fails now.");
      }
      answer(ok());
    }));
    sync_metadata(OperationId{}, [answer](const Result<Unit>& synced) {
      // The master there is may have nothing of this client's.
      const bool has_failed = !synced && synced.error().code != ErrorCode::kWrongCluster;
      answer(has_failed ? synced : ok());
    });
  });
  return id;
}

void Client::Impl::interrupt(OperationId operation) {
  const auto place = operations_.find(operation);
  if (place != operations_.end() && place->second.interrupt) {
    // A copy: what it calls may end the operation.
    const auto interrupt_step = place->second.interrupt;
    interrupt_step();
  }
}

void Client::Impl::forget(InodeId inode) { inodes_.forget(inode); }

ClientUsage Client::Impl::usage() const {
  return {.dirty_bytes = memory_.used(MemoryBudget::Use::kDirty),
          .cached_bytes = memory_.used(MemoryBudget::Use::kCache),
          .in_flight_bytes = memory_.used(MemoryBudget::Use::kInFlight),
          .waiting_bytes = waiting_bytes()};
}

Unwritten Client::Impl::unwritten() const {
  Unwritten unwritten = write_back_.unwritten();
  unwritten.master_answers = master_.is_up();
  return unwritten;
}

// --- Leases --------------------------------------------------------------------------------------

WriteBackEvents Client::Impl::write_back_events() {
  WriteBackEvents events;
  events.committed = [this](InodeId, const std::vector<Extent>& extents,
                            const FileCommitResult& result,
                            const std::vector<ChunkLocation>& locations) {
    inodes_.learn_commit(result, extents, locations,
                         master_.leases().told(MonoTime{}, result.lease).is_leased);
  };
  events.read_committed = [this](InodeId inode, std::uint64_t offset, std::uint64_t length_bytes,
                                 Done<std::vector<DirtyRange>> done) {
    reader_.read_committed(inode, offset, length_bytes, std::move(done));
  };
  events.may_write = [this](InodeId inode, const WritePlace& place) {
    const bool may = place.is_written_back ? write_leases_.may_write_back(inode)
                                           : write_leases_.may_write(inode);
    return may && (place.offset.has_value() || inodes_.is_fresh(inode));
  };
  events.write_epoch = [this](InodeId inode) { return write_leases_.epoch(inode); };
  events.lease_asked = [this](InodeId inode) { return write_leases_.asked(inode); };
  events.want_lease = [this](InodeId inode) { write_leases_.want(inode); };
  events.written_back = [this](InodeId inode) { write_leases_.written_back(inode); };
  events.lease_lost = [this](InodeId inode) { write_leases_.lost(inode); };
  events.size_of = [this](InodeId inode) { return inodes_.attributes(inode)->size_bytes; };
  events.begins_last = [this](InodeId inode) { return begin_last_commit(inode); };
  events.is_open = [this](InodeId inode) { return open_inodes_.contains(inode); };
  events.cleaned = [this](InodeId inode) {
    if (!open_inodes_.contains(inode)) {
      write_leases_.release_soon(inode);
    }
  };
  events.last_answered = [this](InodeId inode, bool is_over) {
    write_leases_.end_settling(inode, is_over);
  };
  return events;
}

// Others need not ask for a file that nobody writes any more.
bool Client::Impl::begin_last_commit(InodeId inode) {
  if (open_inodes_.contains(inode) || !write_leases_.may_write(inode)) {
    return false;
  }
  write_leases_.begin_settling(inode);
  return true;
}

// A name that is not known may stand for any inode.
ConcernedByChange Client::Impl::concerned_by(const std::vector<LeaseChange>& changes,
                                             bool changes_named) {
  ConcernedByChange concerned;
  for (const LeaseChange& change : changes) {
    concerned.inodes.push_back(change.inode);
    for (const std::string& name : change.names) {
      concerned.names.emplace_back(change.inode, name);
      if (!changes_named) {
        continue;
      }
      const auto [answer, inode] = names_.find(change.inode, name);
      if (answer == NameCache::Answer::kPresent) {
        concerned.inodes.push_back(inode);
      }
      concerned.any_inode = concerned.any_inode || answer == NameCache::Answer::kUnknown;
    }
  }
  return concerned;
}

std::optional<Attributes> Client::Impl::kept_attributes(InodeId inode) const {
  if (!may_answer(inode)) {
    return std::nullopt;
  }
  return merged(*inodes_.attributes(inode));
}

Duration Client::Impl::attributes_keep_for(InodeId inode) const {
  if (!may_answer(inode)) {
    return Duration::zero();
  }
  const Duration left = master_.leases().term().left();
  const bool will_change = write_back_.dirty_attributes(inode) || accesses_.contains(inode);
  return will_change ? std::min<Duration>(left, kDirtyAttributesTime) : left;
}

// Whoever uses a name goes by the owner that is told with it, and asks for no other. So that is to
// be the one there is, and this client is to hear of the next.
Duration Client::Impl::name_keeps_for(InodeId parent, const std::string& name,
                                      const Attributes& told) {
  const auto [answer, inode] = names_.find(parent, name);
  const bool is_kept = answer == NameCache::Answer::kPresent && inode == told.inode &&
                       !own_changes_.concern(parent, name);
  const Attributes* known = inodes_.attributes(told.inode);
  const bool is_owner_known =
      inodes_.is_fresh(told.inode) && known->uid == told.uid && known->gid == told.gid;
  return is_kept && is_owner_known ? master_.leases().term().left() : Duration::zero();
}

}  // namespace dfs::client
