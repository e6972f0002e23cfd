// What only the owner of an inode may do is checked again, by its attributes as they are.
//
// The kernel has allowed it, but by the owner that it was last told of: before it changes
// attributes or removes a name it asks for none, whatever has been invalidated. Root is not asked
// about.
#pragma once

#include <cstdint>
#include <string>

#include "common/scheduler.h"
#include "fuse-client/core/client.h"
#include "fuse-client/fuse/fuse_server.h"

namespace dfs::fuse {

// Whether this is for the owner alone, when `now` is what the inode is like. Not so if it only
// takes set-id bits away: the kernel asks for that in the name of whoever writes.
bool is_for_owner(const client::AttributeChange& change, const Attributes& now);

// Runs `go`, perhaps inside; or answers the request with EPERM or what was wrong.
void if_owner(FuseServer& server, fuse_req_t request, const client::AttributeChange& change,
              Task go);
// The same for a change of an access control list.
void if_owner(FuseServer& server, fuse_req_t request, InodeId inode, Task go);
// The same for the removal of a name: in a directory with the sticky bit it is for the owner of the
// directory, or of what the name stands for.
void if_may_remove(FuseServer& server, fuse_req_t request, InodeId directory,
                   const std::string& name, Task go);

}  // namespace dfs::fuse
