// What a Client says of directories that were removed and are still in use.
#include <gtest/gtest.h>

#include <optional>

#include "tests/unit/client/client_rig.h"

namespace dfs::client {
namespace {

constexpr InodeId kDirectory{7};
constexpr InodeId kParent{6};
constexpr std::uint64_t kFirstNotice = 1;  // as the fake master counts them

class ClientDirectoryTest : public ClientRig {
 protected:
  ClientDirectoryTest()
      : ClientRig({.invalidate_contents = {}, .is_known = [this](InodeId) { return is_known_; }}) {}
  void SetUp() override {
    ClientRig::SetUp();
    EXPECT_EQ(look_up(kParent), ErrorCode::kOk);
  }
  bool answer(RpcServer& master, const RpcRequest& request) override {
    if (request.envelope.type == MessageType::kCreate) {
      master.fail(request.reply_address(), make_error(ErrorCode::kStale));
      return true;
    }
    if (request.envelope.type != MessageType::kLookup) {
      return false;
    }
    if (cluster_.files[kDirectory].is_gone) {
      master.fail(request.reply_address(), make_error(ErrorCode::kStale));
      return true;
    }
    EntryReply reply;
    reply.lease = kFirstNotice;
    reply.attributes.inode = kDirectory;
    reply.attributes.mode = kModeDirectory | 0710;
    reply.attributes.link_count = 2;
    master.reply(request.reply_address(), reply);
    return true;
  }
  ErrorCode look_up(InodeId parent) {
    return wait<Attributes>([&](auto done) { client_.lookup(parent, "name", done); });
  }
  Result<Attributes> attributes() {
    std::optional<Result<Attributes>> answer;
    client_.get_attributes(kDirectory, [&](Result<Attributes> result) { answer = result; });
    EXPECT_TRUE(run_until([&] { return answer.has_value(); }));
    return *answer;
  }
  // By another client, and the master has freed it.
  void remove() {
    cluster_.remove_file(kDirectory);
    ASSERT_TRUE(run_until([&] {
      return cluster_.notify(
          {{.inode = kDirectory, .contents = false, .names = {}, .new_names = {}}});
    }));
    ASSERT_TRUE(run_until([&] { return !client_.kept_attributes(kDirectory); }));
  }

  bool is_known_ = false;  // to the kernel
};

TEST_F(ClientDirectoryTest, one_that_the_kernel_knows_tells_that_it_was_removed) {
  is_known_ = true;
  remove();
  const auto removed = attributes();
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->mode, kModeDirectory | 0710);
  EXPECT_EQ(removed->link_count, 0u);
  EXPECT_EQ(attributes().code(), ErrorCode::kOk);  // as often as it is asked
  EXPECT_EQ(look_up(kDirectory), ErrorCode::kNotFound);
  EXPECT_EQ(wait<Attributes>([&](auto done) {
              client_.make({.parent = kDirectory, .name = "d", .symlink_target = {}}, done);
            }),
            ErrorCode::kNotFound);
}

TEST_F(ClientDirectoryTest, one_that_is_open_does_until_it_is_released) {
  client_.open_directory(kDirectory);
  remove();
  EXPECT_EQ(attributes()->link_count, 0u);
  client_.release_directory(kDirectory);
  EXPECT_EQ(attributes().code(), ErrorCode::kStale);
}

TEST_F(ClientDirectoryTest, one_that_nobody_uses_is_stale) {
  remove();
  EXPECT_EQ(attributes().code(), ErrorCode::kStale);
}

}  // namespace
}  // namespace dfs::client
