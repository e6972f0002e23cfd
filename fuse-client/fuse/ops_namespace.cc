// Kernel requests about names and attributes.
#include <cerrno>

#include "fuse-client/fuse/fuse_server.h"
#include "fuse-client/fuse/owner_check.h"
#include "proto/limits.h"

namespace dfs::fuse {
namespace {

constexpr unsigned kRenameNoReplace = 1;  // RENAME_NOREPLACE of <linux/fs.h>
constexpr unsigned kRenameExchange = 2;   // RENAME_EXCHANGE
constexpr unsigned kRenameWhiteout = 4;   // RENAME_WHITEOUT
// For a directory that the kernel cannot move, see directory_locks.h.
constexpr int kMoveTries = 20;
constexpr std::chrono::milliseconds kMoveStep{1};
// How often attributes are asked for at most, see get_attributes.
constexpr int kSizeTries = 1 + OwnCuts::kRestartsMax;

Timestamp from_timespec(const timespec& time) {
  return {.seconds = time.tv_sec, .nanoseconds = static_cast<std::uint32_t>(time.tv_nsec)};
}

client::CreateArguments create_arguments(fuse_req_t request, fuse_ino_t parent, const char* name,
                                         std::uint32_t mode) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  return {.parent = server_of(request).from_kernel(parent),
          .name = name,
          .mode = mode,
          .uid = caller->uid,
          .gid = caller->gid,
          .symlink_target = {},
          .umask = caller->umask};
}

void look_up(fuse_req_t request, InodeId directory, const std::string& name, int tries,
             const client::Done<Attributes>& done) {
  FuseServer& server = server_of(request);
  const auto found = [&server, request, directory, name, tries,
                      done](const Result<Attributes>& result) {
    const auto from = result ? server.former_place(*result, directory) : std::nullopt;
    const bool is_first = tries == kMoveTries;  // what locks it may not have been read yet
    if (tries == 1 || !from || (!is_first && !server.locks().hinder_move_from(*from))) {
      done(result);
      return;
    }
    const auto again = [request, directory, name, tries, done] {
      look_up(request, directory, name, tries - 1, done);
    };
    server.scheduler().run_after(kMoveStep, server.lifetime().guard(again));
  };
  server.started(request, server.client().lookup(directory, name, found));
}

void op_lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  FuseServer& server = server_of(request);
  // That a name does not exist is remembered by the core alone: the kernel could be told of its
  // coming only under a lock that may be held by who waits for that.
  const InodeId directory = server.from_kernel(parent);
  server.locks().begins(request, directory);
  look_up(request, directory, name, kMoveTries, server.answer_entry(request, directory, name));
}

void op_forget(fuse_req_t request, fuse_ino_t inode, std::uint64_t count) {
  FuseServer& server = server_of(request);
  server.forget(server.from_kernel(inode), count);
  fuse_reply_none(request);
}

void op_forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
  FuseServer& server = server_of(request);
  for (std::size_t i = 0; i < count; ++i) {
    server.forget(server.from_kernel(forgets[i].ino), forgets[i].nlookup);
  }
  fuse_reply_none(request);
}

// Whether the size is one that the kernel may not know of yet. Then `again` will be called.
bool waits_for_cut(FuseServer& server, const Attributes& answered, const Task& again) {
  const InodeId inode = answered.inode;
  const Attributes now = server.client().kept_attributes(inode).value_or(answered);
  return server.own_cuts().holds(inode, end_at(now.size_bytes), again);
}

// Answers when the kernel knows the size, too. Where others change the file meanwhile, an answer
// that is not kept may tell of before that; and of a truncation by this client the kernel may know
// nothing yet.
void get_attributes(fuse_req_t request, InodeId inode, int tries,
                    const client::Done<Attributes>& done) {
  FuseServer& server = server_of(request);
  const std::uint64_t version = server.sizes().version(inode);
  const auto answered = [&server, request, inode, tries, done,
                         version](const Result<Attributes>& result) {
    if (!result || !result->is_regular()) {
      done(result);
      return;
    }
    const auto again = [&server, request, inode, tries, done] {
      get_attributes(request, inode, tries - 1, done);
    };
    const auto kept = server.client().kept_attributes(inode);
    const auto told = [&server, tries, done, result, again] {
      if (tries == 1 || !waits_for_cut(server, *result, again)) {
        done(result);
      }
    };
    if (!server.sizes().is_unknown(inode)) {
      told();
    } else if (kept || server.sizes().version(inode) == version) {
      server.sizes().tell(inode, (kept ? *kept : *result).size_bytes, kept.has_value(), told);
    } else if (tries > 1) {
      again();
    } else {
      done(result);
    }
  };
  server.started(request, server.client().get_attributes(inode, answered));
}

void op_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  FuseServer& server = server_of(request);
  if (inode == FUSE_ROOT_ID) {
    server.answer_root_attributes(request);
    return;
  }
  if (server.must_walk_again(request, server.from_kernel(inode), Use::kAttributes)) {
    fuse_reply_err(request, ESTALE);
    return;
  }
  const InodeId asked = server.from_kernel(inode);
  auto done = [&server, request, asked,
               done = server.answer_attributes(request)](Result<Attributes> result) {
    if (result.code() == ErrorCode::kStale) {
      // Removed since a path led here. Of a file that goes while it is looked at stat(2) tells what
      // it was.
      if (const auto found = server.found_attributes(request, asked)) {
        result = *found;
      }
    }
    done(std::move(result));
  };
  get_attributes(request, asked, kSizeTries, server.counted<Attributes>(asked, std::move(done)));
}

void set_attributes(FuseServer& server, fuse_req_t request, const client::AttributeChange& change,
                    const client::Done<Attributes>& done) {
  if (!change.size_bytes) {
    server.started(request, server.client().set_attributes(change, done));
    return;
  }
  // Until it is answered the kernel keeps what programs have written to through mappings.
  server.write_back_begins(change.inode);
  const std::uint64_t cut =
      server.own_cuts().begin(change.inode, *change.size_bytes, fuse_req_ctx(request)->pid);
  const auto ended = [&server, inode = change.inode, cut, done](const Result<Attributes>& result) {
    server.write_back_ends(inode);
    server.sizes().when_cut(inode, [&server, inode, cut, done, result] {
      server.own_cuts().answered(inode, cut);
      done(result);
    });
  };
  server.started(request, server.client().set_attributes(change, ended));
}

void op_setattr(fuse_req_t request, fuse_ino_t inode, struct stat* st, int to_set,
                fuse_file_info*) {
  FuseServer& server = server_of(request);
  client::AttributeChange change;
  change.inode = server.from_kernel(inode);
  if (to_set & FUSE_SET_ATTR_MODE) {
    change.mode = st->st_mode & kModePermissions;
  }
  if (to_set & FUSE_SET_ATTR_UID) {
    change.uid = st->st_uid;
  }
  if (to_set & FUSE_SET_ATTR_GID) {
    change.gid = st->st_gid;
  }
  if (to_set & FUSE_SET_ATTR_SIZE) {
    change.size_bytes = static_cast<std::uint64_t>(st->st_size);
  }
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
    change.atime_now = true;
  } else if (to_set & FUSE_SET_ATTR_ATIME) {
    change.atime = from_timespec(st->st_atim);
  }
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
    change.mtime_now = true;
  } else if (to_set & FUSE_SET_ATTR_MTIME) {
    change.mtime = from_timespec(st->st_mtim);
  }
  server.call_ends(request);
  const client::Done<Attributes> done = server.answer_attributes(request);
  if (change.size_bytes) {
    server.sizes().cuts(change.inode);
  }
  if_owner(server, request, change,
           [&server, request, change, done] { set_attributes(server, request, change, done); });
}

void make(fuse_req_t request, client::CreateArguments arguments) {
  FuseServer& server = server_of(request);
  server.call_ends(request);
  auto done = server.answer_entry(request, arguments.parent, arguments.name);
  server.locks().begins(request, arguments.parent);
  server.started(request, server.client().make(std::move(arguments), std::move(done)));
}

void op_mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  client::CreateArguments arguments = create_arguments(request, parent, name, mode);
  arguments.device = device;
  make(request, std::move(arguments));
}

void op_mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  make(request,
       create_arguments(request, parent, name, (mode & kModePermissions) | kModeDirectory));
}

void op_symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  client::CreateArguments arguments = create_arguments(request, parent, name, kModeSymlink | 0777);
  arguments.symlink_target = target;
  make(request, std::move(arguments));
}

void op_unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  FuseServer& server = server_of(request);
  const InodeId directory = server.from_kernel(parent);
  const std::string removed = name;
  if_may_remove(server, request, directory, removed, [&server, request, directory, removed] {
    server.locks().begins(request, directory);
    server.started(request,
                   server.client().unlink(directory, removed, server.answer_unit(request)));
  });
}

void op_rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  FuseServer& server = server_of(request);
  const InodeId directory = server.from_kernel(parent);
  const std::string removed = name;
  if_may_remove(server, request, directory, removed, [&server, request, directory, removed] {
    server.locks().begins(request, directory);
    server.started(
        request, server.client().remove_directory(directory, removed, server.answer_unit(request)));
  });
}

// What the new name stood for the kernel has just asked for, unless it is an exchange.
void if_may_rename(FuseServer& server, fuse_req_t request, const RenameRequest& rename, Task go) {
  const bool is_exchange = rename.mode == static_cast<std::uint8_t>(RenameMode::kExchange);
  if_may_remove(server, request, rename.parent, rename.name,
                [&server, request, rename, is_exchange, go = std::move(go)] {
                  if (is_exchange) {
                    if_may_remove(server, request, rename.new_parent, rename.new_name, go);
                  } else {
                    go();
                  }
                });
}

void op_rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  FuseServer& server = server_of(request);
  RenameMode mode = RenameMode::kReplace;
  const bool leaves_whiteout = (flags & kRenameWhiteout) != 0;
  const unsigned kind = flags & ~kRenameWhiteout;
  if (kind == kRenameNoReplace) {
    mode = RenameMode::kNoReplace;
  } else if (kind == kRenameExchange) {
    mode = RenameMode::kExchange;
  } else if (kind != 0) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  RenameRequest rename{.parent = server.from_kernel(parent),
                       .name = name,
                       .new_parent = server.from_kernel(new_parent),
                       .new_name = new_name,
                       .mode = static_cast<std::uint8_t>(mode),
                       .leaves_whiteout = leaves_whiteout,
                       .uid = fuse_req_ctx(request)->uid,
                       .gid = fuse_req_ctx(request)->gid};
  const auto done =
      server.answer<RenameReply>(request, [&server, request, rename](const RenameReply& reply) {
        server.renamed(rename, reply);
        fuse_reply_err(request, 0);
      });
  if_may_rename(server, request, rename, [&server, request, rename, done] {
    server.locks().begins(request, rename.parent, rename.new_parent);
    server.started(request, server.client().rename(rename, done));
  });
}

void op_link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t new_parent, const char* new_name) {
  FuseServer& server = server_of(request);
  if (server.must_walk_again(request, server.from_kernel(inode), Use::kOpen)) {
    fuse_reply_err(request, ESTALE);
    return;
  }
  server.call_ends(request);
  const InodeId directory = server.from_kernel(new_parent);
  server.locks().begins(request, directory);
  server.started(request, server.client().link(server.from_kernel(inode), directory, new_name,
                                               server.answer_entry(request, directory, new_name)));
}

void op_readlink(fuse_req_t request, fuse_ino_t inode) {
  FuseServer& server = server_of(request);
  auto done = server.answer<std::string>(request, [request](const std::string& target) {
    fuse_reply_readlink(request, target.c_str());
  });
  server.started(request, server.client().read_link(server.from_kernel(inode), done));
}

void op_statfs(fuse_req_t request, fuse_ino_t inode) {
  FuseServer& server = server_of(request);
  auto done =
      server.answer<StatFilesystemReply>(request, [request](const StatFilesystemReply& figures) {
        constexpr std::uint64_t kUnitBytes = 4096;
        struct statvfs st {};
        st.f_bsize = kUnitBytes;
        st.f_frsize = kUnitBytes;
        st.f_blocks = figures.total_bytes / kUnitBytes;
        st.f_bfree = figures.available_bytes / kUnitBytes;
        st.f_bavail = st.f_bfree;
        st.f_files = figures.inodes_max;
        st.f_ffree = figures.inodes_max - std::min(figures.inodes_max, figures.inodes_used);
        st.f_favail = st.f_ffree;
        st.f_namemax = kNameBytesMax;
        fuse_reply_statfs(request, &st);
      });
  server.started(request, server.client().stat_filesystem(server.from_kernel(inode), done));
}

}  // namespace

void add_namespace_operations(fuse_lowlevel_ops& table) {
  table.lookup = op_lookup;
  table.forget = op_forget;
  table.forget_multi = op_forget_multi;
  table.getattr = op_getattr;
  table.setattr = op_setattr;
  table.mknod = op_mknod;
  table.mkdir = op_mkdir;
  table.symlink = op_symlink;
  table.unlink = op_unlink;
  table.rmdir = op_rmdir;
  table.rename = op_rename;
  table.link = op_link;
  table.readlink = op_readlink;
  table.statfs = op_statfs;
}

}  // namespace dfs::fuse
