// The type number of every request. Part of the wire format: never reused, never renumbered. A
// reply has the type of its request.
#pragma once

#include <cstdint>

namespace dfs {

enum class MessageType : std::uint16_t {
  kPing = 1,
  // Client to master: session.
  kOpenSession = 10,
  kKeepAlive = 11,
  kCloseSession = 12,
  kReplayChanges = 13,
  kWaitForNotices = 14,
  kReclaimLeases = 15,
  kWithdraw = 16,
  kTakeWriteLease = 17,
  kReleaseWriteLeases = 18,
  // Client to master: namespace.
  kLookup = 20,
  kGetAttributes = 21,
  kSetAttributes = 22,
  kCreate = 23,
  kUnlink = 24,
  kRemoveDirectory = 25,
  kRename = 26,
  kLink = 27,
  kReadLink = 28,
  kReadDirectory = 29,
  kStatFilesystem = 30,
  kGetXattr = 31,
  kSetXattr = 32,
  kListXattrs = 33,
  kRemoveXattr = 34,
  // 35 was asked before there were leases.
  // Client to master: data.
  kGetExtents = 40,
  kCommitExtents = 41,
  kOpenChunk = 42,
  kSealChunk = 43,
  kReportBadReplica = 44,
  kSyncMetadata = 45,
  kSeek = 46,
  kAllocate = 47,
  kCloneRange = 48,
  // Client to master: locks.
  kSetLock = 52,
  kTestLock = 53,
  kAwaitLocks = 54,
  kReclaimLocks = 55,
  // Chunkserver to master.
  kRegisterNode = 60,
  kHeartbeat = 61,
  kReportInventory = 62,
  kReportReplicas = 63,
  // Client, chunkserver or master to chunkserver.
  kAppend = 80,
  kRead = 81,
  kFenceReplica = 82,
  kSealReplica = 83,
  kDeleteReplicas = 84,
  kListReplicas = 85,
  kVerifyReplica = 86,
  // Administration.
  kClusterStatus = 100,
  kListNodes = 101,
  kDescribeChunks = 102,
  kSetPolicy = 103,
  kListChunks = 104,
  kCheckMetadata = 105,
  kListWaits = 106,
};

inline constexpr std::uint16_t kMessageTypeMax = 106;

}  // namespace dfs
