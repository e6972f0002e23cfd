// Kernel requests about open directories.
//
// The position the kernel passes is a cookie of the master's (16 and above), or 1 and 2 behind "."
// and "..". A page of entries is fetched at a time and served in as many pieces as the kernel's
// buffer needs.
#include <cerrno>
#include <vector>

#include "fuse-client/fuse/fuse_server.h"
#include "proto/limits.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kBehindDot = 1;
constexpr std::uint64_t kBehindDotDot = 2;
constexpr std::uint32_t kPageEntries = 512;
// A listing goes on with the page it has for so long; attributes are looked at anew all the same.
constexpr std::chrono::seconds kPageTime{1};
static_assert(kPageEntries <= kReaddirEntriesMax);

struct Listing {
  fuse_req_t request;
  std::uint64_t directory;
  std::uint64_t position;
  std::size_t size_bytes;
  bool with_attributes;
};

// The reply being filled.
class EntryBuffer {
 public:
  EntryBuffer(FuseServer& server, const Listing& listing, InodeId directory)
      : server_(server), listing_(listing), directory_(directory), bytes_(listing.size_bytes) {}

  // False when it does not fit any more.
  bool add_dot(const char* name, InodeId inode, std::uint64_t position) {
    Attributes attributes;
    attributes.inode = inode;
    attributes.mode = kModeDirectory;
    if (listing_.with_attributes) {
      fuse_entry_param param{};  // inode 0 in the entry: the kernel takes no reference
      param.attr = to_stat(attributes, server_.to_kernel(inode));
      return take(fuse_add_direntry_plus(listing_.request, tail(), room(), name, &param,
                                         static_cast<off_t>(position)));
    }
    return add_plain(name, attributes, position);
  }

  bool add(const DirectoryEntry& entry) {
    if (!listing_.with_attributes) {
      return add_plain(entry.name.c_str(), entry.attributes, entry.cookie);
    }
    const InodeId inode = entry.attributes.inode;
    server_.count_lookup(inode);
    const fuse_entry_param param = server_.entry(directory_, entry.name, entry.attributes);
    if (!take(fuse_add_direntry_plus(listing_.request, tail(), room(), entry.name.c_str(), &param,
                                     static_cast<off_t>(entry.cookie)))) {
      server_.forget(inode, 1);
      return false;
    }
    server_.note_answer(inode);
    counted_.push_back(inode);
    return true;
  }

  bool empty() const { return used_ == 0; }

  void reply() {
    if (fuse_reply_buf(listing_.request, bytes_.data(), used_) != 0) {
      for (const InodeId inode : counted_) {
        server_.forget(inode, 1);
      }
    }
  }

 private:
  bool add_plain(const char* name, const Attributes& attributes, std::uint64_t position) {
    const struct stat st = to_stat(attributes, server_.to_kernel(attributes.inode));
    return take(fuse_add_direntry(listing_.request, tail(), room(), name, &st,
                                  static_cast<off_t>(position)));
  }
  char* tail() { return bytes_.data() + used_; }
  std::size_t room() const { return bytes_.size() - used_; }
  bool take(std::size_t needed) {
    if (needed > room()) {
      return false;
    }
    used_ += needed;
    return true;
  }

  FuseServer& server_;
  const Listing& listing_;
  InodeId directory_;
  std::vector<char> bytes_;
  std::size_t used_ = 0;
  std::vector<InodeId> counted_;
};

bool page_serves(const OpenDirectory& open, std::uint64_t position, MonoTime now) {
  if (!open.page_is_valid || now - open.fetched >= kPageTime || position < open.page_after) {
    return false;
  }
  return open.page_is_last || (!open.page.empty() && position < open.page.back().cookie);
}

void fill_and_reply(FuseServer& server, const Listing& listing, const OpenDirectory& open) {
  EntryBuffer buffer(server, listing, open.inode);
  std::uint64_t position = listing.position;
  bool room = true;
  if (position < kBehindDot) {
    room = buffer.add_dot(".", open.inode, kBehindDot);
    position = kBehindDot;
  }
  if (room && position < kBehindDotDot) {
    room = buffer.add_dot("..", open.parent, kBehindDotDot);
    position = kBehindDotDot;
  }
  for (const DirectoryEntry& entry : open.page) {
    if (!room) {
      break;
    }
    if (entry.cookie > position) {
      room = buffer.add(entry);
    }
  }
  buffer.reply();
}

void list(const Listing& listing) {
  FuseServer& server = server_of(listing.request);
  OpenDirectory* open = server.directory(listing.directory);
  if (open == nullptr) {
    fuse_reply_err(listing.request, EBADF);
    return;
  }
  // Position 0 is a new listing (or rewinddir): it must see the directory as it is now.
  if (listing.position != 0 && page_serves(*open, listing.position, server.scheduler().now())) {
    fill_and_reply(server, listing, *open);
    return;
  }
  const std::uint64_t cookie = listing.position <= kBehindDotDot ? 0 : listing.position;
  auto listed = server.answer<ReadDirectoryReply>(
      listing.request, [&server, listing, cookie](ReadDirectoryReply page) {
        OpenDirectory* directory = server.directory(listing.directory);
        if (directory == nullptr) {
          fuse_reply_err(listing.request, EBADF);
          return;
        }
        directory->parent = page.parent;
        directory->page_after = cookie;
        directory->page = std::move(page.entries);
        directory->page_is_last = page.end;
        directory->page_is_valid = true;
        directory->fetched = server.scheduler().now();
        fill_and_reply(server, listing, *directory);
      });
  auto done = [listed](Result<ReadDirectoryReply> page) {
    if (page.code() == ErrorCode::kStale) {
      // It was removed, and no path led here: to walk one again would not help.
      page = make_error(ErrorCode::kNotFound);
    }
    listed(std::move(page));
  };
  server.started(listing.request,
                 server.client().read_directory(open->inode, cookie, kPageEntries, done));
}

void op_opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* asked) {
  FuseServer& server = server_of(request);
  if (server.must_walk_again(request, server.from_kernel(inode), Use::kOpen)) {
    fuse_reply_err(request, ESTALE);
    return;
  }
  fuse_file_info file = *asked;
  file.fh = server.open_directory(request, server.from_kernel(inode));
  if (fuse_reply_open(request, &file) != 0) {
    server.close_directory(file.fh);
  }
}

void op_readdir(fuse_req_t request, fuse_ino_t, std::size_t size, off_t position,
                fuse_file_info* file) {
  list({.request = request,
        .directory = file->fh,
        .position = static_cast<std::uint64_t>(position),
        .size_bytes = size,
        .with_attributes = false});
}

void op_readdirplus(fuse_req_t request, fuse_ino_t, std::size_t size, off_t position,
                    fuse_file_info* file) {
  list({.request = request,
        .directory = file->fh,
        .position = static_cast<std::uint64_t>(position),
        .size_bytes = size,
        .with_attributes = true});
}

void op_releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  server_of(request).close_directory(file->fh);
  fuse_reply_err(request, 0);
}

// fsync of the mounted directory itself flushes everything of this mount: that is what
// umount.fuse.dfs does first.
void op_fsyncdir(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
  FuseServer& server = server_of(request);
  server.started(request, inode == FUSE_ROOT_ID
                              ? server.client().sync_all(server.answer_unit(request))
                              : server.client().sync_directory(server.from_kernel(inode),
                                                               server.answer_unit(request)));
}

}  // namespace

void add_directory_operations(fuse_lowlevel_ops& table) {
  table.opendir = op_opendir;
  table.readdir = op_readdir;
  table.readdirplus = op_readdirplus;
  table.releasedir = op_releasedir;
  table.fsyncdir = op_fsyncdir;
}

}  // namespace dfs::fuse
