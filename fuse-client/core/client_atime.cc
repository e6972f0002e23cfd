// Times of last access, moved as relatime does. The kernel leaves them to FUSE filesystems.
#include "fuse-client/core/client_impl.h"

namespace dfs::client {
namespace {

// More at once are not noted: a tree of small files being read must not fill the way to the master.
constexpr std::size_t kAccessesMax = 1024;
constexpr std::int64_t kOldSeconds = 24 * 60 * 60;

bool has_old_access_time(const Attributes& attributes, Timestamp now) {
  return attributes.atime <= attributes.mtime || attributes.atime <= attributes.ctime ||
         attributes.atime.seconds <= now.seconds - kOldSeconds;
}

}  // namespace

void Client::Impl::note_access(Handle& file) {
  const InodeId inode = file.inode;
  const Attributes* known = inodes_.attributes(inode);
  if (!options_.update_atime || refuses_changes() || !file.notes_access || known == nullptr) {
    return;
  }
  file.notes_access = false;
  const Timestamp now = master_.wall_time();
  if (!known->is_regular() || !has_old_access_time(merged(*known), now) ||
      accesses_.size() >= kAccessesMax) {
    return;
  }
  accesses_[inode] = now;
  SetAttributesRequest request;
  request.inode = inode;
  request.was_read = true;
  const MonoTime sent_at = world_.scheduler.now();
  // Nobody waits for it, and a read does not fail because its time could not be noted.
  master_.call(request, [this, inode, sent_at](Result<AttributesReply> reply) {
    accesses_.erase(inode);
    if (reply) {
      inodes_.learn(reply->attributes, master_.leases().told_besides(sent_at, reply->lease));
    } else {
      world_.log.debug("the time of an access was not noted inode=" + std::to_string(inode.value) +
                       " error=" + error_code_name(reply.code()));
    }
  });
}

}  // namespace dfs::client
