// The changes that sessions replay in the grace period (grace.h): collected here until all have
// come.
//
// In memory only: a master that dies asks again. Bounded for each session by kReplayBytesMax. What
// a session that ends has not told to the last page is dropped, so that of its changes a beginning
// is left (what the store kept) and no holes.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "proto/rpc_server.h"
#include "proto/session_messages.h"

namespace dfs::master {

class Replays {
 public:
  explicit Replays(std::uint64_t incarnation) : incarnation_(incarnation) {}

  void expect(SessionId session) { told_.try_emplace(session); }
  // Whether this session was expected and has not told all.
  bool waits_for(SessionId session) const;
  bool is_complete() const;
  std::size_t count() const { return told_.size(); }  // of sessions expected and not over
  void forget(SessionId session) { told_.erase(session); }

  // A page. Fails with kBadMessage, kTooLarge. One that is here already, of a session that is not
  // expected, or meant for an earlier master (the session is asked again) changes nothing.
  Status add(SessionId session, const ReplayChangesRequest& page);
  // All changes, in the order of their indices; nothing is expected any more.
  std::vector<RpcRequest> take();

 private:
  struct Told {
    std::set<std::uint32_t> pages;
    std::uint32_t pages_expected = 0;  // 0: none came yet
    std::vector<RpcRequest> changes;
    std::size_t size_bytes = 0;

    bool is_all() const { return pages_expected > 0 && pages.size() == pages_expected; }
  };

  std::uint64_t incarnation_;
  std::map<SessionId, Told> told_;
};

}  // namespace dfs::master
