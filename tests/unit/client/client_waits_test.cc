// What a whole Client tells of its calls that wait.
#include <gtest/gtest.h>

#include <optional>

#include "fuse-client/core/client.h"
#include "fuse-client/core/waiting_text.h"
#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {
namespace {

const InodeId kFile{7};

class ClientWaitsTest : public testing::Test {
 protected:
  ClientWaitsTest() {
    client_ = std::make_unique<Client>(
        host_.world(), ClientOptions{.master = kFakeMaster, .name = "test"}, ClientEvents{});
    std::optional<Result<Unit>> started;
    client_->start([&](Result<Unit> result) { started = result; });
    EXPECT_TRUE(run_until([&] { return started.has_value(); }));
    std::optional<Result<OpenedFile>> opened;
    client_->open(kFile, {.write = true}, [&](Result<OpenedFile> file) { opened = file; });
    EXPECT_TRUE(run_until([&] { return opened.has_value(); }));
    handle_ = (*opened)->handle;
  }

  bool run_until(const std::function<bool()>& predicate) {
    return cluster_.events.run_until(predicate, std::chrono::seconds(30));
  }
  std::vector<ClientWait> waiting() const {
    std::uint64_t more = 0;
    return client_->waiting(8, more);
  }

  FakeCluster cluster_;
  FakeHost host_{cluster_.events, cluster_.network, "client", 7};
  std::unique_ptr<Client> client_;
  HandleId handle_;
};

TEST_F(ClientWaitsTest,
       call_to_a_master_that_is_away_is_told_after_a_second_and_no_more_when_done) {
  EXPECT_TRUE(waiting().empty());
  cluster_.network.partition("client", "master");
  std::optional<Result<Unit>> synced;
  const OperationId id = client_->sync(handle_, [&](Result<Unit> result) { synced = result; });
  client_->note_caller(id, 42);
  cluster_.events.run_for(std::chrono::milliseconds(900));
  EXPECT_TRUE(waiting().empty());
  cluster_.events.run_for(std::chrono::milliseconds(2500));
  ASSERT_EQ(waiting().size(), 1u);
  const ClientWait wait = waiting().front();
  EXPECT_EQ(wait.operation, "fsync");
  EXPECT_EQ(wait.inode, kFile);
  EXPECT_EQ(wait.pid, 42u);
  EXPECT_EQ(wait.cause, static_cast<std::uint8_t>(WaitCause::kMaster));
  EXPECT_GE(wait.waited_ms, 3000u);
  EXPECT_FALSE(client_->master_answers());
  EXPECT_EQ(describe(waiting(), 2, false),
            "the master does not answer\n3 s: fsync of inode 7 by process 42 waits for the master, "
            "which does not answer\nand 2 more\n");
  cluster_.network.heal("client", "master");
  EXPECT_TRUE(run_until([&] { return synced.has_value(); }));
  EXPECT_TRUE(waiting().empty());
  EXPECT_EQ(describe({}, 0, true), "nothing waits\n");
}

}  // namespace
}  // namespace dfs::client
