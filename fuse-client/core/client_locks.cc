// Locks of programs: from open files to LockClient.
#include "fuse-client/core/client_impl.h"

namespace dfs::client {

OperationId Client::Impl::set_lock(HandleId handle, const FileLock& lock, bool wait,
                                   Done<Unit> done) {
  const LockFile file{.inode = handles_.at(handle).inode, .kind = lock.kind};
  if (!lock.span.is_valid() || (lock.kind == LockKind::kFlock && lock.span != LockSpan{})) {
    return answer_later<Unit>(std::move(done), make_error(ErrorCode::kInvalidArgument));
  }
  // An flock belongs to the open file; its handle is never given twice, unlike the kernel's number.
  const std::uint64_t owner = lock.kind == LockKind::kFlock ? handle.value : lock.owner;
  const OperationId id = begin("lock", file.inode);
  const LockOpId op = locks_.set({.holder = {.file = file, .owner = owner},
                                  .span = lock.span,
                                  .mode = lock.mode,
                                  .handle = handle,
                                  .pid = lock.pid},
                                 wait, tracked(id, std::move(done)));
  set_step(id, Step::kLocks, op.value, [this, op] { locks_.interrupt(op); });
  return id;
}

OperationId Client::Impl::test_lock(HandleId handle, const FileLock& lock, Done<FileLock> done) {
  const InodeId inode = handles_.at(handle).inode;
  if (!lock.span.is_valid()) {
    return answer_later<FileLock>(std::move(done), make_error(ErrorCode::kInvalidArgument));
  }
  const OperationId id = begin("test lock", inode);
  const TestLockRequest request{.inode = inode,
                                .owner = lock.owner,
                                .mode = static_cast<std::uint8_t>(lock.mode),
                                .start = lock.span.start,
                                .end = lock.span.end};
  ask(id, request, [this, inode, done = tracked(id, std::move(done))](auto reply, MonoTime) {
    if (!reply) {
      done(std::move(reply).error());
      return;
    }
    FileLock found;
    if (reply->is_locked) {
      const LockFile file{.inode = inode, .kind = LockKind::kRange};
      const auto pid = locks_.pid_of({.file = file, .owner = reply->owner});
      found.mode = reply->mode == static_cast<std::uint8_t>(LockMode::kExclusive)
                       ? LockMode::kExclusive
                       : LockMode::kShared;
      found.span = {.start = reply->start, .end = reply->end};
      found.owner = reply->owner;
      found.pid = reply->is_own_session ? pid.value_or(0) : 0;
    }
    done(found);
  });
  return id;
}

bool Client::Impl::has_range_locks(HandleId handle, std::uint64_t owner) const {
  return locks_.has_range_locks(handles_.at(handle).inode, owner);
}

OperationId Client::Impl::unlock_ranges(HandleId handle, std::uint64_t owner, Done<Unit> done) {
  const OperationId id = begin("unlock", handles_.at(handle).inode);
  const LockOpId op =
      locks_.unlock_all(handles_.at(handle).inode, owner, tracked(id, std::move(done)));
  set_step(id, Step::kLocks, op.value, [this, op] { locks_.interrupt(op); });
  return id;
}

}  // namespace dfs::client
