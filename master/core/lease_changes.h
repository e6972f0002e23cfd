// What a request is about to change of inodes that other sessions may keep in their caches.
//
// Looked up in the store before the request is applied; a request that will be refused may name
// more than it changes, never less. Errors are those of the Store.
#pragma once

#include <vector>

#include "common/result.h"
#include "master/core/op_context.h"
#include "proto/admin_messages.h"
#include "proto/data_messages.h"
#include "proto/lease_messages.h"
#include "proto/namespace_messages.h"
#include "proto/xattr_messages.h"

namespace dfs::master {

using LeaseChanges = std::vector<LeaseChange>;

Result<LeaseChanges> lease_changes(OpContext& context, const SetAttributesRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const CreateRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const UnlinkRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const RemoveDirectoryRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const RenameRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const LinkRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const SetXattrRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const RemoveXattrRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const AllocateRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const CloneRangeRequest& request);
Result<LeaseChanges> lease_changes(OpContext& context, const SetPolicyRequest& request);
// As if it changed the contents: they will.
Result<LeaseChanges> lease_changes(OpContext& context, const TakeWriteLeaseRequest& request);

// A read that was noted, and nothing else: access times are each client's own until it asks again.
bool is_only_access(const SetAttributesRequest& request);

}  // namespace dfs::master
