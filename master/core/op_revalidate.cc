#include <optional>

#include "master/core/operations.h"
#include "proto/limits.h"

namespace dfs::master {

Result<RevalidateReply> apply(OpContext& context, const RevalidateRequest& request) {
  if (request.inodes.size() != request.data_versions.size()) {
    return make_error(ErrorCode::kInvalidArgument, "a data version is missing");
  }
  if (request.inodes.size() > kRevalidateInodesMax) {
    return make_error(ErrorCode::kTooLarge, "too many inodes in one request");
  }
  RevalidateReply reply;
  for (std::size_t index = 0; index < request.inodes.size(); ++index) {
    DFS_TRY(const std::optional<InodeRow> row, context.store.inode(request.inodes[index]));
    if (!row) {
      reply.gone.push_back(request.inodes[index]);
    } else if (row->attributes.data_version != request.data_versions[index]) {
      reply.changed.push_back(row->attributes);
    }
  }
  return reply;
}

}  // namespace dfs::master
