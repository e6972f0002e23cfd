// A change that the master has lost with its power and could not make again: whose fsync says so.
#include <optional>

#include "tests/unit/client/client_rig.h"

namespace dfs::client {
namespace {

using std::chrono::seconds;

constexpr InodeId kFile{5};
constexpr InodeId kParent{6};

class LostChange : public ClientRig {
 protected:
  // Changes a file and a name, and the master loses both for good.
  void SetUp() override {
    ClientRig::SetUp();
    open_to_write(kFile);
    AttributeChange change;
    change.inode = kFile;
    change.mode = 0600;
    EXPECT_EQ(wait<Attributes>([&](auto done) { client_.set_attributes(change, done); }),
              ErrorCode::kOk);
    EXPECT_EQ(wait<Unit>([&](auto done) { client_.unlink(kParent, "name", done); }),
              ErrorCode::kOk);
    cluster_.keep_alive_reply = {.incarnation = 2, .wants_replay = true};
    EXPECT_TRUE(run_until([this] { return was_replayed_; }, seconds(10)));
    cluster_.keep_alive_reply.wants_replay = false;
  }

  bool answer(RpcServer& master, const RpcRequest& request) override {
    ReplyAddress to = request.reply_address();
    to.stamp = {.index = request.envelope.sequence, .time = {}, .inode = {}};
    switch (request.envelope.type) {
      case MessageType::kSetAttributes:
        master.reply(to, AttributesReply{.attributes = cluster_.files[kFile].attributes});
        return true;
      case MessageType::kUnlink:
        master.reply(to, UnlinkReply{.inode = InodeId{9}, .link_count = 0, .parent = {}});
        return true;
      case MessageType::kReplayChanges: {
        to.stamp = {};
        was_replayed_ = true;
        const auto stale = static_cast<std::uint16_t>(ErrorCode::kStale);
        master.reply(to, ReplayChangesReply{.codes = {stale, stale}, .losses = 1});
        return true;
      }
      default: return false;
    }
  }
  ErrorCode sync_file() {
    return wait<Unit>([&](auto done) { client_.sync(handle_, done); });
  }
  ErrorCode sync_directory(InodeId inode) {
    return wait<Unit>([&](auto done) { client_.sync_directory(inode, done); });
  }
  ErrorCode sync_all() {
    return wait<Unit>([&](auto done) { client_.sync_all(done); });
  }

  bool was_replayed_ = false;
};

TEST_F(LostChange, fsync_of_what_was_changed_fails_once) {
  EXPECT_EQ(sync_directory(InodeId{1}), ErrorCode::kOk);  // another one
  EXPECT_EQ(sync_file(), ErrorCode::kIo);
  EXPECT_EQ(sync_file(), ErrorCode::kOk);
  EXPECT_EQ(sync_directory(kParent), ErrorCode::kIo);
  EXPECT_EQ(sync_directory(kParent), ErrorCode::kOk);
  EXPECT_EQ(sync_all(), ErrorCode::kOk);
}

TEST_F(LostChange, sync_of_everything_fails_once) {
  EXPECT_EQ(sync_all(), ErrorCode::kIo);
  EXPECT_EQ(sync_all(), ErrorCode::kOk);
  EXPECT_EQ(sync_file(), ErrorCode::kOk);
}

}  // namespace
}  // namespace dfs::client
