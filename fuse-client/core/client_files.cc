// Open files.
#include <algorithm>

#include "fuse-client/core/client_impl.h"
#include "proto/limits.h"

namespace dfs::client {
namespace {

// Of extents asked for together: what a read needs, or what a sequential reader needs soon.
constexpr std::uint32_t kWindowsAheadRandom = 1;
constexpr std::uint32_t kWindowsAheadSequential = 16;

}  // namespace

// --- Open and release ----------------------------------------------------------------------------

void Client::Impl::hold(InodeId inode) {
  ++open_inodes_[inode].count;
  inodes_.hold(inode);
}

void Client::Impl::unhold(InodeId inode) {
  const auto open = open_inodes_.find(inode);
  DFS_ASSERT(open != open_inodes_.end() && open->second.count > 0);
  master_.unpin(inode);
  inodes_.release(inode);
  if (--open->second.count > 0) {
    return;
  }
  if (open->second.is_unlinked || open->second.is_unnamed) {
    write_back_.discard(inode);
    inodes_.erase(inode);
    write_leases_.forget(inode);
  }
  open_inodes_.erase(open);
  write_leases_.closed(inode);
  write_back_.forget(inode);
}

OperationId Client::Impl::create(CreateRequest request, OpenFlags flags, Done<OpenedFile> done) {
  if (refuses_changes()) {
    return answer_later<OpenedFile>(std::move(done), make_error(ErrorCode::kReadOnly));
  }
  request.pin = true;
  const OperationId id = begin("create", request.parent);
  const std::uint64_t mark = master_.pin_mark();
  ask(id, request,
      [this, id, mark, flags, parent = request.parent, name = request.name,
       is_unnamed = request.is_unnamed,
       done = tracked(id, std::move(done))](auto reply, MonoTime sent_at) {
        if (!reply) {
          doubt_names(parent, reply.code());
          done(error_in(parent, std::move(reply).error()));
          return;
        }
        const InodeId inode = reply->attributes.inode;
        const bool is_sure = master_.pin_created(inode, mark);
        hold(inode);
        if (is_unnamed) {
          open_inodes_.at(inode).is_unnamed = true;
          inodes_.learn_entry(*reply, master_.leases().told(sent_at, reply->lease));
        } else {
          learn_name(parent, name, *reply, sent_at);
        }
        if (reply->write_epoch != 0 && master_.leases().told(sent_at, reply->lease).is_leased) {
          write_leases_.granted(inode, reply->write_epoch);
        }
        const auto go_on = [this, flags, done](const Attributes& attributes) {
          done(add_handle(attributes, flags));
        };
        if (is_sure) {
          go_on(current(reply->attributes));
          return;
        }
        const auto found = [this, inode, go_on, done](Result<Attributes> now) {
          if (now) {
            go_on(*now);
          } else {
            unhold(inode);
            done(std::move(now).error());
          }
        };
        fetch_attributes(id, inode, found, true);
      });
  return id;
}

OperationId Client::Impl::open(InodeId inode, OpenFlags flags, Done<OpenedFile> done) {
  if (refuses_changes() && (flags.write || flags.truncate)) {
    return answer_later<OpenedFile>(std::move(done), make_error(ErrorCode::kReadOnly));
  }
  master_.pin(inode);
  hold(inode);
  const bool is_ready = may_answer(inode);
  if (is_ready) {
    const Attributes attributes = merged(*inodes_.attributes(inode));
    if (!flags.truncate) {
      return answer_later<OpenedFile>(std::move(done), add_handle(attributes, flags));
    }
  }
  const OperationId id = begin("open", inode);
  auto finished = tracked(id, std::move(done));
  if (is_ready) {
    finish_open(id, merged(*inodes_.attributes(inode)), flags, finished);
    return id;
  }
  refresh_for_open(id, inode, flags,
                   [this, id, inode, flags, finished](Result<Attributes> attributes) {
                     if (!attributes) {
                       unhold(inode);
                       finished(std::move(attributes).error());
                       return;
                     }
                     finish_open(id, *attributes, flags, finished);
                   });
  return id;
}

void Client::Impl::refresh_for_open(OperationId id, InodeId inode, OpenFlags flags,
                                    Done<Attributes> done) {
  const Attributes* known = inodes_.attributes(inode);
  const bool will_read = known != nullptr && known->is_regular() && !flags.write;
  // An own change that removes the file may have been sent before it was pinned.
  const bool after_pins = own_changes_.concern(inode);
  if (!will_read) {
    fetch_decided(id, inode, done, after_pins);
    return;
  }
  // The same question with the first extents in its answer: the read that follows needs them.
  GetExtentsRequest request;
  request.inode = inode;
  request.length_bytes = kExtentWindowBytes;
  const auto answered = [this, id, inode, flags, done = std::move(done)](auto reply,
                                                                         MonoTime sent_at) {
    if (!reply) {
      done(std::move(reply).error());
      return;
    }
    Status learned = inodes_.learn_extents(*reply, 0, master_.leases().told(sent_at, reply->lease));
    if (!learned) {
      done(std::move(learned).error());
      return;
    }
    if (!waits_for_cut(id, inode, done, [this, id, inode, flags, done] {
          refresh_for_open(id, inode, flags, done);
        })) {
      done(current(reply->attributes));
    }
  };
  ask(id, request, answered, after_pins);
}

void Client::Impl::finish_open(OperationId id, const Attributes& attributes, OpenFlags flags,
                               Done<OpenedFile> done) {
  if (!flags.truncate) {
    done(add_handle(attributes, flags));
    return;
  }
  AttributeChange change;
  change.inode = attributes.inode;
  change.size_bytes = 0;  // an empty file, too, has been changed now
  change.clear_set_id = flags.clear_set_id;
  change_when_settled(id, change,
                      [this, inode = attributes.inode, flags, done](Result<Attributes> truncated) {
                        if (!truncated) {
                          unhold(inode);
                          done(std::move(truncated).error());
                          return;
                        }
                        done(add_handle(*truncated, flags));
                      });
}

OpenedFile Client::Impl::add_handle(const Attributes& attributes, OpenFlags flags) {
  const InodeId inode = attributes.inode;
  const HandleId id{next_handle_++};
  // Much more than a quarter of the memory would push out what it has just brought.
  const std::uint64_t window_max = std::min(kReadAheadMax, options_.memory_bytes / 16);
  handles_.emplace(id, Handle{.inode = inode,
                              .policy = attributes.policy,
                              .lost_writes_told = write_back_.lost_writes(inode),
                              .read_ahead = ReadAhead(window_max),
                              .notes_access = !flags.no_atime});
  OpenedFile opened;
  opened.handle = id;
  opened.attributes = attributes;
  opened.keep_cache = inodes_.attributes(inode) != nullptr && inodes_.pages_are_current(inode);
  return opened;
}

void Client::Impl::release(HandleId handle) {
  const auto place = handles_.find(handle);
  DFS_ASSERT(place != handles_.end());
  const InodeId inode = place->second.inode;
  handles_.erase(place);
  locks_.handle_released(inode, handle);
  unhold(inode);
}

// --- Read and write ------------------------------------------------------------------------------

OperationId Client::Impl::read(HandleId handle, std::uint64_t offset, std::uint32_t size_bytes,
                               Done<std::vector<Buffer>> done) {
  Handle& file = handles_.at(handle);
  if (offset >= kFileBytesMax || size_bytes == 0) {
    return answer_later<std::vector<Buffer>>(std::move(done), std::vector<Buffer>{});
  }
  note_access(file);
  const ReadAhead::Advice advice = file.read_ahead.next(offset, size_bytes);
  const OperationId id = begin("read", file.inode);
  const bool is_sequential = advice.ahead_end > advice.ahead_begin;
  const Reader::ReadId read =
      reader_.read({.inode = file.inode,
                    .offset = offset,
                    .size_bytes = size_bytes,
                    .unit_bytes = advice.unit_bytes,
                    .windows_ahead = is_sequential ? kWindowsAheadSequential : kWindowsAheadRandom},
                   tracked(id, std::move(done)));
  set_step(id, Step::kReads, read.value, [this, read] { reader_.interrupt(read); });
  if (is_sequential) {
    reader_.prefetch(file.inode, advice.ahead_begin, advice.ahead_end);
  }
  return id;
}

OperationId Client::Impl::write(HandleId handle, WritePlace place, WriteData data,
                                Done<std::uint64_t> done) {
  const Handle& file = handles_.at(handle);
  if (refuses_changes()) {
    return answer_later<std::uint64_t>(std::move(done), make_error(ErrorCode::kReadOnly));
  }
  const OperationId id = begin("write", file.inode);
  const Attributes* known = inodes_.attributes(file.inode);
  const StoragePolicy policy = known != nullptr ? known->policy : file.policy;
  const WriteBack::WaitId wait =
      write_back_.write(file.inode, policy, place, std::move(data), tracked(id, std::move(done)));
  set_step(id, Step::kWrites, wait.value, [this, wait] { write_back_.interrupt(wait); });
  return id;
}

// --- Flush and sync ------------------------------------------------------------------------------

Status Client::Impl::take_lost_writes(HandleId handle) {
  const auto place = handles_.find(handle);
  if (place == handles_.end()) {
    return ok();
  }
  Handle& file = place->second;
  const std::uint64_t lost = write_back_.lost_writes(file.inode);
  if (std::exchange(file.lost_writes_told, lost) != lost) {
    return make_error(ErrorCode::kIo, "writes of inode " + std::to_string(file.inode.value) +
                                          " could not be stored and are lost");
  }
  return ok();
}

Status Client::Impl::take_lost_change(InodeId inode) {
  if (lost_changes_.erase(inode) == 0) {
    return ok();
  }
  return make_error(ErrorCode::kIo, "a change of inode " + std::to_string(inode.value) +
                                        " was lost with the power of the master's machine");
}

Status Client::Impl::take_lost_changes() {
  if (lost_changes_.empty()) {
    return ok();
  }
  Status first = take_lost_change(*lost_changes_.begin());
  lost_changes_.clear();
  return first;
}

OperationId Client::Impl::flush(HandleId handle, Done<Unit> done) {
  return answer_later<Unit>(std::move(done), take_lost_writes(handle));
}

OperationId Client::Impl::sync(HandleId handle, Done<Unit> done) {
  const InodeId inode = handles_.at(handle).inode;
  const OperationId id = begin("fsync", inode);
  auto answer = abandonable<Unit>(id, std::move(done));
  // The error is taken from the count of lost writes, so that each handle says it, and says it
  // once; when the caller does not wait any more it is kept for the next flush or sync.
  auto finished = [this, id, handle, inode, answer](Result<Unit> synced) {
    if (!operations_.contains(id)) {
      return;
    }
    const Status lost = take_lost_writes(handle);
    const Status changes = take_lost_change(inode);
    answer(!lost ? lost : !changes ? changes : std::move(synced));
  };
  write_back_.flush(inode, true, [this, inode, finished](const Result<Unit>& synced) {
    write_leases_.when_seen(inode, lifetime_.guard([finished, synced] { finished(synced); }));
  });
  return id;
}

void Client::Impl::sync_metadata(OperationId id, Done<Unit> done) {
  const CallId call =
      master_.call(SyncMetadataRequest{}, [done = std::move(done)](Result<EmptyReply> reply) {
        if (reply) {
          done(ok());
        } else {
          done(std::move(reply).error());
        }
      });
  if (id.is_set()) {
    set_step(id, Step::kAsks, call.value, [this, call] { master_.interrupt(call); });
  }
}

OperationId Client::Impl::sync_directory(InodeId inode, Done<Unit> done) {
  const OperationId id = begin("fsync", inode);
  sync_metadata(id, [this, inode, done = tracked(id, std::move(done))](Result<Unit> synced) {
    const Status lost = synced ? take_lost_change(inode) : ok();
    done(lost ? std::move(synced) : lost);
  });
  return id;
}

OperationId Client::Impl::sync_all(Done<Unit> done) {
  const OperationId id = begin("sync", InodeId{});
  auto answer = abandonable<Unit>(id, std::move(done));
  write_back_.flush_all(true, [this, answer](Result<Unit> flushed) {
    const Status lost = take_lost_changes();
    answer(flushed ? Result<Unit>(lost) : std::move(flushed));
  });
  return id;
}

}  // namespace dfs::client
