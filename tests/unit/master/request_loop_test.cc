// The request loop: batches, repetition, durability, and what happens when the store fails.
#include "proto/chunk_messages.h"
#include "proto/data_messages.h"
#include "proto/limits.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RequestLoop : public MasterRig {
 protected:
  std::uint64_t inode_count() { return *store().counter(Counter::kInodes); }
};

TEST_F(RequestLoop, a_repeated_change_gets_the_same_answer_and_is_applied_once) {
  const CreateRequest request = create_request(kRootInode, "a", kModeRegular | 0644);
  const auto first = client->change(request);
  const auto second = client->repeat(request);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->attributes, second->attributes);
  EXPECT_EQ(inode_count(), 2u);
}

TEST_F(RequestLoop, a_repeated_refusal_is_the_same_refusal) {
  const UnlinkRequest request{.parent = kRootInode, .name = "a"};
  EXPECT_EQ(client->change(request).code(), ErrorCode::kNotFound);
  // The name appears meanwhile; the answer to that old request does not change.
  TestClient other(events, network, "other");
  other.open(2);
  other.make_file("a");
  EXPECT_EQ(client->repeat(request).code(), ErrorCode::kNotFound);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
}

TEST_F(RequestLoop, a_change_repeated_after_a_crash_is_applied_once) {
  client->make_file("a");
  const RenameRequest request{
      .parent = kRootInode, .name = "a", .new_parent = kRootInode, .new_name = "b", .mode = 0};
  const auto first = client->change(request);
  ASSERT_TRUE(first);
  restart_after_kill();
  const auto second = client->repeat(request);
  ASSERT_TRUE(second) << error_code_name(second.code());
  EXPECT_EQ(second->moved, first->moved);
}

TEST_F(RequestLoop, the_next_master_answers_whom_the_last_one_left) {
  process->kill();
  process.reset();
  events.run_for(seconds(5));
  start();
  rejoin();
  EXPECT_EQ(client->unlink("nothing"), ErrorCode::kNotFound);
}

TEST_F(RequestLoop, acknowledged_answers_are_forgotten_and_late_duplicates_refused) {
  client->make_file("a");
  const std::uint64_t old_sequence = client->sequence;
  for (int index = 0; index < 100; ++index) {
    client->make_file("b" + std::to_string(index));
  }
  EXPECT_FALSE(*store().kept_reply(client->session, old_sequence));
  EXPECT_TRUE(*store().kept_reply(client->session, client->sequence));
  // The duplicate of the unlink that was never sent under this sequence: not applied. Whoever waits
  // for it hears that, and that his session is no good.
  const CallOptions late{.timeout = seconds(1),
                         .session = client->session,
                         .sequence = old_sequence,
                         .acknowledged = 0};
  const UnlinkRequest unlink{.parent = kRootInode, .name = "a"};
  EXPECT_EQ(client->call(unlink, late).code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
  restart_after_kill();
  EXPECT_EQ(client->call(unlink, late).code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
}

// It was interrupted at its client, which may have gone on to make the name again.
TEST_F(RequestLoop, a_change_that_was_given_up_is_not_applied_when_it_arrives_late) {
  client->make_file("a");
  const std::uint64_t given_up = ++client->sequence;
  client->make_file("b");  // acknowledges it
  const CallOptions late{.timeout = seconds(1),
                         .session = client->session,
                         .sequence = given_up,
                         .acknowledged = given_up - 1};
  EXPECT_EQ(client->call(UnlinkRequest{.parent = kRootInode, .name = "a"}, late).code(),
            ErrorCode::kSessionExpired);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
}

TEST_F(RequestLoop, answers_nobody_acknowledges_are_bounded) {
  client->acknowledges = false;
  client->sequence = kKeptRepliesMax - 1;
  client->make_file("last");
  EXPECT_EQ(client->change(create_request(kRootInode, "more", kModeRegular | 0644)).code(),
            ErrorCode::kBusy);
}

TEST_F(RequestLoop, a_sequence_used_for_two_requests_is_refused) {
  client->make_file("a");
  EXPECT_EQ(client->repeat(UnlinkRequest{.parent = kRootInode, .name = "a"}).code(),
            ErrorCode::kInternal);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
}

TEST_F(RequestLoop, a_change_needs_a_session_and_a_sequence) {
  const UnlinkRequest unlink{.parent = kRootInode, .name = "a"};
  EXPECT_EQ(client->ask(unlink).code(), ErrorCode::kBadMessage);
  client->session = SessionId{12345};
  EXPECT_EQ(client->change(unlink).code(), ErrorCode::kSessionExpired);
  EXPECT_EQ(client->ask(GetAttributesRequest{.inode = kRootInode}).code(),
            ErrorCode::kSessionExpired);
  client->session = {};
  EXPECT_EQ(client->change(unlink).code(), ErrorCode::kBadMessage);
}

TEST_F(RequestLoop, what_only_chunkservers_answer_is_refused) {
  EXPECT_EQ(client->ask(ListReplicasRequest{}).code(), ErrorCode::kNotSupported);
}

TEST_F(RequestLoop, requests_that_arrive_together_share_one_commit) {
  const std::uint64_t changes_before = process->vfs.change_count();
  client->make_file("alone");
  const std::uint64_t changes_of_one = process->vfs.change_count() - changes_before;
  std::size_t answers = 0;
  sim::SimScheduler scheduler(events);
  sim::SimRandom random(1);
  sim::SimLog log;
  auto transport = network.transport(scheduler, "burst");
  RpcClient rpc(World{scheduler, random, log, *transport}, "master:9420", "master",
                RpcClient::Options{.when_down = RpcClient::WhenDown::kKeepCalls});
  const std::uint64_t burst_before = process->vfs.change_count();
  for (std::uint64_t index = 1; index <= 100; ++index) {
    rpc.call(create_request(kRootInode, "f" + std::to_string(index), kModeRegular | 0644),
             {.session = client->session, .sequence = client->sequence + index},
             [&](Result<RpcReply<EntryReply>> reply) { answers += reply ? 1 : 0; });
  }
  EXPECT_TRUE(events.run_until([&] { return answers == 100; }, seconds(10)));
  EXPECT_LT(process->vfs.change_count() - burst_before, 20 * changes_of_one);
}

TEST_F(RequestLoop, a_power_loss_takes_nothing_that_was_synced) {
  const InodeId file = client->make_file("a");
  client->make_directory("d");
  ASSERT_TRUE(client->ask(SyncMetadataRequest{}));
  for (int index = 0; index < 20; ++index) {
    client->make_file("unsynced" + std::to_string(index));
  }
  restart_after_power_loss();
  EXPECT_EQ(client->attributes(file).inode, file);
  EXPECT_EQ(client->lookup("d"), ErrorCode::kOk);
  // Of the rest a prefix is there, and its count is right.
  std::uint64_t left = 0;
  for (int index = 0; index < 20; ++index) {
    const bool is_there = client->lookup("unsynced" + std::to_string(index)) == ErrorCode::kOk;
    EXPECT_TRUE(!is_there || left == static_cast<std::uint64_t>(index));
    left += is_there ? 1 : 0;
  }
  EXPECT_EQ(inode_count(), 3 + left);
}

TEST_F(RequestLoop, a_sync_covers_what_a_killed_master_had_only_written) {
  client->make_file("a");
  client->make_file("b");
  restart_after_kill();
  ASSERT_TRUE(client->ask(SyncMetadataRequest{}));
  restart_after_power_loss();
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
  EXPECT_EQ(client->lookup("b"), ErrorCode::kOk);
}

TEST_F(RequestLoop, a_crash_at_any_write_leaves_every_answered_change) {
  for (std::uint64_t writes = 0; writes < 24; ++writes) {
    const std::string name = "f" + std::to_string(writes);
    process->vfs.die_after(writes % 8, [this] { process->kill(); });
    std::optional<ErrorCode> code;
    // The call goes on over the crash: it is kept and sent again.
    const CreateRequest request = create_request(kRootInode, name, kModeRegular | 0644);
    sim::SimScheduler scheduler(events);
    sim::SimRandom random(writes);
    sim::SimLog log;
    auto transport = network.transport(scheduler, "caller" + std::to_string(writes));
    RpcClient rpc(World{scheduler, random, log, *transport}, "master:9420", "master",
                  RpcClient::Options{.when_down = RpcClient::WhenDown::kKeepCalls});
    rpc.call(request, {.session = client->session, .sequence = ++client->sequence},
             [&](Result<RpcReply<EntryReply>> reply) { code = reply.code(); });
    events.run_until([&] { return code || !process->scheduler.is_alive(); }, seconds(30));
    restart_after_kill();
    EXPECT_TRUE(events.run_until([&] { return code.has_value(); }, seconds(30)));
    EXPECT_EQ(code, ErrorCode::kOk) << writes;
    EXPECT_EQ(client->lookup(name), ErrorCode::kOk) << writes;
  }
  EXPECT_EQ(inode_count(), 25u);
}

TEST_F(RequestLoop, a_full_disk_is_no_space_and_passes) {
  client->make_file("before");
  disk.set_capacity(disk.used_bytes());
  EXPECT_EQ(client->change(create_request(kRootInode, "a", kModeRegular | 0644)).code(),
            ErrorCode::kNoSpace);
  EXPECT_EQ(client->lookup("before"), ErrorCode::kOk);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kNotFound);
  EXPECT_FALSE(process->failure);
  disk.set_capacity(std::uint64_t{1} << 40);
  client->make_file("a");
  EXPECT_EQ(inode_count(), 3u);
}

TEST_F(RequestLoop, a_disk_that_cannot_write_stops_the_master_without_an_answer) {
  client->make_file("before");
  disk.set_faults(kTestDirectory, {.fail_writes = true});
  const CallOptions once{
      .timeout = seconds(3), .session = client->session, .sequence = ++client->sequence};
  const CreateRequest request = create_request(kRootInode, "a", kModeRegular | 0644);
  EXPECT_EQ(client->call(request, once).code(), ErrorCode::kTimedOut);
  ASSERT_TRUE(process->failure);
  EXPECT_EQ(process->failure->code, ErrorCode::kIo);
  disk.clear_faults();
  restart_after_kill();
  EXPECT_TRUE(client->repeat(request));
  EXPECT_EQ(client->lookup("before"), ErrorCode::kOk);
}

TEST_F(RequestLoop, a_log_that_cannot_be_synced_stops_the_master_without_an_answer) {
  client->make_file("a");  // the first one syncs a reserve of numbers
  client->make_file("b");
  disk.set_faults(kTestDirectory, {.fail_syncs = true});
  EXPECT_EQ(client->call(SyncMetadataRequest{}, {.timeout = seconds(3), .session = client->session})
                .code(),
            ErrorCode::kTimedOut);
  // The next start must know, so there must be none before it can.
  EXPECT_FALSE(process->failure);
  EXPECT_TRUE(process->log.contains("cannot be written down"));
  disk.clear_faults();
  run_for(seconds(1));
  EXPECT_TRUE(process->failure);
}

TEST_F(RequestLoop, an_orderly_stop_leaves_everything) {
  client->make_file("a");
  process->stop();
  process.reset();
  disk.crash();
  start();
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
}

}  // namespace
}  // namespace dfs::master
