#include "master/core/extent_editor.h"
#include "master/core/lease_table.h"
#include "master/core/operations.h"

namespace dfs::master {

// Applied when all others have dropped the file (lease_changes.h).
Result<TakeWriteLeaseReply> apply(OpContext& context, const TakeWriteLeaseRequest& request) {
  DFS_TRY(const InodeRow inode, require_file(context, request.inode));
  const Attributes& attributes = inode.attributes;
  if (request.data_version != 0 && request.data_version != attributes.data_version) {
    return make_error(ErrorCode::kLeaseLost,
                      "another client changed the file while this one had no lease on it");
  }
  const std::uint64_t epoch = context.leases.begin_writing(context.session, request.inode);
  // Not grant(): changes that wait will announce themselves to this lease.
  context.granted = OpContext::Granted::kAll;
  return TakeWriteLeaseReply{.attributes = attributes, .lease = 0, .epoch = epoch};
}

}  // namespace dfs::master
