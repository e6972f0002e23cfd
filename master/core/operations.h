// Every operation of the master: one function for each request, in op_<name>.cc.
//
// Contract of all of them: see op_context.h. They are called by the dispatch table only
// (dispatch.cc), which has decoded the request, checked the session, and keeps the answer of
// those that are applied once. The failure codes are those written at the request in proto/.
#pragma once

#include <optional>

#include "common/result.h"
#include "master/core/op_context.h"
#include "proto/admin_messages.h"
#include "proto/data_messages.h"
#include "proto/lease_messages.h"
#include "proto/lock_messages.h"
#include "proto/namespace_messages.h"
#include "proto/node_messages.h"
#include "proto/rpc_server.h"
#include "proto/session_messages.h"
#include "proto/wait_messages.h"
#include "proto/xattr_messages.h"

namespace dfs::master {

// Sessions.
Result<OpenSessionReply> apply(OpContext& context, const OpenSessionRequest& request);
Result<KeepAliveReply> apply(OpContext& context, const KeepAliveRequest& request);
Result<CloseSessionReply> apply(OpContext& context, const CloseSessionRequest& request);
Result<ReplayChangesReply> apply(OpContext& context, const ReplayChangesRequest& request);

// Namespace.
Result<EntryReply> apply(OpContext& context, const LookupRequest& request);
Result<AttributesReply> apply(OpContext& context, const GetAttributesRequest& request);
Result<AttributesReply> apply(OpContext& context, const SetAttributesRequest& request);
Result<EntryReply> apply(OpContext& context, const CreateRequest& request);
Result<UnlinkReply> apply(OpContext& context, const UnlinkRequest& request);
Result<UnlinkReply> apply(OpContext& context, const RemoveDirectoryRequest& request);
Result<RenameReply> apply(OpContext& context, const RenameRequest& request);
Result<EntryReply> apply(OpContext& context, const LinkRequest& request);
Result<ReadLinkReply> apply(OpContext& context, const ReadLinkRequest& request);
Result<ReadDirectoryReply> apply(OpContext& context, const ReadDirectoryRequest& request);
Result<StatFilesystemReply> apply(OpContext& context, const StatFilesystemRequest& request);
Result<GetXattrReply> apply(OpContext& context, const GetXattrRequest& request);
Result<EmptyReply> apply(OpContext& context, const SetXattrRequest& request);
Result<ListXattrsReply> apply(OpContext& context, const ListXattrsRequest& request);
Result<EmptyReply> apply(OpContext& context, const RemoveXattrRequest& request);
Result<EmptyReply> apply(OpContext& context, const SyncMetadataRequest& request);

// Extents and chunks.
Result<GetExtentsReply> apply(OpContext& context, const GetExtentsRequest& request);
Result<CommitExtentsReply> apply(OpContext& context, const CommitExtentsRequest& request);
Result<TakeWriteLeaseReply> apply(OpContext& context, const TakeWriteLeaseRequest& request);
Result<EmptyReply> apply(OpContext& context, const ReleaseWriteLeasesRequest& request);
Result<SeekReply> apply(OpContext& context, const SeekRequest& request);
Result<AttributesReply> apply(OpContext& context, const AllocateRequest& request);
Result<CloneRangeReply> apply(OpContext& context, const CloneRangeRequest& request);
Result<OpenChunkReply> apply(OpContext& context, const OpenChunkRequest& request);
Result<SealChunkReply> apply(OpContext& context, const SealChunkRequest& request);
Result<EmptyReply> apply(OpContext& context, const ReportBadReplicaRequest& request);

// Locks: nothing is an answer that comes later, or not at all.
Result<std::optional<SetLockReply>> apply(OpContext& context, const SetLockRequest& request,
                                          const ReplyAddress& to);
Result<std::optional<TestLockReply>> apply(OpContext& context, const TestLockRequest& request,
                                           const ReplyAddress& to);
Result<std::optional<AwaitLocksReply>> apply(OpContext& context, const AwaitLocksRequest& request,
                                             const ReplyAddress& to);
Result<std::optional<ReclaimLocksReply>> apply(OpContext& context,
                                               const ReclaimLocksRequest& request,
                                               const ReplyAddress& to);

// Chunkservers.
Result<RegisterNodeReply> apply(OpContext& context, const RegisterNodeRequest& request);
Result<HeartbeatReply> apply(OpContext& context, const HeartbeatRequest& request);
Result<ReportInventoryReply> apply(OpContext& context, const ReportInventoryRequest& request);
Result<EmptyReply> apply(OpContext& context, const ReportReplicasRequest& request);

// Administration.
Result<ClusterStatusReply> apply(OpContext& context, const ClusterStatusRequest& request);
Result<ListNodesReply> apply(OpContext& context, const ListNodesRequest& request);
Result<DescribeChunksReply> apply(OpContext& context, const DescribeChunksRequest& request);
Result<ListChunksReply> apply(OpContext& context, const ListChunksRequest& request);
Result<EmptyReply> apply(OpContext& context, const SetPolicyRequest& request);
Result<CheckMetadataReply> apply(OpContext& context, const CheckMetadataRequest& request);
Result<ListWaitsReply> apply(OpContext& context, const ListWaitsRequest& request);

}  // namespace dfs::master
