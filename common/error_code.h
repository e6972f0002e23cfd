// The one list of error codes, in memory and on the wire.
//
// A code exists only if some caller acts on it or a user sees a different errno for it. Numbers are
// part of the wire format: never reused, never renumbered; a code read from the wire is
// range-checked by `error_code_from_wire` before the cast.
#pragma once

#include <cstdint>

namespace dfs {

enum class ErrorCode : std::uint16_t {
  kOk = 0,
  // Namespace answers: the operation was understood and refused.
  kNotFound = 1,
  kExists = 2,
  kNotDirectory = 3,
  kIsDirectory = 4,
  kNotEmpty = 5,
  kNameTooLong = 6,
  kTooManyLinks = 7,
  kNoSpace = 8,
  kAccessDenied = 9,
  kNotPermitted = 10,
  kInvalidArgument = 11,
  kStale = 12,           // the inode is gone
  kNoAttribute = 13,     // no such xattr
  kBufferTooSmall = 14,  // xattr answer larger than the caller's buffer
  kArgumentTooBig = 15,  // xattr value over its limit
  kFileTooBig = 16,
  kReadOnly = 17,
  kCrossDevice = 18,
  kNotSupported = 19,
  // The call did not run to its end.
  kInterrupted = 20,  // withdrawn by a signal; it had no effect
  kTimedOut = 21,     // outcome unknown: the peer is alive but did not answer in time
  kUnavailable = 22,  // outcome unknown: the peer is not reachable
  kBusy = 23,         // a bounded queue or table is full; try again later
  // Data and storage.
  kIo = 24,           // a disk or an unrecoverable replica failure
  kCorrupt = 25,      // a checksum or a format did not match
  kSealed = 26,       // the chunk was sealed or fenced by a newer epoch; append elsewhere
  kWrongOffset = 27,  // the append does not continue the chunk
  kNoSuchChunk = 28,
  kNotEnoughServers = 29,  // fewer servers than the policy's min_replicas can take a chunk
  kTooManyExtents = 30,    // the window holds too many pieces; the writer must rewrite it
  // Protocol and identity.
  kBadMessage = 31,
  kVersionMismatch = 32,
  kWrongCluster = 33,
  kSessionExpired = 34,  // the master no longer knows the session
  kTooLarge = 35,        // a message or batch over its limit
  kWrongFormat = 36,     // a data directory or database of another or newer format
  kLocked = 37,          // a data directory is in use by another daemon
  kNoMemory = 38,
  kInternal = 39,  // a bug; the detail says where
  kNoData = 40,    // nothing of what was sought lies behind the offset
  // Locks of programs.
  kLockConflict = 41,  // another owner has it
  kDeadlock = 42,      // who has it waits for what the caller has
  kTooManyLocks = 43,  // over a limit
  // Leases.
  kLeaseLost = 44,  // the session has no write lease, or the file changed since it had one
};

inline constexpr std::uint16_t kErrorCodeMax = 44;

// The code for a number read from the wire; kInternal for one this version does not know.
ErrorCode error_code_from_wire(std::uint64_t number);

// Stable snake_case name, for logs and `--json`.
const char* error_code_name(ErrorCode code);

}  // namespace dfs
