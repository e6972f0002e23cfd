// The client's session with the master: numbers changes, repeats what a restart swallowed, keeps
// the session alive and tells which inodes are open.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>

#include "common/world.h"
#include "fuse-client/core/client.h"
#include "proto/data_messages.h"
#include "proto/rpc_client.h"
#include "proto/session_messages.h"

namespace dfs::client {

// Requests that change something get a sequence number.
template <class Request>
inline constexpr bool kIsChange =
    std::is_same_v<Request, SetAttributesRequest> || std::is_same_v<Request, CreateRequest> ||
    std::is_same_v<Request, UnlinkRequest> || std::is_same_v<Request, RemoveDirectoryRequest> ||
    std::is_same_v<Request, RenameRequest> || std::is_same_v<Request, LinkRequest> ||
    std::is_same_v<Request, SetXattrRequest> || std::is_same_v<Request, RemoveXattrRequest> ||
    std::is_same_v<Request, CommitExtentsRequest> || std::is_same_v<Request, OpenChunkRequest> ||
    std::is_same_v<Request, SealChunkRequest>;

class MasterLink {
 public:
  MasterLink(World world, Address master, std::string client_name);
  ~MasterLink();
  MasterLink(const MasterLink&) = delete;
  MasterLink& operator=(const MasterLink&) = delete;

  void start(Duration connect_wait, Done<Unit> done);
  void stop(Done<Unit> done);  // closes the session; gives up after a few seconds

  // Waits through restarts of the master. When the session expired meanwhile, a new one is opened:
  // reads are then repeated in it, a change whose outcome is unknown fails with kSessionExpired.
  template <class Request>
  CallId call(const Request& request, Done<typename Request::Reply> done);

  // Gives up waiting while the master is unreachable, or for a read at any time: the callback runs
  // with kInterrupted. A change the master is working on is left to finish.
  void interrupt(CallId call);

  // Open inodes: what is pinned lives on after its last unlink. Told in order before later calls.
  void pin(InodeId inode);
  void unpin(InodeId inode);

  SessionId session() const;
  bool is_up() const;
};

}  // namespace dfs::client
