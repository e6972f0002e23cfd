// The calls that wait, as a master tells of them.
#include <gtest/gtest.h>

#include "proto/lock_messages.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ListWaitsTest : public MasterRig {
 protected:
  void SetUp() override {
    MasterRig::SetUp();
    other = std::make_unique<TestClient>(events, network, "other");
    other->open(2);
  }
  ListWaitsReply list(const std::string& path = "") {
    const auto reply = client->ask(ListWaitsRequest{.path = path});
    EXPECT_TRUE(reply);
    return reply ? *reply : ListWaitsReply{};
  }
  // A change of the file's mode that waits for `other`.
  Answer<AttributesReply> begin_waiting_change(InodeId file) {
    other->attributes(file);
    other->drops_at_once = false;
    SetAttributesRequest request = set_request(file);
    request.mode = 0600;
    ++client->sequence;
    auto answer = client->begin(
        request, CallOptions{.session = client->session, .sequence = client->sequence});
    run_for(milliseconds(1100));
    return answer;
  }
  Status tell(TestClient& who, std::vector<ClientWait> waits) {
    KeepAliveRequest request;
    request.sequence = ++who.keep_alive_sequence;
    request.waits = std::move(waits);
    const auto reply = who.ask(request);
    return reply ? ok() : Status(reply.error());
  }

  std::unique_ptr<TestClient> other;
};

TEST_F(ListWaitsTest, nothing_waits) {
  const ListWaitsReply reply = list();
  EXPECT_TRUE(reply.waits.empty());
  EXPECT_EQ(reply.total, 0u);
  EXPECT_TRUE(reply.end);
}

TEST_F(ListWaitsTest, change_that_waits_for_a_notice_names_who_has_not_acknowledged_it) {
  const InodeId folder = client->make_directory("folder");
  const InodeId file = client->make_file("f", folder);
  const auto answer = begin_waiting_change(file);
  const ListWaitsReply reply = list();
  ASSERT_EQ(reply.waits.size(), 1u);
  const ListedWait& wait = reply.waits[0];
  EXPECT_EQ(wait.operation, "set attributes");
  EXPECT_EQ(wait.path, "/folder/f");
  EXPECT_EQ(wait.session, client->session);
  EXPECT_EQ(wait.cause, static_cast<std::uint8_t>(WaitCause::kNotice));
  EXPECT_EQ(wait.others, std::vector<SessionId>{other->session});
  EXPECT_GE(wait.waited_ms, 1000u);
  EXPECT_EQ(reply.clients.size(), 2u);
  other->acknowledge_notices();
  run_for(seconds(1));
  EXPECT_TRUE(answer->has_value());
  EXPECT_TRUE(list().waits.empty());
}

TEST_F(ListWaitsTest, short_waits_are_not_told) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->drops_at_once = false;
  SetAttributesRequest request = set_request(file);
  request.mode = 0600;
  ++client->sequence;
  client->begin(request, CallOptions{.session = client->session, .sequence = client->sequence});
  run_for(milliseconds(500));
  EXPECT_TRUE(list().waits.empty());
}

TEST_F(ListWaitsTest, path_narrows_to_a_file_or_to_what_is_below_a_directory) {
  const InodeId folder = client->make_directory("folder");
  const InodeId file = client->make_file("f", folder);
  client->make_file("g", folder);
  begin_waiting_change(file);
  EXPECT_EQ(list("/folder/f").waits.size(), 1u);
  EXPECT_EQ(list("/folder").waits.size(), 1u);
  EXPECT_EQ(list("/folder/../folder/.").waits.size(), 1u);
  EXPECT_EQ(list("/").waits.size(), 1u);
  EXPECT_TRUE(list("/folder/g").waits.empty());
  EXPECT_EQ(client->ask(ListWaitsRequest{.path = "/none"}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(client->ask(ListWaitsRequest{.path = "/folder/g/h"}).code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(client->ask(ListWaitsRequest{.path = std::string(5000, 'x')}).code(),
            ErrorCode::kNameTooLong);
}

TEST_F(ListWaitsTest, what_clients_tell_is_listed_until_they_tell_otherwise) {
  const InodeId file = client->make_file("f");
  ASSERT_TRUE(tell(*client, {{.operation = "fsync",
                              .inode = file,
                              .pid = 77,
                              .waited_ms = 5000,
                              .cause = static_cast<std::uint8_t>(WaitCause::kServers),
                              .server = {},
                              .asked = 0,
                              .ends_in_ms = 40'000},
                             // A request that does not wait here (any more).
                             {.operation = "stat",
                              .inode = file,
                              .pid = 78,
                              .waited_ms = 9000,
                              .cause = 0,
                              .server = {},
                              .asked = 4711,
                              .ends_in_ms = 0}}));
  run_for(seconds(2));
  const ListWaitsReply reply = list();
  ASSERT_EQ(reply.waits.size(), 1u);
  EXPECT_EQ(reply.waits[0].operation, "fsync");
  EXPECT_EQ(reply.waits[0].path, "/f");
  EXPECT_EQ(reply.waits[0].pid, 77u);
  EXPECT_GE(reply.waits[0].told_ms_ago, 2000u);
  EXPECT_EQ(reply.waits[0].waited_ms, 5000 + reply.waits[0].told_ms_ago);
  EXPECT_EQ(reply.waits[0].ends_in_ms, 40'000 - reply.waits[0].told_ms_ago);
  ASSERT_TRUE(tell(*client, {}));
  EXPECT_TRUE(list().waits.empty());
}

TEST_F(ListWaitsTest, more_than_a_session_may_tell_is_counted) {
  std::vector<ClientWait> waits(kToldWaitsMax + 3);
  for (ClientWait& wait : waits) {
    wait.operation = std::string(1000, 'x');
    wait.waited_ms = 1000;
    wait.cause = 200;
  }
  ASSERT_TRUE(tell(*client, waits));
  const ListWaitsReply reply = list();
  ASSERT_EQ(reply.waits.size(), kToldWaitsMax);
  EXPECT_EQ(reply.unlisted, 3u);
  EXPECT_EQ(reply.waits[0].operation.size(), kWaitWordBytesMax);
  EXPECT_LE(reply.waits[0].cause, kWaitCauseMax);
}

TEST_F(ListWaitsTest, more_than_a_page_comes_in_pages_the_longest_first) {
  std::vector<std::unique_ptr<TestClient>> clients;
  for (std::uint64_t i = 0; i <= kListedWaitsMax / kToldWaitsMax; ++i) {
    clients.push_back(std::make_unique<TestClient>(events, network, "c" + std::to_string(i)));
    clients.back()->open(100 + i);
    std::vector<ClientWait> waits(kToldWaitsMax);
    for (ClientWait& wait : waits) {
      wait.operation = "read";
      wait.waited_ms = 1000 * (i + 1);
    }
    ASSERT_TRUE(tell(*clients.back(), waits));
  }
  const ListWaitsReply first = list();
  EXPECT_EQ(first.waits.size(), kListedWaitsMax);
  EXPECT_EQ(first.total, kListedWaitsMax + kToldWaitsMax);
  EXPECT_FALSE(first.end);
  EXPECT_GT(first.waits.front().waited_ms, first.waits.back().waited_ms);
  const auto second = client->ask(ListWaitsRequest{.path = {}, .skipped = kListedWaitsMax});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->waits.size(), kToldWaitsMax);
  EXPECT_TRUE(second->end);
}

TEST_F(ListWaitsTest, lock_that_is_waited_for_names_its_holder_and_its_caller) {
  const InodeId file = client->make_file("f");
  SetLockRequest lock{.inode = file,
                      .kind = static_cast<std::uint8_t>(LockKind::kFlock),
                      .owner = 1,
                      .mode = static_cast<std::uint8_t>(LockMode::kExclusive),
                      .start = 0,
                      .end = kLockOffsetMax,
                      .wait = 0,
                      .number = 1,
                      .settled = 0};
  ASSERT_TRUE(client->ask(lock));
  lock.wait = 9;
  const auto waits = other->ask(lock);
  ASSERT_TRUE(waits);
  ASSERT_TRUE(waits->waits);
  run_for(milliseconds(1100));
  ASSERT_EQ(list().waits.size(), 1u);
  ASSERT_TRUE(tell(*other, {{.operation = "lock",
                             .inode = file,
                             .pid = 5,
                             .waited_ms = 1200,
                             .cause = static_cast<std::uint8_t>(WaitCause::kLock),
                             .server = {},
                             .asked = 9,
                             .ends_in_ms = 0}}));
  const ListWaitsReply reply = list();
  ASSERT_EQ(reply.waits.size(), 1u);
  EXPECT_EQ(reply.waits[0].pid, 5u);
  EXPECT_EQ(reply.waits[0].cause, static_cast<std::uint8_t>(WaitCause::kLock));
  EXPECT_EQ(reply.waits[0].others, std::vector<SessionId>{client->session});
}

TEST_F(ListWaitsTest, paths_follow_renames_and_links_and_removed_files_have_none) {
  const InodeId folder = client->make_directory("folder");
  const InodeId file = client->make_file("f", kRootInode, true);
  ASSERT_TRUE(client->change(
      RenameRequest{.parent = kRootInode, .name = "f", .new_parent = folder, .new_name = "g"}));
  const auto told = [&] {
    ClientWait wait;
    wait.operation = "read";
    wait.inode = file;
    wait.waited_ms = 1000;
    EXPECT_TRUE(tell(*client, {wait}));
    const ListWaitsReply reply = list();
    return reply.waits.empty() ? ListedWait{} : reply.waits[0];
  };
  EXPECT_EQ(told().path, "/folder/g");
  ASSERT_TRUE(
      client->change(LinkRequest{.inode = file, .new_parent = kRootInode, .new_name = "h"}));
  EXPECT_EQ(told().path, "/h");
  EXPECT_EQ(client->unlink("h"), ErrorCode::kOk);
  EXPECT_EQ(told().path, "");  // it has another name that its row does not lead to
  EXPECT_FALSE(told().is_removed);
  EXPECT_EQ(client->unlink("g", folder), ErrorCode::kOk);
  EXPECT_TRUE(told().is_removed);
  // It had a name: none can be given to it any more.
  EXPECT_EQ(
      client->change(LinkRequest{.inode = file, .new_parent = kRootInode, .new_name = "i"}).code(),
      ErrorCode::kNotFound);
}

TEST_F(ListWaitsTest, grace_period_is_told_of_and_whom_it_waits_for) {
  const InodeId file = client->make_file("f");
  other->be_silent();
  process.reset();
  start();
  client->rejoin();
  client->begin(GetAttributesRequest{.inode = file}, CallOptions{.session = client->session});
  run_for(milliseconds(1500));
  const ListWaitsReply reply = list();
  ASSERT_EQ(reply.waits.size(), 1u);
  EXPECT_EQ(reply.waits[0].operation, "get attributes");
  EXPECT_EQ(reply.waits[0].cause, static_cast<std::uint8_t>(WaitCause::kStart));
  EXPECT_EQ(reply.waits[0].others, std::vector<SessionId>{other->session});
}

TEST_F(ListWaitsTest, status_has_figures_of_leases) {
  const InodeId file = client->make_file("f");
  const auto before = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(before);
  EXPECT_EQ(before->recalls, 0u);
  EXPECT_EQ(before->oldest_recall_ms, 0u);
  begin_waiting_change(file);
  const auto now = client->ask(ClusterStatusRequest{});
  ASSERT_TRUE(now);
  EXPECT_EQ(now->recalls, 1u);
  EXPECT_GE(now->oldest_recall_ms, 1000u);
  EXPECT_EQ(now->leases_over_limit, 0u);
}

}  // namespace
}  // namespace dfs::master
