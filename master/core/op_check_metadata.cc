#include "master/core/chunk_manager.h"
#include "master/core/metadata_check.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<CheckMetadataReply> apply(OpContext& context, const CheckMetadataRequest& request) {
  return context.chunks.metadata_check().next(context, request.cursor);
}

}  // namespace dfs::master
