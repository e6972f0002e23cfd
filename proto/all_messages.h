// Every message of the protocol, once: the codec is instantiated from these lists, the round-trip
// tests run over them, and message types get their names from them. A new request or reply is a
// line here.
#pragma once

#include "proto/admin_messages.h"
#include "proto/attributes.h"
#include "proto/chunk_messages.h"
#include "proto/data_messages.h"
#include "proto/lease_messages.h"
#include "proto/lock_messages.h"
#include "proto/namespace_messages.h"
#include "proto/node_messages.h"
#include "proto/session_messages.h"
#include "proto/wait_messages.h"
#include "proto/xattr_messages.h"

// X(Name): Name##Request is the request of MessageType::k##Name.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define DFS_ALL_REQUESTS(X) \
  X(Ping)                   \
  X(OpenSession)            \
  X(KeepAlive)              \
  X(CloseSession)           \
  X(ReplayChanges)          \
  X(WaitForNotices)         \
  X(ReclaimLeases)          \
  X(Withdraw)               \
  X(TakeWriteLease)         \
  X(ReleaseWriteLeases)     \
  X(Lookup)                 \
  X(GetAttributes)          \
  X(SetAttributes)          \
  X(Create)                 \
  X(Unlink)                 \
  X(RemoveDirectory)        \
  X(Rename)                 \
  X(Link)                   \
  X(ReadLink)               \
  X(ReadDirectory)          \
  X(StatFilesystem)         \
  X(GetXattr)               \
  X(SetXattr)               \
  X(ListXattrs)             \
  X(RemoveXattr)            \
  X(GetExtents)             \
  X(CommitExtents)          \
  X(OpenChunk)              \
  X(SealChunk)              \
  X(ReportBadReplica)       \
  X(SyncMetadata)           \
  X(Seek)                   \
  X(Allocate)               \
  X(CloneRange)             \
  X(SetLock)                \
  X(TestLock)               \
  X(AwaitLocks)             \
  X(ReclaimLocks)           \
  X(RegisterNode)           \
  X(Heartbeat)              \
  X(ReportInventory)        \
  X(ReportReplicas)         \
  X(Append)                 \
  X(Read)                   \
  X(FenceReplica)           \
  X(SealReplica)            \
  X(DeleteReplicas)         \
  X(ListReplicas)           \
  X(VerifyReplica)          \
  X(ClusterStatus)          \
  X(ListNodes)              \
  X(DescribeChunks)         \
  X(SetPolicy)              \
  X(ListChunks)             \
  X(CheckMetadata)          \
  X(ListWaits)

// X(Type): each type some request names as its Reply, once.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define DFS_ALL_REPLIES(X) \
  X(EmptyReply)            \
  X(PingReply)             \
  X(OpenSessionReply)      \
  X(KeepAliveReply)        \
  X(CloseSessionReply)     \
  X(ReplayChangesReply)    \
  X(WaitForNoticesReply)   \
  X(ReclaimLeasesReply)    \
  X(WithdrawReply)         \
  X(TakeWriteLeaseReply)   \
  X(EntryReply)            \
  X(AttributesReply)       \
  X(UnlinkReply)           \
  X(RenameReply)           \
  X(ReadLinkReply)         \
  X(ReadDirectoryReply)    \
  X(StatFilesystemReply)   \
  X(GetXattrReply)         \
  X(ListXattrsReply)       \
  X(GetExtentsReply)       \
  X(CommitExtentsReply)    \
  X(OpenChunkReply)        \
  X(SealChunkReply)        \
  X(SeekReply)             \
  X(CloneRangeReply)       \
  X(SetLockReply)          \
  X(TestLockReply)         \
  X(AwaitLocksReply)       \
  X(ReclaimLocksReply)     \
  X(RegisterNodeReply)     \
  X(HeartbeatReply)        \
  X(ReportInventoryReply)  \
  X(AppendReply)           \
  X(ReadReply)             \
  X(FenceReplicaReply)     \
  X(ListReplicasReply)     \
  X(VerifyReplicaReply)    \
  X(ClusterStatusReply)    \
  X(ListNodesReply)        \
  X(DescribeChunksReply)   \
  X(ListChunksReply)       \
  X(CheckMetadataReply)    \
  X(ListWaitsReply)

namespace dfs {

// The name without its k, as in "Rename"; nullptr for a number this version does not know.
const char* message_type_name(MessageType type);

}  // namespace dfs
