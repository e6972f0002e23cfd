#include "fuse-client/fuse/to_errno.h"

#include <cerrno>

namespace dfs::fuse {

// No default: the compiler then names a code that was forgotten here.
int to_errno(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk: return 0;
    case ErrorCode::kNotFound: return ENOENT;
    case ErrorCode::kExists: return EEXIST;
    case ErrorCode::kNotDirectory: return ENOTDIR;
    case ErrorCode::kIsDirectory: return EISDIR;
    case ErrorCode::kNotEmpty: return ENOTEMPTY;
    case ErrorCode::kNameTooLong: return ENAMETOOLONG;
    case ErrorCode::kTooManyLinks: return EMLINK;
    case ErrorCode::kNoSpace: return ENOSPC;
    case ErrorCode::kAccessDenied: return EACCES;
    case ErrorCode::kNotPermitted: return EPERM;
    case ErrorCode::kInvalidArgument: return EINVAL;
    case ErrorCode::kStale: return ESTALE;
    case ErrorCode::kNoAttribute: return ENODATA;
    case ErrorCode::kBufferTooSmall: return ERANGE;
    case ErrorCode::kArgumentTooBig: return E2BIG;
    case ErrorCode::kFileTooBig: return EFBIG;
    case ErrorCode::kReadOnly: return EROFS;
    case ErrorCode::kCrossDevice: return EXDEV;
    case ErrorCode::kNotSupported: return EOPNOTSUPP;
    case ErrorCode::kInterrupted: return EINTR;
    case ErrorCode::kNoData: return ENXIO;
    case ErrorCode::kBusy:
    case ErrorCode::kLockConflict: return EAGAIN;
    case ErrorCode::kDeadlock: return EDEADLK;
    case ErrorCode::kTooManyLocks: return ENOLCK;
    case ErrorCode::kNoMemory: return ENOMEM;
    case ErrorCode::kWrongCluster:
    case ErrorCode::kVersionMismatch: return EPROTO;
    case ErrorCode::kTooLarge: return EMSGSIZE;
    // Nothing a program can act on but know that it failed.
    case ErrorCode::kTimedOut:
    case ErrorCode::kUnavailable:
    case ErrorCode::kIo:
    case ErrorCode::kCorrupt:
    case ErrorCode::kLeaseLost:
    case ErrorCode::kSealed:
    case ErrorCode::kWrongOffset:
    case ErrorCode::kNoSuchChunk:
    case ErrorCode::kNotEnoughServers:
    case ErrorCode::kTooManyExtents:
    case ErrorCode::kBadMessage:
    case ErrorCode::kSessionExpired:
    case ErrorCode::kWrongFormat:
    case ErrorCode::kLocked:
    case ErrorCode::kInternal: return EIO;
  }
  return EIO;
}

}  // namespace dfs::fuse
