// What a Client says of attributes while others change them.
#include <gtest/gtest.h>

#include <optional>

#include "fuse-client/core/client.h"
#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {
namespace {

constexpr InodeId kFile{7};
constexpr InodeId kParent{6};

class ClientAttributesTest : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.on_other = [this](RpcServer& master, const RpcRequest& request) {
      master_ = &master;
      asked_ = request.reply_address();
      return request.envelope.type == MessageType::kLookup;
    };
    std::optional<ErrorCode> started;
    client_.start([&](const Result<Unit>& result) { started = result.code(); });
    EXPECT_TRUE(run_until([&] { return started.has_value(); }));
    std::optional<ErrorCode> opened;
    client_.open(kFile, {}, [&](const Result<OpenedFile>& file) { opened = file.code(); });
    EXPECT_TRUE(run_until([&] { return opened == ErrorCode::kOk; }));
  }
  bool run_until(const std::function<bool()>& predicate) {
    return cluster_.events.run_until(predicate, std::chrono::minutes(1));
  }
  void answer(std::uint64_t size_bytes, std::uint64_t data_version) {
    EntryReply reply;
    reply.attributes = cluster_.files[kFile].attributes;
    reply.attributes.size_bytes = size_bytes;
    reply.attributes.data_version = data_version;
    master_->reply(*asked_, reply);
  }

  FakeCluster cluster_;
  FakeHost host_{cluster_.events, cluster_.network, "client", 7};
  Client client_{host_.world(), ClientOptions{.master = kFakeMaster, .name = "test"},
                 ClientEvents{}};
  RpcServer* master_ = nullptr;
  std::optional<ReplyAddress> asked_;
};

// It is not kept. But what was known before is older.
TEST_F(ClientAttributesTest, an_answer_that_crossed_a_notice_is_what_the_asker_is_told) {
  std::optional<Attributes> found;
  client_.lookup(kParent, "name", [&](Result<Attributes> answer) { found = *answer; });
  ASSERT_TRUE(run_until([&] { return asked_.has_value(); }));
  ASSERT_TRUE(cluster_.notify({.inode = kFile, .contents = false, .names = {}, .new_names = {}}));
  cluster_.events.run_for(std::chrono::milliseconds(10));
  ASSERT_FALSE(client_.kept_attributes(kFile)) << "the notice was not heard";

  answer(4096, cluster_.files[kFile].attributes.data_version + 1);
  ASSERT_TRUE(run_until([&] { return found.has_value(); }));
  EXPECT_EQ(found->size_bytes, 4096u);
}

}  // namespace
}  // namespace dfs::client
