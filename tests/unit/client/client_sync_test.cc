// fsync and syncfs through a whole Client: what they ask of the master.
#include <gtest/gtest.h>

#include <optional>

#include "fuse-client/core/client.h"
#include "tests/unit/client/fake_cluster.h"
#include "tests/unit/client/write_back_rig.h"

namespace dfs::client {
namespace {

const InodeId kFile{7};

class ClientSyncTest : public testing::Test {
 protected:
  ClientSyncTest() {
    client_ = std::make_unique<Client>(
        host_.world(), ClientOptions{.master = kFakeMaster, .name = "test"}, ClientEvents{});
    EXPECT_TRUE(finish([&](Done<Unit> done) { client_->start(std::move(done)); }));
    std::optional<Result<OpenedFile>> opened;
    client_->open(kFile, {.write = true}, [&](Result<OpenedFile> file) { opened = file; });
    EXPECT_TRUE(run_until([&] { return opened.has_value(); }));
    handle_ = (*opened)->handle;
  }

  bool run_until(const std::function<bool()>& predicate) {
    return cluster_.events.run_until(predicate, std::chrono::minutes(5));
  }
  template <class Start>
  Status finish(Start start) {
    std::optional<Status> done;
    start(Done<Unit>([&](Status status) { done = std::move(status); }));
    EXPECT_TRUE(run_until([&] { return done.has_value(); }));
    return *done;
  }
  void write() {
    ASSERT_TRUE(finish([&](Done<Unit> done) {
      client_->write(handle_, {.offset = 0}, Buffer::copy_of(std::string("text")),
                     [done = std::move(done)](Result<std::uint64_t> written) {
                       done(written ? Status(ok()) : Status(std::move(written).error()));
                     });
    }));
  }
  Status sync() {
    return finish([&](Done<Unit> done) { client_->sync(handle_, std::move(done)); });
  }
  Status sync_all() {
    return finish([&](Done<Unit> done) { client_->sync_all(std::move(done)); });
  }

  FakeCluster cluster_;
  FakeHost host_{cluster_.events, cluster_.network, "client", 7};
  std::unique_ptr<Client> client_;
  HandleId handle_;
};

TEST_F(ClientSyncTest, fsync_of_a_clean_file_asks_the_master_once) {
  ASSERT_TRUE(sync());
  EXPECT_EQ(cluster_.metadata_syncs, 1u);
}

TEST_F(ClientSyncTest, fsync_of_a_written_file_is_answered_by_its_commit_alone) {
  write();
  ASSERT_TRUE(sync());
  EXPECT_EQ(cluster_.commits.size(), 1u);
  EXPECT_EQ(cluster_.metadata_syncs, 0u);
}

TEST_F(ClientSyncTest, servers_are_told_whose_chunks_are_meant) {
  write();
  ASSERT_TRUE(sync());
  EXPECT_EQ(cluster_.clusters_named, std::set{cluster_tag(kFakeClusterId)});
}

TEST_F(ClientSyncTest, syncfs_asks_the_master_once) {
  write();
  ASSERT_TRUE(sync_all());
  EXPECT_EQ(cluster_.commits.size(), 1u);
  EXPECT_EQ(cluster_.metadata_syncs, 1u);
}

}  // namespace
}  // namespace dfs::client
