// Names and attributes.
#include <algorithm>

#include "fuse-client/core/client_impl.h"
#include "proto/limits.h"

namespace dfs::client {
namespace {

const char kReadOnlyDetail[] = "mounted read-only";
constexpr std::chrono::milliseconds kSpaceRetry{100};

}  // namespace

// --- Attributes ----------------------------------------------------------------------------------

Attributes Client::Impl::merged(Attributes attributes) const {
  const auto dirty = write_back_.dirty_attributes(attributes.inode);
  if (dirty) {
    attributes.size_bytes = std::max(attributes.size_bytes, dirty->size_bytes_min);
    // So that `du` right behind `cp` does not say 0; exact again once it is stored.
    attributes.used_bytes =
        std::min(attributes.size_bytes, attributes.used_bytes + dirty->dirty_bytes);
    attributes.mtime = dirty->mtime;
    attributes.ctime = std::max(attributes.ctime, dirty->ctime);
  }
  const auto access = accesses_.find(attributes.inode);
  if (access != accesses_.end()) {
    attributes.atime = access->second;
  }
  return attributes;
}

Attributes Client::Impl::current(const Attributes& answered) const {
  const Attributes* known = inodes_.attributes(answered.inode);
  return merged(known == nullptr || inodes_.is_outdated_by(answered) ? answered : *known);
}

// Nobody else is told anything of a file before what is written here is stored. But names tell of
// it, too: its number of links follows from them.
bool Client::Impl::may_answer(InodeId inode) const {
  return inodes_.is_fresh(inode) && !own_changes_.concern_links_of(inode) &&
         (!own_changes_.concern(inode) || write_leases_.is_held(inode)) &&
         !write_back_.is_undecided(inode);
}

// What is dirty on top of what the master answers would mix the file before the cut and after it.
bool Client::Impl::waits_for_cut(OperationId id, InodeId inode, const Done<Attributes>& done,
                                 std::function<void()> ask_again) {
  if (!write_back_.is_undecided(inode)) {
    return false;
  }
  auto waits = std::make_shared<bool>(true);
  set_step(id, Step::kStores, 0, [this, waits, done] {
    if (std::exchange(*waits, false)) {
      world_.scheduler.post(lifetime_.guard([done] { done(make_error(ErrorCode::kInterrupted)); }));
    }
  });
  write_back_.when_decided(inode, lifetime_.guard([waits, ask_again = std::move(ask_again)] {
    if (std::exchange(*waits, false)) {
      ask_again();
    }
  }));
  return true;
}

OperationId Client::Impl::lookup(LookupRequest request, Done<Attributes> done) {
  if (request.name.size() > kNameBytesMax) {  // not merely absent, which is what a listing tells
    return answer_later<Attributes>(std::move(done), make_error(ErrorCode::kNameTooLong));
  }
  if (master_.leases().term().holds() && !own_changes_.concern(request.parent, request.name)) {
    const auto [answer, inode] = names_.find(request.parent, request.name);
    if (answer == NameCache::Answer::kAbsent) {
      return answer_later<Attributes>(std::move(done), make_error(ErrorCode::kNotFound));
    }
    if (answer == NameCache::Answer::kPresent && may_answer(inode)) {
      return answer_later<Attributes>(std::move(done), merged(*inodes_.attributes(inode)));
    }
  }
  const OperationId id = begin("lookup", request.parent);
  lookup_step(id, request, tracked(id, std::move(done)));
  return id;
}

void Client::Impl::lookup_step(OperationId id, const LookupRequest& request,
                               Done<Attributes> done) {
  ask(id, request, [this, id, request, done = std::move(done)](auto reply, MonoTime sent_at) {
    if (!reply) {
      done(error_in(request.parent, std::move(reply).error()));
      return;
    }
    const Told told = master_.leases().told(sent_at, reply->lease);
    inodes_.learn_entry(*reply, told);
    if (told.is_leased && request.name != "." && request.name != "..") {
      inodes_.keep_lease(request.parent);
      names_.learn(request.parent, request.name, reply->attributes.inode, told);
    }
    if (!waits_for_cut(id, reply->attributes.inode, done,
                       [this, id, request, done] { lookup_step(id, request, done); })) {
      done(current(reply->attributes));
    }
  });
}

OperationId Client::Impl::get_attributes(InodeId inode, Done<Attributes> done) {
  if (may_answer(inode)) {
    return answer_later<Attributes>(std::move(done), merged(*inodes_.attributes(inode)));
  }
  const OperationId id = begin("stat", inode);
  fetch_decided(id, inode, tracked(id, std::move(done)), false);
  return id;
}

void Client::Impl::fetch_decided(OperationId id, InodeId inode, const Done<Attributes>& done,
                                 bool after_pins) {
  const auto again = [this, id, inode, done, after_pins] {
    fetch_decided(id, inode, done, after_pins);
  };
  const auto answered = [this, id, inode, done, again](Result<Attributes> attributes) {
    if (!attributes || !waits_for_cut(id, inode, done, again)) {
      done(std::move(attributes));
    }
  };
  fetch_attributes(id, inode, answered, after_pins);
}

void Client::Impl::fetch_attributes(OperationId id, InodeId inode, Done<Attributes> done,
                                    bool after_pins) {
  const auto answered = [this, inode, done = std::move(done)](auto reply, MonoTime sent_at) {
    if (!reply) {
      const bool is_gone = reply.code() == ErrorCode::kStale;
      if (const auto removed = inodes_.removed_directory(inode); is_gone && removed) {
        done(*removed);
        return;
      }
      if (is_gone) {
        inodes_.erase(inode);
      }
      done(std::move(reply).error());
      return;
    }
    inodes_.learn(reply->attributes, master_.leases().told(sent_at, reply->lease));
    done(current(reply->attributes));
  };
  ask(id, GetAttributesRequest{inode}, answered, after_pins);
}

OperationId Client::Impl::set_attributes(AttributeChange change, Done<Attributes> done) {
  if (refuses_changes()) {
    return answer_later<Attributes>(std::move(done),
                                    make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  if (change.size_bytes.value_or(0) > kFileBytesMax) {
    return answer_later<Attributes>(std::move(done),
                                    make_error(ErrorCode::kFileTooBig, "size over the limit"));
  }
  const OperationId id = begin("set attributes", change.inode);
  // A commit under way may be sent again and come behind the change, and with it its own mtime.
  const bool may_be_undone =
      (change.mtime || change.mtime_now) && write_back_.is_committing(change.inode);
  if (change.size_bytes || may_be_undone) {
    change_when_settled(id, change, tracked(id, std::move(done)));
  } else {
    change_attributes(id, change, tracked(id, std::move(done)));
  }
  return id;
}

void Client::Impl::change_when_settled(OperationId id, const AttributeChange& change,
                                       Done<Attributes> done) {
  const auto settled = [this, id, change, done = std::move(done)](Result<bool> makes_void) {
    set_step(id, Step::kStores, 0, nullptr);
    if (!makes_void) {
      write_back_.release_cut(change.inode);
      done(std::move(makes_void).error());
      return;
    }
    change_attributes(id, change, [this, inode = change.inode, done](Result<Attributes> result) {
      write_back_.release_cut(inode);
      done(std::move(result));
    });
    if (*makes_void) {
      // Not to be interrupted: whether these bytes are to be stored must be decided.
      operations_.at(id).interrupt = nullptr;
    }
  };
  operations_.at(id).inode = change.inode;  // a creation was of its directory until now
  const auto wait =
      write_back_.cut(change.inode, change.size_bytes.value_or(kFileBytesMax), settled);
  set_step(id, Step::kStores, 0,
           [this, inode = change.inode, wait] { write_back_.interrupt_cut(inode, wait); });
}

void Client::Impl::change_attributes(OperationId id, const AttributeChange& change,
                                     Done<Attributes> done) {
  // What was written before is committed later and must not bring an older mtime back.
  if (change.mtime) {
    write_back_.set_mtime(change.inode, *change.mtime);
  } else if (change.mtime_now || change.size_bytes) {
    write_back_.set_mtime(change.inode, master_.wall_time());
  }
  ask(id, change, [this, id, change, done = std::move(done)](auto reply, MonoTime sent_at) {
    if (!reply) {
      done(std::move(reply).error());
      return;
    }
    if (change.size_bytes) {
      write_back_.make_cut(change.inode, *change.size_bytes);
    }
    const LeaseLink& leases = master_.leases();
    inodes_.learn_change(reply->attributes, reply->data_version_before,
                         change.size_bytes ? leases.told(sent_at, reply->lease)
                                           : leases.told_besides(sent_at, reply->lease));
    answer_changed(id, reply->attributes, done);
  });
}

// The answer to a change may be a kept one that was sent again: commits of this client that came
// behind it are then neither in it nor dirty any more. Or what is known was asked for later but
// answered before the change. When the two differ, only the master can tell.
void Client::Impl::answer_changed(OperationId id, const Attributes& answered,
                                  const Done<Attributes>& done) {
  const Attributes* known = inodes_.attributes(answered.inode);
  if (known != nullptr && *known == answered) {
    done(merged(answered));
    return;
  }
  inodes_.expire(answered.inode);
  fetch_attributes(id, answered.inode, done);
}

// --- Names ---------------------------------------------------------------------------------------

OperationId Client::Impl::make(CreateRequest request, Done<Attributes> done) {
  if (refuses_changes()) {
    return answer_later<Attributes>(std::move(done),
                                    make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  const OperationId id = begin("create", request.parent);
  ask(id, request,
      [this, parent = request.parent, name = request.name, done = tracked(id, std::move(done))](
          auto reply, MonoTime sent_at) {
        if (!reply) {
          doubt_names(parent, reply.code());
          done(error_in(parent, std::move(reply).error()));
          return;
        }
        learn_name(parent, name, *reply, sent_at);
        if (reply->attributes.is_directory() && inodes_.is_fresh(reply->attributes.inode)) {
          names_.learn_new_directory(reply->attributes.inode);
        }
        done(current(reply->attributes));
      });
  return id;
}

void Client::Impl::learn_name(InodeId directory, const std::string& name, const EntryReply& reply,
                              MonoTime sent_at) {
  const Told told = master_.leases().told_besides(sent_at, reply.lease);
  learn_directory(directory, reply.parent, told);
  inodes_.learn_entry(reply, told);
  learn_own_name(directory, name, reply.attributes.inode, told);
}

// What this client made the name stand for. The answer may have come too late to tell of the
// directory's attributes: its lease is to be known nevertheless, and to be reclaimed.
void Client::Impl::learn_own_name(InodeId directory, const std::string& name, InodeId inode,
                                  const Told& told) {
  if (told.is_leased) {
    inodes_.keep_lease(directory);
  }
  names_.changed(directory, name, inode, told);
  own_changes_.name_changes(directory, name);
}

// An error that says why is the master's, which has changed nothing.
void Client::Impl::doubt_names(InodeId directory, ErrorCode code) {
  if (code == ErrorCode::kInterrupted || code == ErrorCode::kSessionExpired ||
      code == ErrorCode::kUnavailable || code == ErrorCode::kBadMessage ||
      code == ErrorCode::kTimedOut || code == ErrorCode::kInternal || code == ErrorCode::kIo) {
    names_.forget(directory);
  }
}

// The kernel asks for the directory's attributes right after a change in it.
void Client::Impl::learn_directory(InodeId directory, const std::optional<Attributes>& now,
                                   const Told& told) {
  if (now && now->inode == directory) {
    inodes_.learn_changed(*now, told);
  } else {
    inodes_.expire(directory);
  }
}

// Why something in the directory was not found or made. No path leads to what was freed long ago:
// to walk one again, as kStale has it, would not help who works there.
Error Client::Impl::error_in(InodeId directory, Error error) const {
  return error.code == ErrorCode::kStale && inodes_.removed_directory(directory)
             ? make_error(ErrorCode::kNotFound)
             : std::move(error);
}

void Client::Impl::name_removed(InodeId inode, std::uint32_t link_count, bool is_open_elsewhere) {
  const Attributes* known = inodes_.attributes(inode);
  if (known != nullptr && known->is_directory()) {
    inodes_.directory_removed(inode);
    return;
  }
  inodes_.expire(inode);
  if (link_count > 0 || is_open_elsewhere) {
    return;
  }
  const auto open = open_inodes_.find(inode);
  if (open != open_inodes_.end()) {
    open->second.is_unlinked = true;
    return;
  }
  write_back_.discard(inode);
  inodes_.erase(inode);
  write_leases_.forget(inode);
}

OperationId Client::Impl::unlink(UnlinkRequest request, Done<Unit> done) {
  if (refuses_changes()) {
    return answer_later<Unit>(std::move(done), make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  const OperationId id = begin("unlink", request.parent);
  ask(id, request,
      [this, parent = request.parent, name = request.name, done = tracked(id, std::move(done))](
          auto reply, MonoTime sent_at) {
        if (!reply) {
          doubt_names(parent, reply.code());
          done(std::move(reply).error());
          return;
        }
        const Told told = master_.leases().told(sent_at, reply->lease);
        learn_directory(parent, reply->parent, told);
        learn_own_name(parent, name, InodeId{}, told);
        name_removed(reply->inode, reply->link_count, reply->is_open_elsewhere);
        done(ok());
      });
  return id;
}

OperationId Client::Impl::remove_directory(RemoveDirectoryRequest request, Done<Unit> done) {
  if (refuses_changes()) {
    return answer_later<Unit>(std::move(done), make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  const OperationId id = begin("rmdir", request.parent);
  ask(id, request,
      [this, parent = request.parent, name = request.name, done = tracked(id, std::move(done))](
          auto reply, MonoTime sent_at) {
        if (!reply) {
          doubt_names(parent, reply.code());
          done(std::move(reply).error());
          return;
        }
        const Told told = master_.leases().told(sent_at, reply->lease);
        learn_directory(parent, reply->parent, told);
        learn_own_name(parent, name, InodeId{}, told);
        inodes_.directory_removed(reply->inode);
        done(ok());
      });
  return id;
}

OperationId Client::Impl::rename(RenameRequest request, Done<RenameReply> done) {
  if (refuses_changes()) {
    return answer_later<RenameReply>(std::move(done),
                                     make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  const OperationId id = begin("rename", request.parent);
  ask(id, request,
      [this, request, done = tracked(id, std::move(done))](auto reply, MonoTime sent_at) {
        if (!reply) {
          doubt_names(request.parent, reply.code());
          doubt_names(request.new_parent, reply.code());
          done(std::move(reply).error());
          return;
        }
        const Told told = master_.leases().told_besides(sent_at, reply->lease);
        for (const Attributes& attributes : reply->changed) {
          inodes_.learn_changed(attributes, told);
        }
        learn_renamed(request, *reply, told);
        if (reply->replaced.is_set()) {
          name_removed(reply->replaced, reply->replaced_link_count,
                       reply->replaced_is_open_elsewhere);
        }
        done(std::move(*reply));
      });
  return id;
}

void Client::Impl::learn_renamed(const RenameRequest& request, const RenameReply& reply,
                                 const Told& told) {
  if (reply.changed.empty()) {
    return;  // two names of one inode: nothing changed
  }
  const bool leaves_nothing =
      !request.leaves_whiteout && static_cast<RenameMode>(request.mode) != RenameMode::kExchange;
  const Told as_told{told.sent_at, told.is_leased && leaves_nothing};
  learn_own_name(request.parent, request.name, InodeId{}, as_told);
  learn_own_name(request.new_parent, request.new_name, reply.moved, as_told);
}

OperationId Client::Impl::link(LinkRequest request, Done<Attributes> done) {
  if (refuses_changes()) {
    return answer_later<Attributes>(std::move(done),
                                    make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  const OperationId id = begin("link", request.inode);
  ask(id, request,
      [this, id, parent = request.new_parent, name = request.new_name,
       done = tracked(id, std::move(done))](auto reply, MonoTime sent_at) {
        if (!reply) {
          doubt_names(parent, reply.code());
          done(std::move(reply).error());
          return;
        }
        learn_name(parent, name, *reply, sent_at);
        // One without a name has got one: what was written outlives its closing.
        const auto open = open_inodes_.find(reply->attributes.inode);
        if (open != open_inodes_.end()) {
          open->second.is_unnamed = false;
        }
        answer_changed(id, reply->attributes, done);
      });
  return id;
}

OperationId Client::Impl::read_link(ReadLinkRequest request, Done<std::string> done) {
  return ask_for("readlink", request, &ReadLinkReply::target, std::move(done));
}

OperationId Client::Impl::read_directory(ReadDirectoryRequest request,
                                         Done<ReadDirectoryReply> done) {
  const OperationId id = begin("readdir", request.inode);
  ask(id, request,
      [this, request, done = tracked(id, std::move(done))](auto reply, MonoTime sent_at) {
        if (!reply) {
          done(std::move(reply).error());
          return;
        }
        const Told told = master_.leases().told(sent_at, reply->lease);
        if (told.is_leased) {
          inodes_.keep_lease(request.inode);
        }
        names_.learn_page(request.inode, request.cookie, *reply, told);
        for (DirectoryEntry& entry : reply->entries) {
          inodes_.learn(entry.attributes,
                        {told.sent_at, told.is_leased && !entry.is_written, !entry.is_written});
          entry.attributes = current(entry.attributes);
        }
        done(std::move(*reply));
      });
  return id;
}

void Client::Impl::open_directory(InodeId inode) {
  master_.pin_directory(inode);
  inodes_.hold(inode);
}

void Client::Impl::release_directory(InodeId inode) {
  master_.unpin(inode);
  inodes_.release(inode);
}

OperationId Client::Impl::stat_filesystem(StatFilesystemRequest request,
                                          Done<StatFilesystemReply> done) {
  const OperationId id = begin("statfs", request.inode);
  ask_for_space(id, request.inode, 1, tracked(id, std::move(done)));
  return id;
}

// A master that was started just now knows of the servers that have told it that they live. If with
// these there is less than is wanted, it is asked again until all have been heard of, or count as
// down.
void Client::Impl::ask_for_space(OperationId id, InodeId inode, std::uint64_t wanted_bytes,
                                 Done<StatFilesystemReply> done) {
  if (!operations_.contains(id)) {
    return;
  }
  ask(id, StatFilesystemRequest{inode},
      [this, id, inode, wanted_bytes, done = std::move(done)](auto reply, MonoTime) {
        if (!operations_.contains(id)) {
          return;  // interrupted between two questions
        }
        if (!reply || !reply->is_preliminary || reply->available_bytes >= wanted_bytes) {
          done(std::move(reply));
          return;
        }
        set_step(id, Step::kAsks, 0, [this, id, done] {
          world_.scheduler.post(lifetime_.guard([this, id, done] {
            if (operations_.contains(id)) {  // two signals may have come at once
              done(make_error(ErrorCode::kInterrupted));
            }
          }));
        });
        world_.scheduler.run_after(kSpaceRetry,
                                   lifetime_.guard([this, id, inode, wanted_bytes, done] {
                                     ask_for_space(id, inode, wanted_bytes, done);
                                   }));
      });
}

// --- Extended attributes -------------------------------------------------------------------------

bool Client::Impl::lacks_xattr(InodeId inode, const std::string& name) const {
  return may_answer(inode) && (inodes_.attributes(inode)->xattr_kinds & xattr_kind(name)) == 0;
}

OperationId Client::Impl::get_xattr(GetXattrRequest request, Done<std::string> done) {
  const std::uint32_t kind = xattr_kind(request.name);
  const Attributes* known = inodes_.attributes(request.inode);
  if (known != nullptr && (known->xattr_kinds & kind) != 0) {
    return ask_for("getxattr", request, &GetXattrReply::value, std::move(done));
  }
  if (lacks_xattr(request.inode, request.name)) {
    return answer_later<std::string>(std::move(done), make_error(ErrorCode::kNoAttribute));
  }
  // Most often it is still absent; the attributes answer that for a while, and what is asked next.
  const OperationId id = begin("getxattr", request.inode);
  auto finished = tracked(id, std::move(done));
  fetch_attributes(id, request.inode, [this, id, kind, request, finished](Result<Attributes> got) {
    if (!got) {
      finished(std::move(got).error());
    } else if ((got->xattr_kinds & kind) == 0) {
      finished(make_error(ErrorCode::kNoAttribute));
    } else {
      ask(id, request, [finished](Result<GetXattrReply> reply, MonoTime) {
        if (reply) {
          finished(std::move(reply->value));
        } else {
          finished(std::move(reply).error());
        }
      });
    }
  });
  return id;
}

OperationId Client::Impl::list_xattrs(ListXattrsRequest request,
                                      Done<std::vector<std::string>> done) {
  if (may_answer(request.inode) && inodes_.attributes(request.inode)->xattr_kinds == 0) {
    return answer_later<std::vector<std::string>>(std::move(done), std::vector<std::string>{});
  }
  return ask_for("listxattr", request, &ListXattrsReply::names, std::move(done));
}

OperationId Client::Impl::change_xattrs(InodeId inode, Done<Unit> done, auto request) {
  if (refuses_changes()) {
    return answer_later<Unit>(std::move(done), make_error(ErrorCode::kReadOnly, kReadOnlyDetail));
  }
  const OperationId id = begin("set xattr", inode);
  ask(id, request, [this, inode, done = tracked(id, std::move(done))](auto reply, MonoTime) {
    inodes_.expire(inode);  // ctime
    if (reply) {
      done(ok());
    } else {
      done(std::move(reply).error());
    }
  });
  return id;
}

OperationId Client::Impl::set_xattr(SetXattrRequest request, Done<Unit> done) {
  const InodeId inode = request.inode;
  return change_xattrs(inode, std::move(done), std::move(request));
}

OperationId Client::Impl::remove_xattr(RemoveXattrRequest request, Done<Unit> done) {
  const InodeId inode = request.inode;
  return change_xattrs(inode, std::move(done), std::move(request));
}

}  // namespace dfs::client
