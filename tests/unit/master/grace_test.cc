// After a loss of the master's power: who must tell its changes again, and what becomes of them.
#include "proto/admin_messages.h"
#include "proto/data_messages.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using std::chrono::seconds;

constexpr std::uint32_t kFile = kModeRegular | 0644;
constexpr const char* kLog = "/data/master.db-wal";
constexpr std::uint32_t kDirectory = kModeDirectory | 0755;

class GraceTest : public MasterRig {
 protected:
  void SetUp() override {
    options.sessions = {.keep_alive = seconds(5), .session_timeout = seconds(20)};
    MasterRig::SetUp();
    other.open(2);
  }

  // What follows is not on stable storage: a first new inode would be, for the reserve of numbers.
  void sync() {
    ASSERT_TRUE(client->change(create_request(kRootInode, "n" + std::to_string(++syncs_), kFile)));
    ASSERT_TRUE(client->ask(SyncMetadataRequest{}));
  }
  // A change, and how it is told again.
  template <class Request>
  std::string told(TestClient& who, const Request& request) {
    const auto reply = who.change(request);
    EXPECT_TRUE(reply) << error_code_name(reply.code());
    return who.told_again(request);
  }
  void start_after_power_loss() {
    lose_power();
    start();
  }
  // The machine says that it started again, but the disk lost nothing.
  void start_on_another_boot() {
    process->kill();
    process.reset();
    options.boot_id += '+';
    start();
  }
  ErrorCode look(const std::string& name, InodeId parent = kRootInode) {
    return client
        ->call(LookupRequest{.parent = parent, .name = name},
               {.timeout = seconds(1), .session = client->session})
        .code();
  }
  bool is_waiting() { return look("any") == ErrorCode::kTimedOut; }
  bool answered(const Answer<ReplayChangesReply>& answer) {
    return events.run_until([&] { return answer->has_value(); }, seconds(10));
  }
  std::vector<ErrorCode> codes(const Answer<ReplayChangesReply>& answer) {
    std::vector<ErrorCode> found;
    EXPECT_TRUE(answered(answer) && answer->value());
    for (const std::uint16_t code : (*answer)->value().codes) {
      found.push_back(error_code_from_wire(code));
    }
    return found;
  }
  bool says(const std::string& text) { return process->log.contains(text); }

  TestClient other{events, network, "other"};

 private:
  int syncs_ = 0;
};

TEST_F(GraceTest, what_the_power_took_is_made_again_as_it_was) {
  sync();
  std::vector<std::string> changes;
  std::vector<Attributes> made;
  for (int i = 0; i < 20; ++i) {
    const CreateRequest request = create_request(kRootInode, "f" + std::to_string(i), kFile);
    const auto reply = client->change(request);
    ASSERT_TRUE(reply);
    made.push_back(reply->attributes);
    changes.push_back(client->told_again(request));
    run_for(seconds(1));
  }
  start_after_power_loss();
  EXPECT_FALSE(*store().inode(made.back().inode)) << "nothing was lost";
  other.begin_replay({});
  const auto reply = client->replay(changes);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->codes, std::vector<std::uint16_t>(20, 0));
  for (const Attributes& attributes : made) {
    Attributes again = client->attributes(attributes.inode);
    again.data_version = attributes.data_version;  // taken anew
    EXPECT_EQ(again, attributes);
  }
  EXPECT_TRUE(says("changes=20"));
  // All of it is durable: another loss needs nobody's help.
  start_after_power_loss();
  other.begin_replay({});
  ASSERT_TRUE(client->replay({}));
  EXPECT_EQ(look("f19"), ErrorCode::kOk);
}

TEST_F(GraceTest, what_was_closed_before_the_loss_is_not_open_after_its_replay) {
  sync();
  CreateRequest create = create_request(kRootInode, "f", kFile);
  create.pin = true;
  const std::string change = told(*client, create);
  const InodeId inode = client->stamp.inode;
  ASSERT_TRUE(client->keep_alive({}, {inode}));
  start_after_power_loss();
  other.begin_replay({});
  ASSERT_TRUE(client->replay({change}));
  EXPECT_EQ(client->unlink("f"), ErrorCode::kOk);
  for (int i = 0; i < 2; ++i) {  // until nobody else can be about to open it
    ASSERT_TRUE(other.keep_alive({}, {}));
  }
  run_for(seconds(5));
  EXPECT_EQ(*store().orphan_count(), 0u);
}

TEST_F(GraceTest, changes_of_two_sessions_are_applied_in_their_old_order) {
  sync();
  std::vector<std::string> mine;
  std::vector<std::string> theirs;
  mine.push_back(told(*client, create_request(kRootInode, "d", kDirectory)));
  const InodeId d = client->stamp.inode;
  theirs.push_back(told(other, create_request(d, "a", kFile)));
  const InodeId file = other.stamp.inode;
  mine.push_back(
      told(*client,
           RenameRequest{
               .parent = d, .name = "a", .new_parent = kRootInode, .new_name = "b", .mode = 0}));
  theirs.push_back(told(other, create_request(d, "a", kFile)));
  mine.push_back(told(*client, UnlinkRequest{.parent = d, .name = "a"}));
  theirs.push_back(told(
      other, RenameRequest{
                 .parent = kRootInode, .name = "b", .new_parent = d, .new_name = "c", .mode = 0}));
  start_after_power_loss();
  const auto first = other.begin_replay(theirs);
  const auto second = client->begin_replay(mine);
  EXPECT_EQ(codes(first), std::vector(3, ErrorCode::kOk));
  EXPECT_EQ(codes(second), std::vector(3, ErrorCode::kOk));
  EXPECT_EQ(look("a", d), ErrorCode::kNotFound);
  EXPECT_EQ(look("b"), ErrorCode::kNotFound);
  const auto entry = client->ask(LookupRequest{.parent = d, .name = "c"});
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->attributes.inode, file);
}

TEST_F(GraceTest, a_change_that_survived_is_not_applied_twice) {
  std::vector<std::string> changes;
  changes.push_back(told(*client, create_request(kRootInode, "a", kFile)));
  changes.push_back(told(*client, UnlinkRequest{.parent = kRootInode, .name = "a"}));
  changes.push_back(told(*client, create_request(kRootInode, "a", kFile)));
  const InodeId last = client->stamp.inode;
  start_on_another_boot();
  other.begin_replay({});
  ASSERT_TRUE(client->replay(changes));
  EXPECT_TRUE(says("not_lost=3 restored=0"));
  const auto entry = client->ask(LookupRequest{.parent = kRootInode, .name = "a"});
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->attributes.inode, last);
}

TEST_F(GraceTest, everything_waits_until_all_sessions_have_told) {
  start_on_another_boot();
  rejoin({&other});
  EXPECT_TRUE(is_waiting());
  const auto mine = client->begin_replay({});
  EXPECT_TRUE(client->wants_replay);  // before it told
  EXPECT_TRUE(is_waiting());
  EXPECT_TRUE(client->keep_alive({}, {}));
  EXPECT_FALSE(client->wants_replay);
  TestClient fresh(events, network, "fresh");
  fresh.open(3);  // a mount need not wait
  const auto question = fresh.begin(GetAttributesRequest{kRootInode}, {.session = fresh.session});
  run_for(seconds(1));
  EXPECT_FALSE(question->has_value());
  EXPECT_TRUE(fresh.ask(ClusterStatusRequest{}));
  EXPECT_FALSE(mine->has_value());
  other.begin_replay({});
  EXPECT_TRUE(answered(mine));
  EXPECT_TRUE(events.run_until([&] { return question->has_value(); }, seconds(1)));
  EXPECT_EQ(look("any"), ErrorCode::kNotFound);
}

TEST_F(GraceTest, a_session_that_never_returns_is_waited_for_until_it_is_over) {
  sync();
  const std::string change = told(*client, create_request(kRootInode, "a", kFile));
  start_after_power_loss();
  other.be_silent();
  const auto mine = client->begin_replay({change});
  for (int i = 0; i < 3; ++i) {
    run_for(seconds(5));
    EXPECT_TRUE(client->keep_alive({}, {}));
    EXPECT_FALSE(mine->has_value());
  }
  EXPECT_TRUE(answered(mine));
  EXPECT_EQ(look("a"), ErrorCode::kOk);
  EXPECT_TRUE(says("sessions=2 told=1 changes=1"));
}

TEST_F(GraceTest, a_client_that_died_after_it_told_all_loses_nothing) {
  sync();
  const std::string change = told(*client, create_request(kRootInode, "a", kFile));
  start_after_power_loss();
  client->begin_replay({change});
  client.reset();  // and has not said what it kept
  for (int i = 0; i < 8; ++i) {
    run_for(seconds(5));
    EXPECT_TRUE(other.keep_alive({}, {}));
  }
  ASSERT_TRUE(other.replay({}));
  EXPECT_EQ(other.lookup("a"), ErrorCode::kOk);
}

TEST_F(GraceTest, a_part_of_what_a_session_had_to_tell_is_not_applied) {
  sync();
  const std::string first = told(*client, create_request(kRootInode, "a", kFile));
  std::string last;
  for (int i = 0; i < 20; ++i) {
    last = told(*client, create_request(kRootInode, "b" + std::to_string(i), kFile));
  }
  start_after_power_loss();
  client->begin_replay({last}, 1, 2);
  client.reset();
  const auto theirs = other.begin_replay({});
  for (int i = 0; i < 5 && !theirs->has_value(); ++i) {
    run_for(seconds(5));
    EXPECT_TRUE(other.keep_alive({}, {}));
  }
  EXPECT_TRUE(answered(theirs));
  EXPECT_EQ(other.lookup("b19"), ErrorCode::kNotFound);
}

TEST_F(GraceTest, a_page_is_answered_the_same_however_often_it_comes) {
  sync();
  const std::string first = told(*client, create_request(kRootInode, "a", kFile));
  const std::string second = told(*client, create_request(kRootInode, "b", kFile));
  start_after_power_loss();
  other.begin_replay({});
  const auto one = client->begin_replay({first}, 0, 2);
  const auto again = client->begin_replay({first}, 0, 2);
  run_for(seconds(1));
  EXPECT_FALSE(one->has_value());
  const auto two = client->begin_replay({second}, 1, 2);
  for (const auto& page : {one, again, two, client->begin_replay({second}, 1, 2)}) {
    EXPECT_EQ(codes(page), std::vector{ErrorCode::kOk});
  }
  restart_after_kill();
  EXPECT_EQ(codes(client->begin_replay({first}, 0, 2)), std::vector{ErrorCode::kOk});
}

TEST_F(GraceTest, what_builds_on_a_change_of_a_dead_client_is_refused_by_name) {
  std::string change;
  for (int i = 0;; ++i) {
    sync();
    const InodeId d = other.make_directory("d" + std::to_string(i));
    change = told(*client, create_request(d, "f", kFile));
    start_after_power_loss();
    if (!*store().inode(d)) {
      break;
    }
    ASSERT_LT(i, 20) << "nothing is ever lost";  // a disk keeps some of what was not synced
    other.begin_replay({});
    ASSERT_TRUE(client->replay({change}));
  }
  other.begin_replay({});  // it has forgotten
  EXPECT_EQ(codes(client->begin_replay({change})), std::vector{ErrorCode::kStale});
  EXPECT_TRUE(says("refused=1"));
}

TEST_F(GraceTest, a_replay_cannot_take_an_inode_that_is_another) {
  const InodeId victim = other.make_file("victim");
  sync();
  CreateRequest request = create_request(kRootInode, "a", kFile);
  ASSERT_TRUE(client->change(request));
  client->stamp.inode = victim;
  const std::string change = client->told_again(request);
  start_after_power_loss();
  ASSERT_EQ(*store().kept_reply(client->session, client->sequence), std::nullopt);
  other.begin_replay({});
  EXPECT_EQ(codes(client->begin_replay({change})), std::vector{ErrorCode::kIo});
  EXPECT_EQ(client->lookup("victim"), ErrorCode::kOk);
  EXPECT_EQ(client->attributes(victim).link_count, 1u);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kNotFound);
  EXPECT_TRUE(says("cannot be applied again"));
}

TEST_F(GraceTest, a_master_killed_in_it_begins_it_again) {
  sync();
  const std::string change = told(*client, create_request(kRootInode, "a", kFile));
  start_after_power_loss();
  const auto mine = client->begin_replay({change});
  run_for(seconds(1));
  restart_after_kill();
  EXPECT_TRUE(is_waiting());  // what it was told before is gone with it
  other.begin_replay({});
  EXPECT_TRUE(is_waiting());
  EXPECT_EQ(codes(client->begin_replay({change})), std::vector{ErrorCode::kOk});
  EXPECT_EQ(look("a"), ErrorCode::kOk);
  restart_after_kill({&other});
  EXPECT_EQ(look("a"), ErrorCode::kOk);  // it is over for good
}

TEST_F(GraceTest, nothing_is_told_again_when_only_the_process_died) {
  client->make_file("a");
  restart_after_kill({&other});
  EXPECT_EQ(look("a"), ErrorCode::kOk);
  EXPECT_TRUE(client->keep_alive({}, {}));
  EXPECT_FALSE(client->wants_replay);
}

// A kernel reports what it could not write once, and goes on as if it had.
TEST_F(GraceTest, a_failed_sync_counts_as_a_loss_though_the_machine_runs_on) {
  for (const bool is_forgotten : {false, true}) {
    sync();
    const std::string name = is_forgotten ? "b" : "a";
    const std::string change = told(*client, create_request(kRootInode, name, kFile));
    const InodeId made = client->stamp.inode;
    disk.set_faults(kLog, {.fail_syncs = true});
    const CallOptions once{.timeout = seconds(3), .session = client->session};
    EXPECT_EQ(client->call(SyncMetadataRequest{}, once).code(), ErrorCode::kTimedOut);
    ASSERT_TRUE(process->failure);
    disk.clear_faults();
    process.reset();
    if (is_forgotten) {
      disk.forget_cached();
    }
    start();
    EXPECT_EQ(!*store().inode(made), is_forgotten);
    rejoin({&other});
    EXPECT_TRUE(is_waiting());
    restart_after_kill({&other});  // in the middle of it: begins again
    EXPECT_TRUE(is_waiting());
    other.begin_replay({});
    ASSERT_TRUE(client->replay({change}));
    EXPECT_EQ(look(name), ErrorCode::kOk);
    restart_after_kill({&other});
    EXPECT_FALSE(is_waiting());
    restart_after_power_loss({&other});  // and it is on the disk
    EXPECT_EQ(look(name), ErrorCode::kOk);
  }
}

TEST_F(GraceTest, a_start_whose_sync_fails_leaves_the_same_note) {
  sync();
  client->make_file("a");
  process.reset();
  disk.set_faults(kLog, {.fail_syncs = true});
  process = std::make_unique<MasterProcess>(events, network, disk, 7);
  EXPECT_EQ(process->start(options).code(), ErrorCode::kIo);
  disk.clear_faults();
  disk.forget_cached();
  restart_after_kill({&other});
  EXPECT_TRUE(is_waiting());
}

TEST_F(GraceTest, nothing_is_told_again_after_an_orderly_stop) {
  client->make_file("a");
  process->stop();
  lose_power();
  start();
  rejoin({&other});
  EXPECT_EQ(look("a"), ErrorCode::kOk);
}

TEST_F(GraceTest, an_orderly_stop_in_the_middle_of_it_does_not_end_it) {
  start_on_another_boot();
  process->stop();
  process.reset();
  start();
  EXPECT_TRUE(is_waiting());
}

TEST_F(GraceTest, a_machine_that_does_not_tell_its_boot_counts_as_a_new_one) {
  options.boot_id.clear();
  restart_after_kill({&other});
  EXPECT_TRUE(is_waiting());
  other.begin_replay({});
  ASSERT_TRUE(client->replay({}));
  process->stop();
  process.reset();
  start();
  rejoin({&other});
  EXPECT_FALSE(is_waiting());
}

TEST_F(GraceTest, nobody_is_waited_for_when_there_was_nobody) {
  ASSERT_TRUE(client->ask(CloseSessionRequest{}));
  ASSERT_TRUE(other.ask(CloseSessionRequest{}));
  start_after_power_loss();  // a closed session stays closed
  client->session = {};
  EXPECT_EQ(look("any"), ErrorCode::kNotFound);
}

TEST_F(GraceTest, losses_are_counted_for_who_comes_too_late) {
  const OpenSessionRequest request{.client_name = "host:/mnt", .nonce = 1, .ends = {}};
  const auto before = client->ask(request);
  restart_after_kill();
  const auto killed = client->ask(request);
  start_on_another_boot();
  const auto after = client->ask(request);
  ASSERT_TRUE(before && killed && after);
  EXPECT_EQ(killed->losses, before->losses);
  EXPECT_EQ(after->losses, before->losses + 1);
}

TEST_F(GraceTest, answers_say_what_is_on_stable_storage) {
  sync();
  ASSERT_TRUE(client->change(create_request(kRootInode, "a", kFile)));
  const std::uint64_t index = client->stamp.index;
  EXPECT_LT(client->durable_index, index);
  ASSERT_TRUE(client->keep_alive({}, {}));
  EXPECT_LT(client->durable_index, index);
  sync();
  EXPECT_GE(client->durable_index, index);
  EXPECT_EQ(client->change(create_request(kRootInode, "a", kFile)).code(), ErrorCode::kExists);
  restart_after_kill({&other});
  ASSERT_TRUE(client->keep_alive({}, {}));
  EXPECT_GE(client->durable_index, index);  // the start has synced what was left
  ASSERT_TRUE(client->change(create_request(kRootInode, "b", kFile)));
  EXPECT_GT(client->stamp.index, index);
}

}  // namespace
}  // namespace dfs::master
