#include "master/core/operations.h"

namespace dfs::master {

// The batch it is in commits durably, and with it everything before.
Result<EmptyReply> apply(OpContext& context, const SyncMetadataRequest& request) {
  (void)request;
  context.durable = true;
  return EmptyReply{};
}

}  // namespace dfs::master
