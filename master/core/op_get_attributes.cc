#include "master/core/namespace_rows.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<AttributesReply> apply(OpContext& context, const GetAttributesRequest& request) {
  DFS_TRY(const InodeRow row, require_inode(context, request.inode));
  context.grant(row.attributes);
  return AttributesReply{.attributes = row.attributes,
                         .data_version_before = row.attributes.data_version};
}

}  // namespace dfs::master
