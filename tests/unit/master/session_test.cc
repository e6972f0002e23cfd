// Sessions, pins, and when an unlinked file is freed.
#include <set>

#include "proto/limits.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Sessions : public MasterRig {
 protected:
  void SetUp() override {
    options.sessions.session_timeout = seconds(20);
    MasterRig::SetUp();
  }
  bool exists(InodeId inode) { return store().inode(inode)->has_value(); }
  // Time passes while all of `clients` stay alive.
  void live(Duration duration, const std::vector<TestClient*>& clients) {
    const MonoTime end = events.now() + duration;
    while (events.now() < end) {
      for (TestClient* each : clients) {
        EXPECT_TRUE(each->keep_alive({}, {}));
      }
      run_for(std::min<Duration>(seconds(5), end - events.now()));
    }
  }
};

using Orphans = Sessions;

TEST_F(Sessions, opening_again_with_the_same_nonce_is_the_same_session) {
  const OpenSessionRequest request{.client_name = "host:/mnt", .nonce = 77, .ends = {}};
  const auto first = client->ask(request);
  const auto second = client->ask(request);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->session, second->session);
  EXPECT_EQ(first->cluster_id, kTestCluster);
  EXPECT_EQ(first->session_timeout_ms, 20'000u);
  EXPECT_FALSE(first->was_there);
  EXPECT_TRUE(second->was_there);
  restart_after_kill();
  const auto third = client->ask(request);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->session, first->session);
  EXPECT_TRUE(third->was_there);
  EXPECT_NE(third->incarnation, first->incarnation);
}

TEST_F(Sessions, are_not_opened_to_a_client_of_another_cluster) {
  OpenSessionRequest request{.client_name = "host:/mnt", .nonce = 77, .ends = {}};
  request.cluster_id = "fedcba9876543210fedcba9876543210";
  EXPECT_EQ(client->ask(request).code(), ErrorCode::kWrongCluster);
  request.cluster_id = kTestCluster;
  EXPECT_TRUE(client->ask(request));
}

// A client of a cluster that had this address before may say what it likes in its own session.
TEST_F(Sessions, have_numbers_that_nobody_guesses) {
  std::set<SessionId> seen;
  for (std::uint64_t nonce = 1; nonce <= 20; ++nonce) {
    const auto opened =
        client->ask(OpenSessionRequest{.client_name = "host:/mnt", .nonce = nonce, .ends = {}});
    ASSERT_TRUE(opened);
    EXPECT_GT(opened->session.value, 1'000'000u);
    EXPECT_TRUE(seen.insert(opened->session).second);
  }
}

TEST_F(Sessions, survive_a_restart_and_a_power_loss) {
  restart_after_kill();
  EXPECT_TRUE(client->keep_alive({}, {}));
  restart_after_power_loss();
  EXPECT_TRUE(client->keep_alive({}, {}));
}

TEST_F(Sessions, end_after_silence) {
  live(seconds(60), {client.get()});
  EXPECT_TRUE(client->keep_alive({}, {}));
  client->be_silent();
  run_for(seconds(30));
  EXPECT_EQ(client->keep_alive({}, {}).code(), ErrorCode::kSessionExpired);
  EXPECT_TRUE(store().sessions()->empty());
  EXPECT_TRUE(process->log.contains("session is over"));
}

TEST_F(Sessions, do_not_end_because_the_master_stood_still) {
  process->scheduler.pause();
  run_for(seconds(100));
  process->scheduler.resume();
  EXPECT_TRUE(client->keep_alive({}, {}));
}

TEST_F(Sessions, closing_drops_the_session_and_its_kept_answers) {
  client->make_file("a");
  const SessionId session = client->session;
  EXPECT_TRUE(client->ask(CloseSessionRequest{}));
  EXPECT_FALSE(*store().kept_reply(session, client->sequence));
  EXPECT_EQ(client->ask(CloseSessionRequest{}).code(), ErrorCode::kSessionExpired);
}

TEST_F(Sessions, names_of_clients_are_bounded) {
  EXPECT_EQ(
      client->ask(OpenSessionRequest{.client_name = std::string(5000, 'x'), .nonce = 5, .ends = {}})
          .code(),
      ErrorCode::kInvalidArgument);
}

TEST_F(Sessions, are_bounded) {
  while (process->master->sessions().count() < kSessionsMax) {
    const auto opened = client->ask(OpenSessionRequest{
        .client_name = "", .nonce = process->master->sessions().count() + 10, .ends = {}});
    ASSERT_TRUE(opened);
  }
  EXPECT_EQ(
      client->ask(OpenSessionRequest{.client_name = "", .nonce = 1'000'000, .ends = {}}).code(),
      ErrorCode::kBusy);
}

TEST_F(Orphans, an_unpinned_file_of_the_only_client_goes_at_once) {
  const InodeId file = client->make_file("a");
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  run_for(seconds(1));
  EXPECT_FALSE(exists(file));
  EXPECT_EQ(*store().counter(Counter::kInodes), 1u);
}

TEST_F(Orphans, a_pinned_file_stays_until_it_is_closed) {
  const InodeId file = client->make_file("a", kRootInode, true);
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  live(seconds(60), {client.get()});
  EXPECT_EQ(client->attributes(file).link_count, 0u);
  ASSERT_TRUE(client->keep_alive({}, {file}));
  run_for(seconds(1));
  EXPECT_FALSE(exists(file));
}

TEST_F(Orphans, who_removes_the_last_name_is_told_whether_others_have_the_file_open) {
  TestClient other(events, network, "other");
  other.open(2);
  const InodeId file = client->make_file("a", kRootInode, true);
  client->make_file("b");
  client->make_file("c");
  const auto remove = [&](const std::string& name) {
    return client->change(UnlinkRequest{.parent = kRootInode, .name = name});
  };
  EXPECT_FALSE(remove("b")->is_open_elsewhere);
  ASSERT_TRUE(other.keep_alive({file}, {}));
  RenameRequest over{.parent = kRootInode, .name = "c", .new_parent = kRootInode, .new_name = "a"};
  const auto renamed = client->change(over);
  ASSERT_TRUE(renamed);
  EXPECT_EQ(renamed->replaced, file);
  EXPECT_TRUE(renamed->replaced_is_open_elsewhere);
  const InodeId second = client->make_file("d", kRootInode, true);
  EXPECT_FALSE(remove("d")->is_open_elsewhere);  // it is open here alone
  EXPECT_TRUE(exists(second));
  const InodeId third = client->make_file("e");
  ASSERT_TRUE(other.keep_alive({third}, {}));
  EXPECT_TRUE(remove("e")->is_open_elsewhere);
}

TEST_F(Orphans, another_client_has_time_to_say_that_it_has_the_file_open) {
  TestClient other(events, network, "other");
  other.open(2);
  const InodeId file = client->make_file("a");
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  live(seconds(18), {client.get()});  // the other is cut off, and its session lasts
  ASSERT_TRUE(exists(file));
  ASSERT_TRUE(other.keep_alive({file}, {}));
  live(seconds(30), {client.get(), &other});
  EXPECT_TRUE(exists(file));
  ASSERT_TRUE(other.keep_alive({}, {file}));
  run_for(seconds(1));
  EXPECT_FALSE(exists(file));
}

TEST_F(Orphans, a_keep_alive_that_was_under_way_says_nothing_of_the_file) {
  TestClient other(events, network, "other");
  other.open(2);
  const InodeId file = client->make_file("a");
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  ASSERT_TRUE(other.keep_alive({}, {}));
  live(seconds(10), {client.get()});
  EXPECT_TRUE(exists(file));
}

TEST_F(Orphans, without_a_pin_the_file_goes_when_every_client_was_heard_of) {
  TestClient other(events, network, "other");
  other.open(2);
  const InodeId file = client->make_file("a");
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  live(seconds(7), {client.get(), &other});
  EXPECT_FALSE(exists(file));
}

TEST_F(Orphans, pins_die_with_their_session) {
  TestClient other(events, network, "other");
  other.open(2);
  const InodeId file = client->make_file("a");
  ASSERT_TRUE(other.keep_alive({file}, {}));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  other.be_silent();
  live(seconds(10), {client.get()});
  EXPECT_TRUE(exists(file));
  live(seconds(20), {client.get()});
  EXPECT_FALSE(exists(file));
}

TEST_F(Orphans, a_pinned_file_survives_a_restart_until_the_client_says_what_it_holds) {
  const InodeId file = client->make_file("a", kRootInode, true);
  const InodeId other = client->make_file("b");
  ASSERT_TRUE(client->keep_alive({other}, {}));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  EXPECT_EQ(client->unlink("b"), ErrorCode::kOk);
  restart_after_kill();
  run_for(seconds(10));
  EXPECT_TRUE(exists(file));
  ASSERT_TRUE(client->keep_alive({file}, {}, true));
  run_for(seconds(3));
  EXPECT_TRUE(exists(file));
  EXPECT_FALSE(exists(other));
}

TEST_F(Orphans, after_a_restart_nothing_is_freed_while_a_client_may_come_back) {
  TestClient other(events, network, "other");
  other.open(2);
  const InodeId file = client->make_file("a");
  ASSERT_TRUE(other.keep_alive({file}, {}));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  restart_after_kill({&other});
  other.be_silent();
  ASSERT_TRUE(client->keep_alive({}, {}, true));
  live(seconds(15), {client.get()});
  EXPECT_TRUE(exists(file));
  live(seconds(15), {client.get()});  // the other one is over now
  EXPECT_FALSE(exists(file));
}

TEST_F(Orphans, a_full_list_that_crossed_a_creation_does_not_unpin_it) {
  const InodeId file = client->make_file("a", kRootInode, true);
  ASSERT_TRUE(client->keep_alive({}, {}, true));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  run_for(seconds(2));
  EXPECT_TRUE(exists(file));
  live(seconds(15), {client.get()});
  ASSERT_TRUE(client->keep_alive({}, {}, true));
  run_for(seconds(2));
  EXPECT_FALSE(exists(file));
}

TEST_F(Orphans, a_late_duplicate_of_a_keep_alive_changes_nothing) {
  const InodeId file = client->make_file("a");
  ASSERT_TRUE(client->keep_alive({}, {}, true));
  const std::uint64_t old_sequence = client->keep_alive_sequence;
  ASSERT_TRUE(client->keep_alive({file}, {}));
  ASSERT_TRUE(client->ask(
      KeepAliveRequest{.full = true, .pinned = {}, .unpinned = {file}, .sequence = old_sequence}));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  run_for(seconds(2));
  EXPECT_TRUE(exists(file));
}

TEST_F(Orphans, a_replaced_file_and_a_removed_directory_are_freed_too) {
  const InodeId replaced = client->make_file("b");
  client->make_file("a");
  const InodeId directory = client->make_directory("d");
  ASSERT_TRUE(client->change(RenameRequest{
      .parent = kRootInode, .name = "a", .new_parent = kRootInode, .new_name = "b", .mode = 0}));
  ASSERT_TRUE(client->change(RemoveDirectoryRequest{.parent = kRootInode, .name = "d"}));
  run_for(seconds(2));
  EXPECT_FALSE(exists(replaced));
  for (int i = 0; i < 2; ++i) {  // its own pins of directories may come as late
    EXPECT_TRUE(exists(directory));
    ASSERT_TRUE(client->keep_alive({}, {}));
    run_for(seconds(1));
  }
  EXPECT_FALSE(exists(directory));
  EXPECT_EQ(*store().counter(Counter::kInodes), 2u);
}

}  // namespace
}  // namespace dfs::master
