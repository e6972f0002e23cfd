#include "common/error_code.h"

namespace dfs {

ErrorCode error_code_from_wire(std::uint64_t number) {
  return number <= kErrorCodeMax ? static_cast<ErrorCode>(number) : ErrorCode::kInternal;
}

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk: return "ok";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kExists: return "exists";
    case ErrorCode::kNotDirectory: return "not_directory";
    case ErrorCode::kIsDirectory: return "is_directory";
    case ErrorCode::kNotEmpty: return "not_empty";
    case ErrorCode::kNameTooLong: return "name_too_long";
    case ErrorCode::kTooManyLinks: return "too_many_links";
    case ErrorCode::kNoSpace: return "no_space";
    case ErrorCode::kAccessDenied: return "access_denied";
    case ErrorCode::kNotPermitted: return "not_permitted";
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kStale: return "stale";
    case ErrorCode::kNoAttribute: return "no_attribute";
    case ErrorCode::kBufferTooSmall: return "buffer_too_small";
    case ErrorCode::kArgumentTooBig: return "argument_too_big";
    case ErrorCode::kFileTooBig: return "file_too_big";
    case ErrorCode::kReadOnly: return "read_only";
    case ErrorCode::kCrossDevice: return "cross_device";
    case ErrorCode::kNotSupported: return "not_supported";
    case ErrorCode::kInterrupted: return "interrupted";
    case ErrorCode::kTimedOut: return "timed_out";
    case ErrorCode::kUnavailable: return "unavailable";
    case ErrorCode::kBusy: return "busy";
    case ErrorCode::kIo: return "io";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kSealed: return "sealed";
    case ErrorCode::kWrongOffset: return "wrong_offset";
    case ErrorCode::kNoSuchChunk: return "no_such_chunk";
    case ErrorCode::kNotEnoughServers: return "not_enough_servers";
    case ErrorCode::kTooManyExtents: return "too_many_extents";
    case ErrorCode::kBadMessage: return "bad_message";
    case ErrorCode::kVersionMismatch: return "version_mismatch";
    case ErrorCode::kWrongCluster: return "wrong_cluster";
    case ErrorCode::kSessionExpired: return "session_expired";
    case ErrorCode::kTooLarge: return "too_large";
    case ErrorCode::kWrongFormat: return "wrong_format";
    case ErrorCode::kLocked: return "locked";
    case ErrorCode::kNoMemory: return "no_memory";
    case ErrorCode::kInternal: return "internal";
    case ErrorCode::kNoData: return "no_data";
    case ErrorCode::kLockConflict: return "lock_conflict";
    case ErrorCode::kDeadlock: return "deadlock";
    case ErrorCode::kTooManyLocks: return "too_many_locks";
    case ErrorCode::kLeaseLost: return "lease_lost";
  }
  return "unknown";
}

}  // namespace dfs
