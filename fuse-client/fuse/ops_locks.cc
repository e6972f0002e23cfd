// Kernel requests about locks. The kernel asks for each one here and keeps none itself; fcntl(2) on
// directories and flock(2) on them never reach a FUSE server.
#include <fcntl.h>
#include <sys/file.h>

#include "fuse-client/fuse/fuse_server.h"

namespace dfs::fuse {
namespace {

LockMode mode_of(short type) {
  switch (type) {
    case F_RDLCK: return LockMode::kShared;
    case F_WRLCK: return LockMode::kExclusive;
    default: return LockMode::kNone;
  }
}

// A length of 0 reaches to the end of the file, wherever that comes to be.
client::FileLock from_flock(const struct flock& lock, const fuse_file_info& file) {
  const auto start = static_cast<std::uint64_t>(lock.l_start);
  const auto length = static_cast<std::uint64_t>(lock.l_len);
  return {.kind = LockKind::kRange,
          .mode = mode_of(lock.l_type),
          .span = {.start = start, .end = length == 0 ? kLockOffsetMax : start + length - 1},
          .owner = file.lock_owner,
          .pid = static_cast<std::uint32_t>(lock.l_pid)};
}

struct flock to_flock(const client::FileLock& lock) {
  struct flock found {};
  found.l_whence = SEEK_SET;
  found.l_type = F_UNLCK;
  if (lock.mode != LockMode::kNone) {
    found.l_type = lock.mode == LockMode::kExclusive ? F_WRLCK : F_RDLCK;
    found.l_start = static_cast<off_t>(lock.span.start);
    const bool is_open_ended = lock.span.end == kLockOffsetMax;
    found.l_len = is_open_ended ? 0 : static_cast<off_t>(lock.span.end - lock.span.start + 1);
    found.l_pid = static_cast<pid_t>(lock.pid);
  }
  return found;
}

void op_getlk(fuse_req_t request, fuse_ino_t, fuse_file_info* file, struct flock* lock) {
  FuseServer& server = server_of(request);
  auto done = server.answer<client::FileLock>(request, [request](const client::FileLock& found) {
    const struct flock reply = to_flock(found);
    fuse_reply_lock(request, &reply);
  });
  server.started(request, server.client().test_lock(client::HandleId{file->fh},
                                                    from_flock(*lock, *file), done));
}

void op_setlk(fuse_req_t request, fuse_ino_t, fuse_file_info* file, struct flock* lock,
              int may_sleep) {
  FuseServer& server = server_of(request);
  server.started(request,
                 server.client().set_lock(client::HandleId{file->fh}, from_flock(*lock, *file),
                                          may_sleep != 0, server.answer_unit(request)),
                 WokenBy::kAnySignal);
}

void op_flock(fuse_req_t request, fuse_ino_t, fuse_file_info* file, int operation) {
  FuseServer& server = server_of(request);
  client::FileLock lock;
  lock.kind = LockKind::kFlock;
  lock.owner = file->lock_owner;
  if ((operation & LOCK_EX) != 0) {
    lock.mode = LockMode::kExclusive;
  } else if ((operation & LOCK_SH) != 0) {
    lock.mode = LockMode::kShared;
  }
  server.started(request,
                 server.client().set_lock(client::HandleId{file->fh}, lock,
                                          (operation & LOCK_NB) == 0, server.answer_unit(request)),
                 WokenBy::kAnySignal);
}

}  // namespace

void add_lock_operations(fuse_lowlevel_ops& table) {
  table.getlk = op_getlk;
  table.setlk = op_setlk;
  table.flock = op_flock;
}

}  // namespace dfs::fuse
