// Kernel requests about open files.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fuse.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "fuse-client/fuse/caller.h"
#include "fuse-client/fuse/fuse_server.h"
#include "fuse-client/fuse/to_errno.h"
#include "proto/xattr_kinds.h"

namespace dfs::fuse {
namespace {

constexpr std::size_t kReplyPartsMax = 512;  // below IOV_MAX with libfuse's header part
// For a name that is there and not there by turns, see create().
constexpr int kCreateTries = 500;
constexpr std::chrono::milliseconds kCreateStep{2};

client::HandleId handle_of(const fuse_file_info* file) { return client::HandleId{file->fh}; }

client::OpenFlags open_flags(int flags) {
  return {.write = (flags & O_ACCMODE) != O_RDONLY,
          .truncate = (flags & O_TRUNC) != 0,
          .no_atime = (flags & O_NOATIME) != 0};
}

// What a write by others than the privileged takes away.
bool has_privileges(const Attributes& attributes) {
  return (attributes.mode & (kModeSetUid | kModeSetGid)) != 0 ||
         (attributes.xattr_kinds & kXattrCapability) != 0;
}

// `is_contended`: other clients change it, or may be about to.
fuse_file_info reply_info(FuseServer& server, const fuse_file_info& asked,
                          const client::OpenedFile& opened, bool is_contended) {
  fuse_file_info file = asked;
  file.fh = opened.handle.value;
  file.keep_cache = opened.keep_cache ? 1 : 0;
  // Also files that are only read get a FLUSH: a process gives up its locks of a file by closing
  // any descriptor of it, and may take them later than it opened this one.
  file.noflush = 0;
  // Through its pages the kernel sends an append in parts, at page borders as it thinks they are,
  // and another client's could come in between.
  const bool is_direct =
      opens_directly(asked.flags, is_contended, server.direct_io().allows_mmap());
  file.direct_io = is_direct ? 1 : 0;
  if (is_direct) {
    server.direct_files().note(opened.handle, has_privileges(opened.attributes));
  }
  return file;
}

struct Creation {
  client::CreateArguments arguments;
  client::OpenFlags flags;
  bool is_exclusive = false;  // O_EXCL
  bool is_second_walk = false;
  int tries_left = kCreateTries;
};

// The kernel asks for a creation where it has found no name, and lets the caller have whatever is
// the answer, since it takes that for new. So where another client has made the name meanwhile, it
// has to walk the path again: what it finds then it opens if the caller may. If the name was gone
// again on that second walk, and there again now, a third walk is not to be had: others make and
// remove it all the time, so it is tried for a moment.
void create(fuse_req_t request, const Creation& asked,
            const client::Done<client::OpenedFile>& done) {
  FuseServer& server = server_of(request);
  const auto answered = [&server, request, asked, done](Result<client::OpenedFile> opened) {
    if (opened.code() != ErrorCode::kExists || asked.is_exclusive) {
      done(std::move(opened));
    } else if (!asked.is_second_walk) {
      done(make_error(ErrorCode::kStale, "another client has just made the name"));
    } else if (asked.tries_left > 0) {
      Creation again = asked;
      --again.tries_left;
      server.scheduler().run_after(kCreateStep, server.lifetime().guard([request, again, done] {
        create(request, again, done);
      }));
    } else {
      done(make_error(ErrorCode::kBusy, "other clients make and remove the name all the time"));
    }
  };
  server.started(request, server.client().create(asked.arguments, asked.flags, answered));
}

void op_create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
               fuse_file_info* asked) {
  FuseServer& server = server_of(request);
  const fuse_ctx* caller = fuse_req_ctx(request);
  client::CreateArguments arguments{.parent = server.from_kernel(parent),
                                    .name = name,
                                    .mode = (mode & kModePermissions) | kModeRegular,
                                    .uid = caller->uid,
                                    .gid = caller->gid,
                                    .symlink_target = {},
                                    .umask = caller->umask,
                                    .is_unnamed = std::string_view(name) == kNoName};
  if (arguments.is_unnamed) {
    arguments.name.clear();
  }
  const bool is_second_walk = server.begins_after_second_walk(request);
  auto done = server.answer<client::OpenedFile>(
      request, [&server, request, asked = *asked, directory = arguments.parent,
                name = arguments.name](const client::OpenedFile& opened) {
        const fuse_entry_param entry = server.entry(directory, name, opened.attributes);
        // Where others change names they soon find this one.
        const fuse_file_info file = reply_info(
            server, asked, opened,
            server.is_contended(opened.attributes.inode) || server.is_contended(directory));
        server.count_lookup(opened.attributes.inode);
        server.note_answer(opened.attributes.inode);
        server.sizes().when_cut(opened.attributes.inode, [&server, request, entry, file, opened] {
          if (fuse_reply_create(request, &entry, &file) != 0) {
            server.release(opened.handle);
            server.forget(opened.attributes.inode, 1);
          }
        });
      });
  server.locks().begins(request, arguments.parent);
  create(request,
         {.arguments = std::move(arguments),
          .flags = open_flags(asked->flags),
          .is_exclusive = (asked->flags & O_EXCL) != 0,
          .is_second_walk = is_second_walk},
         done);
}

// The kernel clears set-id bits itself when a file is changed, but not when open(2) cuts it.
bool must_clear_set_id(fuse_req_t request, fuse_ino_t inode) {
  FuseServer& server = server_of(request);
  const auto known = server.client().kept_attributes(server.from_kernel(inode));
  if (known && (known->mode & (kModeSetUid | kModeSetGid)) == 0) {
    return false;
  }
  return !caller_of(request).is_capable(CAP_FSETID);
}

// An opening cuts the file: answers when that can be answered.
client::Done<client::OpenedFile> answer_cut(fuse_req_t request, InodeId file,
                                            const client::Done<client::OpenedFile>& done) {
  FuseServer& server = server_of(request);
  server.sizes().cuts(file);
  const std::uint64_t cut = server.own_cuts().begin(file, 0, fuse_req_ctx(request)->pid);
  return [&server, file, cut, done](const Result<client::OpenedFile>& opened) {
    server.sizes().when_cut(file, [&server, file, cut, done, opened] {
      server.own_cuts().answered(file, cut);
      done(opened);
    });
  };
}

void op_open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* asked) {
  FuseServer& server = server_of(request);
  if (server.must_walk_again(request, server.from_kernel(inode), Use::kOpen)) {
    fuse_reply_err(request, ESTALE);
    return;
  }
  client::OpenFlags flags = open_flags(asked->flags);
  flags.clear_set_id = flags.truncate && must_clear_set_id(request, inode);
  auto done = server.answer<client::OpenedFile>(
      request, [&server, request, asked = *asked](const client::OpenedFile& opened) {
        const fuse_file_info file =
            reply_info(server, asked, opened, server.is_contended(opened.attributes.inode));
        if (fuse_reply_open(request, &file) != 0) {
          server.release(opened.handle);
        }
      });
  if (flags.truncate) {
    done = answer_cut(request, server.from_kernel(inode), done);
  }
  server.started(request, server.client().open(server.from_kernel(inode), flags, done));
}

void op_release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  server_of(request).release(handle_of(file));
  fuse_reply_err(request, 0);
}

void reply_buffers(fuse_req_t request, const std::vector<Buffer>& parts) {
  std::vector<iovec> vector;
  std::vector<std::byte> joined;
  if (parts.size() > kReplyPartsMax) {
    for (const Buffer& part : parts) {
      joined.insert(joined.end(), part.data(), part.data() + part.size());
    }
    vector.push_back({joined.data(), joined.size()});
  } else {
    vector.reserve(parts.size());
    for (const Buffer& part : parts) {
      // iovec has no const; writev only reads.
      vector.push_back({const_cast<std::byte*>(part.data()), part.size()});
    }
  }
  fuse_reply_iov(request, vector.data(), static_cast<int>(vector.size()));
}

// For a page that a program has mapped the kernel does not ask for the size. It is not waited for,
// since the notification may have to wait for the very page that is being read.
void tell_size(FuseServer& server, InodeId inode) {
  if (!server.sizes().is_unknown(inode)) {
    return;
  }
  if (const auto kept = server.client().kept_attributes(inode)) {
    server.sizes().tell(inode, kept->size_bytes, true, [] {});
  }
}

struct Read {
  InodeId inode;
  client::HandleId handle;
  std::uint64_t offset = 0;
  std::uint32_t size_bytes = 0;
  int restarts_left = OwnCuts::kRestartsMax;
};

void read(fuse_req_t request, const Read& asked);

// Whether the file ends in what was read, and the kernel may not know that yet: it would take what
// is missing for zeros. Then it is read anew.
bool waits_for_cut(fuse_req_t request, const Read& asked, const std::vector<Buffer>& parts) {
  std::uint64_t read_bytes = 0;
  for (const Buffer& part : parts) {
    read_bytes += part.size();
  }
  if (read_bytes >= asked.size_bytes || asked.restarts_left == 0) {
    return false;
  }
  Read again = asked;
  --again.restarts_left;
  return server_of(request).own_cuts().holds(asked.inode, end_of_read(asked.offset, read_bytes),
                                             [request, again] { read(request, again); });
}

void read(fuse_req_t request, const Read& asked) {
  FuseServer& server = server_of(request);
  if (server.holds_read(asked.inode, asked.offset, asked.size_bytes,
                        [request, asked] { read(request, asked); })) {
    return;
  }
  auto done = server.answer<std::vector<Buffer>>(
      request, [&server, request, asked](const std::vector<Buffer>& parts) {
        if (waits_for_cut(request, asked, parts)) {
          return;
        }
        tell_size(server, asked.inode);
        reply_buffers(request, parts);
      });
  server.started(request, server.client().read(asked.handle, asked.offset, asked.size_bytes,
                                               server.counted(asked.inode, std::move(done))));
}

void op_read(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
             fuse_file_info* file) {
  read(request, {.inode = server_of(request).from_kernel(inode),
                 .handle = handle_of(file),
                 .offset = static_cast<std::uint64_t>(offset),
                 .size_bytes = static_cast<std::uint32_t>(size)});
}

// The kernel appended at the end as it knew it. What it keeps of that lies at the wrong place, and
// where it went the kernel may have the old end.
void reply_moved_write(FuseServer& server, fuse_req_t request, InodeId inode, std::uint64_t offset,
                       std::uint64_t written_at, std::size_t size) {
  // Before the answer: a notification behind it could overtake the answer to the next question for
  // the size, which the kernel then does not believe. It asks by itself after a write.
  server.drop_range(inode, offset, size, [&server, request, inode, written_at, size] {
    server.drop_range(inode, written_at, size,
                      [request, size] { fuse_reply_write(request, size); });
  });
}

// Whether the kernel leaves it to the server to take set-id bits away, as it does with direct I/O.
bool clears_set_id(const char* data) {
  fuse_write_in head{};
  std::memcpy(&head, data - sizeof head, sizeof head);  // `data` lies behind it in the request
  return (head.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
}

// What is written through the kernel's cache it strips of set-id bits and capabilities by itself.
void take_privileges(FuseServer& server, fuse_req_t request, InodeId inode, bool clears_set_id,
                     const client::Done<Unit>& done) {
  const auto take_capability = [&server, request, inode, done](std::uint32_t xattr_kinds) {
    if ((xattr_kinds & kXattrCapability) == 0) {
      done(ok());
      return;
    }
    const auto removed = [done](const Result<Unit>& result) {
      const bool has_failed = !result && result.error().code != ErrorCode::kNoAttribute;
      done(has_failed ? result : ok());
    };
    server.started(request,
                   server.client().remove_xattr(inode, std::string(kCapabilityName), removed));
  };
  const auto known = [&server, request, inode, clears_set_id, take_capability,
                      done](Result<Attributes> result) {
    if (!result) {
      done(std::move(result).error());
      return;
    }
    const std::uint32_t xattr_kinds = result->xattr_kinds;
    if (!clears_set_id || (result->mode & (kModeSetUid | kModeSetGid)) == 0) {
      take_capability(xattr_kinds);
      return;
    }
    client::AttributeChange change;
    change.inode = inode;
    change.clear_set_id = true;
    server.started(
        request, server.client().set_attributes(std::move(change), [=](Result<Attributes> changed) {
          if (changed) {
            take_capability(xattr_kinds);
          } else {
            done(std::move(changed).error());
          }
        }));
  };
  if (const auto kept = server.client().kept_attributes(inode)) {
    known(*kept);
  } else {
    server.started(request, server.client().get_attributes(inode, known));
  }
}

struct Write {
  client::HandleId handle;
  InodeId inode;
  client::WritePlace place;
  client::WriteData data;
  bool clears_set_id = false;
};

// Before the bytes are taken, where there is something to take away: an error then is one of a
// write that was not made. And behind them in any case, now that the attributes are known, since
// others may have changed them meanwhile.
void write_directly(FuseServer& server, fuse_req_t request, const Write& write,
                    const client::Done<std::uint64_t>& done) {
  const auto begin = [&server, request, write, done] {
    const auto written = [&server, request, inode = write.inode, clears = write.clears_set_id,
                          done](const Result<std::uint64_t>& written_at) {
      if (!written_at) {
        done(written_at);
        return;
      }
      take_privileges(server, request, inode, clears, [done, written_at](Result<Unit> taken) {
        done(taken ? written_at : Result<std::uint64_t>(std::move(taken).error()));
      });
    };
    server.started(request, server.client().write(write.handle, write.place, write.data, written));
  };
  const auto known = server.client().kept_attributes(write.inode);
  if (known) {
    server.direct_files().note(write.handle, has_privileges(*known));
  }
  if (!server.direct_files().had_privileges(write.handle)) {
    begin();
    return;
  }
  take_privileges(server, request, write.inode, write.clears_set_id,
                  [begin, done](Result<Unit> taken) {
                    if (taken) {
                      begin();
                    } else {
                      done(std::move(taken).error());
                    }
                  });
}

void op_write(fuse_req_t request, fuse_ino_t kernel_inode, const char* data, std::size_t size,
              off_t at, fuse_file_info* file) {
  FuseServer& server = server_of(request);
  const InodeId inode = server.from_kernel(kernel_inode);
  const auto offset = static_cast<std::uint64_t>(at);
  const bool is_written_back = file->writepage != 0;
  Write write{.handle = handle_of(file),
              .inode = inode,
              .place = {.offset = offset, .is_written_back = is_written_back},
              .data = server.reader().write_data(inode, offset, data, size),
              .clears_set_id = clears_set_id(data)};
  if ((file->flags & O_APPEND) != 0 && !is_written_back) {
    write.place.offset.reset();  // the end is where the core says
  }
  client::Done<std::uint64_t> done = server.answer<std::uint64_t>(
      request, [&server, request, inode, offset, size](std::uint64_t written_at) {
        server.note_answer(inode);
        if (written_at == offset) {
          fuse_reply_write(request, size);
        } else {
          reply_moved_write(server, request, inode, offset, written_at, size);
        }
      });
  if (is_written_back) {
    server.write_back_begins(inode);
    done = [&server, inode, reply = done](Result<std::uint64_t> written_at) {
      server.write_back_ends(inode);
      reply(std::move(written_at));
    };
  } else {
    const std::uint64_t lengthens =
        server.own_cuts().begin_write(inode, offset + size, fuse_req_ctx(request)->pid);
    done = [&server, inode, reply = done, lengthens,
            begun = server.write_begins(inode, offset, size)](Result<std::uint64_t> written_at) {
      server.write_ends(inode, begun,
                        [&server, inode, reply, lengthens, written_at = std::move(written_at)] {
                          server.own_cuts().answered(inode, lengthens);
                          reply(written_at);
                        });
    };
  }
  if (server.direct_files().contains(write.handle)) {
    write_directly(server, request, write, done);
  } else {
    server.started(request,
                   server.client().write(write.handle, write.place, std::move(write.data), done));
  }
}

void op_lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info* file) {
  // The kernel sends no other kinds, and no negative offsets.
  const SeekKind kind = whence == SEEK_HOLE ? SeekKind::kHole : SeekKind::kData;
  FuseServer& server = server_of(request);
  auto done = server.answer<std::uint64_t>(request, [request](std::uint64_t found) {
    fuse_reply_lseek(request, static_cast<off_t>(found));
  });
  server.started(request, server.client().seek(handle_of(file), static_cast<std::uint64_t>(offset),
                                               kind, done));
}

void op_fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
                  fuse_file_info* file) {
  const int how = mode & ~FALLOC_FL_KEEP_SIZE;
  if (how != 0 && how != FALLOC_FL_PUNCH_HOLE && how != FALLOC_FL_ZERO_RANGE) {
    fuse_reply_err(request, EOPNOTSUPP);
    return;
  }
  FuseServer& server = server_of(request);
  const AllocateRequest range{.inode = {},
                              .offset = static_cast<std::uint64_t>(offset),
                              .length_bytes = static_cast<std::uint64_t>(length),
                              .remove = how != 0,
                              .keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0};
  server.started(request,
                 server.client().allocate(handle_of(file), range, server.answer_unit(request)));
}

void op_copy_file_range(fuse_req_t request, fuse_ino_t, off_t source_offset, fuse_file_info* source,
                        fuse_ino_t, off_t destination_offset, fuse_file_info* destination,
                        std::size_t length, int /*flags*/) {
  FuseServer& server = server_of(request);
  auto done = server.answer<std::uint64_t>(
      request, [request](std::uint64_t copied) { fuse_reply_write(request, copied); });
  server.started(request, server.client().copy_range(
                              handle_of(source), static_cast<std::uint64_t>(source_offset),
                              handle_of(destination),
                              static_cast<std::uint64_t>(destination_offset), length, done));
}

void flush_when_unlocked(FuseServer& server, fuse_req_t request, client::HandleId handle,
                         Result<Unit> unlocked) {
  const client::Done<Unit> done = server.answer_unit(request);
  server.started(request, server.client().flush(handle, [done, unlocked](Result<Unit> flushed) {
    done(flushed ? unlocked : std::move(flushed));
  }));
}

// Each close(2) of a process: it gives up the process's locks of the file, as POSIX has it.
void op_flush(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  FuseServer& server = server_of(request);
  const client::HandleId handle = handle_of(file);
  if (!server.client().has_range_locks(handle, file->lock_owner)) {
    flush_when_unlocked(server, request, handle, ok());
    return;
  }
  server.started(request,
                 server.client().unlock_ranges(
                     handle, file->lock_owner, [&server, request, handle](Result<Unit> unlocked) {
                       server.ended(request);
                       flush_when_unlocked(server, request, handle, std::move(unlocked));
                     }));
}

void op_fsync(fuse_req_t request, fuse_ino_t, int /*data_only*/, fuse_file_info* file) {
  FuseServer& server = server_of(request);
  server.started(request, server.client().sync(handle_of(file), server.answer_unit(request)));
}

}  // namespace

void add_file_operations(fuse_lowlevel_ops& table) {
  table.create = op_create;
  table.open = op_open;
  table.release = op_release;
  table.read = op_read;
  table.write = op_write;
  table.lseek = op_lseek;
  table.fallocate = op_fallocate;
  table.copy_file_range = op_copy_file_range;
  table.flush = op_flush;
  table.fsync = op_fsync;
}

}  // namespace dfs::fuse
