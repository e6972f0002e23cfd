// A client whose cluster is no more, while another one has come to its master's address: the disk
// was replaced, or a port is used again. What it says must not touch the sessions of that one.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "tests/sim/cluster/processes.h"

namespace dfs::sim {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

class OtherCluster : public testing::Test {
 protected:
  OtherCluster() {
    first_->start();
    mount(left_over_);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(make(left_over_, "old" + std::to_string(i)), ErrorCode::kOk);
    }
    events_.run_for(seconds(10));  // all of that is acknowledged
    network_.partition("left_over", "master");
    first_.reset();
    second_.set_cluster_id("fedcba9876543210fedcba9876543210");
    second_.start();
    mount(client_);
    network_.heal("left_over", "master");
    events_.run_for(seconds(5));
  }

  void mount(ClientProcess& process) {
    process.start();
    EXPECT_TRUE(events_.run_until([&] { return process.client() != nullptr; }, minutes(1)));
  }

  // Nothing: it is not answered.
  std::optional<ErrorCode> make(ClientProcess& process, const std::string& name) {
    auto code = std::make_shared<std::optional<ErrorCode>>();
    process.client()->make(
        {.parent = kRootInode, .name = name, .mode = kModeDirectory | 0755, .symlink_target = {}},
        [code](const Result<Attributes>& made) { *code = made.code(); });
    events_.run_until([&] { return code->has_value(); }, minutes(2));
    return *code;
  }

  SimEvents events_;
  SimRandom random_{1};
  SimNetwork network_{events_, 1};
  SimEnvironment environment_{events_, network_, random_,
                              [](const std::string& why) { ADD_FAILURE() << why; },
                              std::getenv("DFS_SIM_VERBOSE") != nullptr};
  std::unique_ptr<MasterProcess> first_ = std::make_unique<MasterProcess>(environment_);
  MasterProcess second_{environment_};
  ClientProcess left_over_{environment_, "left_over"};
  ClientProcess client_{environment_, "client"};
};

TEST_F(OtherCluster, calls_of_its_clients_are_answered) {
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(make(client_, "new" + std::to_string(i)), ErrorCode::kOk);
  }
}

TEST_F(OtherCluster, gets_nothing_of_what_was_meant_for_the_first) {
  EXPECT_EQ(make(left_over_, "more"), ErrorCode::kWrongCluster);
  EXPECT_EQ(make(client_, "more"), ErrorCode::kOk);
}

}  // namespace
}  // namespace dfs::sim
