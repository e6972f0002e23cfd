// Opening, keeping alive and closing a session: the session table does it.
#include "master/core/operations.h"
#include "master/core/session_table.h"

namespace dfs::master {

Result<OpenSessionReply> apply(OpContext& context, const OpenSessionRequest& request) {
  return context.sessions.open(context, request);
}

Result<KeepAliveReply> apply(OpContext& context, const KeepAliveRequest& request) {
  return context.sessions.keep_alive(context, request);
}

Result<CloseSessionReply> apply(OpContext& context, const CloseSessionRequest& request) {
  (void)request;
  DFS_CHECK_OK(context.sessions.close(context, context.session));
  return CloseSessionReply{};
}

}  // namespace dfs::master
