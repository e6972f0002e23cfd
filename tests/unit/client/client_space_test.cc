// What a Client says of the room there is, while the master does not know yet.
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "tests/unit/client/client_rig.h"

namespace dfs::client {
namespace {

using std::chrono::seconds;

constexpr InodeId kFile{7};
constexpr std::uint64_t kLength = 4096;

class ClientSpaceTest : public ClientRig {
 protected:
  void SetUp() override {
    ClientRig::SetUp();
    open_to_write(kFile);
  }
  bool answer(RpcServer& master, const RpcRequest& request) override {
    if (request.envelope.type == MessageType::kStatFilesystem) {
      ++questions_;
      master.reply(request.reply_address(), space_);
      return true;
    }
    if (request.envelope.type == MessageType::kAllocate) {
      AttributesReply reply{.attributes = cluster_.files[kFile].attributes};
      ++reply.attributes.data_version;
      master.reply(request.reply_address(), reply);
      return true;
    }
    return false;
  }
  void answered(ErrorCode code) {
    outcome_ = code;
    ++answers_;
  }
  OperationId allocate() {
    AllocateRequest range;
    range.length_bytes = kLength;
    return client_.allocate(handle_, range,
                            [this](const Result<Unit>& result) { answered(result.code()); });
  }
  OperationId stat() {
    return client_.stat_filesystem(kFile, [this](const Result<StatFilesystemReply>& reply) {
      answered(reply.code());
      shown_bytes_ = reply ? reply->available_bytes : 0;
    });
  }
  bool is_answered(Duration limit) {
    return run_until([this] { return outcome_.has_value(); }, limit);
  }

  StatFilesystemReply space_{.total_bytes = 0, .available_bytes = 0, .is_preliminary = true};
  int questions_ = 0;
  std::optional<ErrorCode> outcome_;
  int answers_ = 0;
  std::uint64_t shown_bytes_ = 0;
};

TEST_F(ClientSpaceTest, room_is_made_when_the_servers_are_known) {
  allocate();
  EXPECT_FALSE(is_answered(seconds(1)));
  EXPECT_GT(questions_, 1);
  space_.available_bytes = kLength;
  ASSERT_TRUE(is_answered(seconds(1)));
  EXPECT_EQ(*outcome_, ErrorCode::kOk);
}

TEST_F(ClientSpaceTest, room_is_refused_when_no_more_servers_may_come) {
  allocate();
  EXPECT_FALSE(is_answered(seconds(1)));
  space_.is_preliminary = false;
  ASSERT_TRUE(is_answered(seconds(1)));
  EXPECT_EQ(*outcome_, ErrorCode::kNoSpace);
}

TEST_F(ClientSpaceTest, a_full_cluster_is_told_at_once) {
  space_.is_preliminary = false;
  allocate();
  ASSERT_TRUE(is_answered(seconds(1)));
  EXPECT_EQ(*outcome_, ErrorCode::kNoSpace);
  EXPECT_EQ(questions_, 1);
}

TEST_F(ClientSpaceTest, figures_are_shown_as_soon_as_there_are_any) {
  stat();
  EXPECT_FALSE(is_answered(seconds(1)));
  space_.available_bytes = kLength;  // though servers are missing
  ASSERT_TRUE(is_answered(seconds(1)));
  EXPECT_EQ(shown_bytes_, kLength);
}

TEST_F(ClientSpaceTest, who_waits_for_servers_is_interrupted) {
  for (const OperationId operation : {allocate(), stat()}) {
    outcome_.reset();
    EXPECT_FALSE(is_answered(seconds(1)));
    answers_ = 0;
    client_.interrupt(operation);
    client_.interrupt(operation);
    ASSERT_TRUE(is_answered(seconds(1)));
    EXPECT_EQ(*outcome_, ErrorCode::kInterrupted);
    EXPECT_FALSE(run_until([this] { return answers_ > 1; }, seconds(1)));
  }
  const int questions = questions_;
  EXPECT_FALSE(run_until([&] { return questions_ > questions; }, seconds(1)));
}

}  // namespace
}  // namespace dfs::client
