#include "tests/unit/master/test_client.h"

namespace dfs::master {

CreateRequest create_request(InodeId parent, const std::string& name, std::uint32_t mode) {
  CreateRequest request;
  request.parent = parent;
  request.name = name;
  request.mode = mode;
  return request;
}

SetAttributesRequest set_request(InodeId inode) {
  SetAttributesRequest request;
  request.inode = inode;
  return request;
}

TestClient::TestClient(sim::SimEvents& events, sim::SimNetwork& network, const std::string& host)
    : events_(events),
      scheduler_(events),
      transport_(network.transport(scheduler_, host)),
      rpc_(World{scheduler_, random_, log_, *transport_}, "master:9420", "master",
           RpcClient::Options{.when_down = RpcClient::WhenDown::kKeepCalls}) {}

void TestClient::open(std::uint64_t nonce) {
  const auto reply = ask(OpenSessionRequest{.client_name = "test", .nonce = nonce, .ends = {}});
  ASSERT_TRUE(reply) << reply.error().detail;
  session = reply->session;
  lease_incarnation_ = incarnation_ = reply->incarnation;
  reclaim();
}

void TestClient::reclaim() {
  is_member_ = false;
  ReclaimLeasesRequest request{
      .incarnation = lease_incarnation_, .page = 0, .pages = 1, .inodes = kept};
  for (const auto& [inode, epoch] : written) {
    request.written.push_back(inode);
    request.epochs.push_back(epoch);
  }
  rpc_.call(request, CallOptions{.session = session},
            [this](Result<RpcReply<ReclaimLeasesReply>> reply) {
              if (reply) {
                is_member_ = true;
                notice_number_ = reply->body.lease;
                poll(notice_number_);
              } else if (reply.code() == ErrorCode::kUnavailable) {
                poll(notice_number_);
              }
            });
}

void TestClient::poll(std::uint64_t handled, std::vector<std::uint64_t> held_up) {
  if (is_silent_) {
    return;
  }
  poll_ = rpc_.call(WaitForNoticesRequest{.incarnation = lease_incarnation_,
                                          .received = notice_number_,
                                          .handled = handled,
                                          .also_handled = {},
                                          .held_up = std::move(held_up)},
                    CallOptions{.session = session},
                    [this, handled](Result<RpcReply<WaitForNoticesReply>> reply) {
                      if (!reply) {
                        if (reply.code() == ErrorCode::kUnavailable) {
                          poll(handled);
                        }
                        return;
                      }
                      if (reply->body.incarnation != lease_incarnation_) {
                        lease_incarnation_ = reply->body.incarnation;
                        reclaim();
                        return;
                      }
                      if (reply->body.notices.empty()) {
                        return;  // made way for a newer one
                      }
                      notice_number_ = reply->body.notices.back().number;
                      for (const LeaseNotice& notice : reply->body.notices) {
                        noticed.insert(noticed.end(), notice.changes.begin(), notice.changes.end());
                      }
                      poll(drops_at_once ? notice_number_ : handled);
                    });
}

void TestClient::rejoin() {
  rpc_.cancel(poll_);
  is_member_ = false;
  poll(notice_number_);
  EXPECT_TRUE(events_.run_until([this] { return is_member_; }, std::chrono::seconds(10)));
}

void TestClient::be_silent() {
  is_silent_ = true;
  rpc_.cancel(poll_);
}

Status TestClient::keep_alive(std::vector<InodeId> pinned, std::vector<InodeId> unpinned,
                              bool full) {
  const auto reply = ask(KeepAliveRequest{.full = full,
                                          .pinned = std::move(pinned),
                                          .unpinned = std::move(unpinned),
                                          .sequence = ++keep_alive_sequence});
  if (!reply) {
    return reply.error();
  }
  wants_replay = reply->wants_replay;
  incarnation_ = reply->incarnation;
  return ok();
}

Answer<ReplayChangesReply> TestClient::begin_replay(std::vector<std::string> changes,
                                                    std::uint32_t page, std::uint32_t pages) {
  EXPECT_TRUE(keep_alive({}, {}, true));
  return begin(
      ReplayChangesRequest{
          .incarnation = incarnation_, .page = page, .pages = pages, .changes = std::move(changes)},
      CallOptions{.session = session});
}

Result<ReplayChangesReply> TestClient::replay(std::vector<std::string> changes) {
  const auto answer = begin_replay(std::move(changes));
  if (!events_.run_until([&] { return answer->has_value(); }, std::chrono::seconds(30))) {
    return make_error(ErrorCode::kTimedOut, "the test waited long enough");
  }
  return **answer;
}

InodeId TestClient::make_file(const std::string& name, InodeId parent, bool pin) {
  CreateRequest request = create_request(parent, name, kModeRegular | 0644);
  request.pin = pin;
  const auto reply = change(request);
  EXPECT_TRUE(reply) << error_code_name(reply.code());
  return reply ? reply->attributes.inode : InodeId{};
}

InodeId TestClient::make_directory(const std::string& name, InodeId parent) {
  const auto reply = change(create_request(parent, name, kModeDirectory | 0755));
  EXPECT_TRUE(reply) << error_code_name(reply.code());
  return reply ? reply->attributes.inode : InodeId{};
}

ErrorCode TestClient::unlink(const std::string& name, InodeId parent) {
  return change(UnlinkRequest{.parent = parent, .name = name}).code();
}

ErrorCode TestClient::lookup(const std::string& name, InodeId parent) {
  return ask(LookupRequest{.parent = parent, .name = name}).code();
}

Attributes TestClient::attributes(InodeId inode) {
  const auto reply = ask(GetAttributesRequest{.inode = inode});
  EXPECT_TRUE(reply) << error_code_name(reply.code());
  return reply ? reply->attributes : Attributes{};
}

}  // namespace dfs::master
