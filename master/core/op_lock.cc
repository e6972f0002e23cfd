// Locks of programs: the lock service does it.
#include <optional>

#include "master/core/lock_service.h"
#include "master/core/operations.h"

namespace dfs::master {

Result<std::optional<SetLockReply>> apply(OpContext& context, const SetLockRequest& request,
                                          const ReplyAddress& to) {
  return context.locks.set(context.session, request, to);
}

Result<std::optional<TestLockReply>> apply(OpContext& context, const TestLockRequest& request,
                                           const ReplyAddress& to) {
  return context.locks.test(context.session, request, to);
}

Result<std::optional<AwaitLocksReply>> apply(OpContext& context, const AwaitLocksRequest& request,
                                             const ReplyAddress& to) {
  return context.locks.await(context.session, request, to);
}

Result<std::optional<ReclaimLocksReply>> apply(OpContext& context,
                                               const ReclaimLocksRequest& request,
                                               const ReplyAddress& /*to*/) {
  return context.locks.reclaim(context.session, request);
}

}  // namespace dfs::master
