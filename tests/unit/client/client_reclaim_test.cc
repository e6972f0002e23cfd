// What a Client keeps, it tells a master that was started anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "tests/unit/client/client_rig.h"

namespace dfs::client {
namespace {

constexpr InodeId kFile{7};
constexpr InodeId kParent{6};
constexpr std::uint64_t kLease = 1;  // as the fake master counts notices

class ClientReclaimTest : public ClientRig {
 protected:
  bool answer(RpcServer& master, const RpcRequest& request) override {
    master_ = &master;
    switch (request.envelope.type) {
      case MessageType::kLink:
      case MessageType::kRename: change_ = request.reply_address(); return true;
      case MessageType::kReplayChanges:
        was_replayed_ = true;
        master.reply(request.reply_address(), ReplayChangesReply{});
        return true;
      default: return false;
    }
  }
  // The master may have lost what it said: nothing of that counts. What is asked is asked again.
  void lose_all_while_a_change_is_under_way() {
    ASSERT_TRUE(run_until([this] { return change_.has_value(); }));
    change_.reset();
    cluster_.keep_alive_reply = {.incarnation = 2, .wants_replay = true};
    ASSERT_TRUE(run_until([this] { return was_replayed_; }));
    cluster_.keep_alive_reply.wants_replay = false;
    ASSERT_TRUE(run_until([this] { return change_.has_value(); }));
  }
  // A name is kept with what is known of its inode: that is asked for first.
  bool keeps_name() {
    bool is_answered = false;
    cluster_.attributes_lease = kLease;
    client_.get_attributes(kFile, [&](const Result<Attributes>&) { is_answered = true; });
    EXPECT_TRUE(run_until([&] { return is_answered; }));
    return client_.name_keeps_for(kParent, "name", cluster_.files[kFile].attributes) > Duration{};
  }
  bool reclaims_directory() {
    cluster_.reclaims.clear();
    ++cluster_.keep_alive_reply.incarnation;
    EXPECT_TRUE(run_until([this] { return !cluster_.reclaims.empty(); }));
    const std::vector<InodeId>& told = cluster_.reclaims.back().inodes;
    return std::find(told.begin(), told.end(), kParent) != told.end();
  }
  Attributes directory() const {
    Attributes attributes;
    attributes.inode = kParent;
    attributes.mode = kModeDirectory | 0755;
    return attributes;
  }

  RpcServer* master_ = nullptr;
  std::optional<ReplyAddress> change_;
  bool was_replayed_ = false;
  bool is_answered_ = false;  // the change
};

// The answer was asked for before the loss, so it does not tell what the directory's attributes
// are. But it grants the lease that the name is kept under.
TEST_F(ClientReclaimTest, the_directory_of_a_name_that_was_made_across_a_loss_is_reclaimed) {
  client_.link(kFile, kParent, "name", [this](const Result<Attributes>&) { is_answered_ = true; });
  lose_all_while_a_change_is_under_way();
  EntryReply reply;
  reply.attributes = cluster_.files[kFile].attributes;
  reply.attributes.inode = kFile;
  reply.parent = directory();
  reply.lease = kLease;
  master_->reply(*change_, reply);
  ASSERT_TRUE(run_until([this] { return is_answered_; }));
  ASSERT_TRUE(keeps_name());
  EXPECT_TRUE(reclaims_directory());
}

TEST_F(ClientReclaimTest, the_directory_of_a_name_that_was_moved_across_a_loss_is_reclaimed) {
  RenameRequest request;
  request.parent = request.new_parent = kParent;
  request.name = "old";
  request.new_name = "name";
  client_.rename(request, [this](const Result<RenameReply>&) { is_answered_ = true; });
  lose_all_while_a_change_is_under_way();
  RenameReply reply;
  reply.moved = kFile;
  reply.changed = {directory()};
  reply.lease = kLease;
  master_->reply(*change_, reply);
  ASSERT_TRUE(run_until([this] { return is_answered_; }));
  ASSERT_TRUE(keeps_name());
  EXPECT_TRUE(reclaims_directory());
}

}  // namespace
}  // namespace dfs::client
