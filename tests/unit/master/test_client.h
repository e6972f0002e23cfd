// A client of a master in tests: raw calls over RPC, with all that a session needs.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/lease_messages.h"
#include "proto/namespace_messages.h"
#include "proto/rpc_client.h"
#include "proto/session_messages.h"
#include "proto/xattr_messages.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_log.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_scheduler.h"

namespace dfs::master {

CreateRequest create_request(InodeId parent, const std::string& name, std::uint32_t mode);
SetAttributesRequest set_request(InodeId inode);

// What a call was answered, once it is.
template <class Reply>
using Answer = std::shared_ptr<std::optional<Result<Reply>>>;

// One client: its calls run the simulation until they are answered. It keeps nothing and so drops
// at once what notices name, and has nothing to reclaim from a master that was started anew.
class TestClient {
 public:
  TestClient(sim::SimEvents& events, sim::SimNetwork& network, const std::string& host);

  // A request as it is, without a sequence.
  template <class Request>
  Result<typename Request::Reply> ask(const Request& request) {
    return call(request, CallOptions{.session = session});
  }
  // A change: takes the next sequence and acknowledges those before it.
  template <class Request>
  Result<typename Request::Reply> change(const Request& request) {
    ++sequence;
    return repeat(request);
  }
  // The same sequence as the last change.
  template <class Request>
  Result<typename Request::Reply> repeat(const Request& request) {
    return call(request, CallOptions{.session = session,
                                     .sequence = sequence,
                                     .acknowledged = acknowledges ? sequence - 1 : 0});
  }
  template <class Request>
  Result<typename Request::Reply> call(const Request& request, const CallOptions& options);

  // Opens a session as the client named by `nonce`.
  void open(std::uint64_t nonce);
  Status keep_alive(std::vector<InodeId> pinned, std::vector<InodeId> unpinned, bool full = false);
  // The answered change `request` as it is told again: call it right behind its answer.
  template <class Request>
  std::string told_again(const Request& request) const;
  // Tells a master that asks for it all pins (none) and these changes. begin_replay does not wait
  // for the answer, which comes when the grace period is over.
  Result<ReplayChangesReply> replay(std::vector<std::string> changes);
  Answer<ReplayChangesReply> begin_replay(std::vector<std::string> changes, std::uint32_t page = 0,
                                          std::uint32_t pages = 1);
  template <class Request>
  Answer<typename Request::Reply> begin(const Request& request, const CallOptions& options);

  // Names below the root or `parent`; the test fails when the master refuses.
  InodeId make_file(const std::string& name, InodeId parent = kRootInode, bool pin = false);
  InodeId make_directory(const std::string& name, InodeId parent = kRootInode);
  ErrorCode unlink(const std::string& name, InodeId parent = kRootInode);
  ErrorCode lookup(const std::string& name, InodeId parent = kRootInode);
  Attributes attributes(InodeId inode);

  SessionId session;
  std::uint64_t sequence = 0;
  std::uint64_t keep_alive_sequence = 0;
  bool acknowledges = true;
  ChangeStamp stamp;                 // of the last answer
  std::uint64_t durable_index = 0;   // the same
  bool wants_replay = false;         // as the last keep-alive was answered
  std::vector<LeaseChange> noticed;  // everything since the session was opened
  bool drops_at_once = true;         // else when acknowledge_notices() says so
  void acknowledge_notices() { poll(notice_number_); }
  // Says of the newest that it cannot drop it before a change of its own is answered.
  void hold_up_newest_notice() { poll(0, {notice_number_}); }
  // Meets a master that was started anew, and waits until that knows it.
  void rejoin();
  // Tells the master what it keeps; done by itself after each start of the master.
  void reclaim();
  // From here on it says nothing by itself.
  void be_silent();
  std::vector<InodeId> kept;                               // what it reclaims
  std::vector<std::pair<InodeId, std::uint64_t>> written;  // the same, write leases and epochs

 private:
  sim::SimEvents& events_;
  sim::SimScheduler scheduler_;
  sim::SimLog log_;
  sim::SimRandom random_{7};
  std::unique_ptr<Transport> transport_;
  RpcClient rpc_;
  void poll(std::uint64_t handled, std::vector<std::uint64_t> held_up = {});

  std::uint64_t incarnation_ = 0;
  std::uint64_t lease_incarnation_ = 0;
  bool is_member_ = false;  // the master knows what it keeps
  bool is_silent_ = false;
  CallId poll_;
  std::uint64_t notice_number_ = 0;
};

template <class Request>
Answer<typename Request::Reply> TestClient::begin(const Request& request,
                                                  const CallOptions& options) {
  using Reply = typename Request::Reply;
  auto answer = std::make_shared<std::optional<Result<Reply>>>();
  rpc_.call(request, options, [this, answer](Result<RpcReply<Reply>> reply) {
    stamp = reply ? reply->stamp : ChangeStamp{};
    durable_index = reply ? reply->durable_index : 0;
    if (reply) {
      *answer = std::move(reply->body);
    } else {
      *answer = std::move(reply).error();
    }
  });
  return answer;
}

template <class Request>
Result<typename Request::Reply> TestClient::call(const Request& request,
                                                 const CallOptions& options) {
  const auto answer = begin(request, options);
  const bool is_answered =
      events_.run_until([&] { return answer->has_value(); }, std::chrono::seconds(30));
  if (!is_answered) {
    return make_error(ErrorCode::kTimedOut, "the test waited long enough");
  }
  return std::move(**answer);
}

template <class Request>
std::string TestClient::told_again(const Request& request) const {
  Envelope envelope;
  envelope.version = kProtocolVersion;
  envelope.type = Request::kType;
  envelope.session = session;
  envelope.sequence = sequence;
  envelope.stamp = stamp;
  return std::string(encode_message(envelope, request).text());
}

}  // namespace dfs::master
