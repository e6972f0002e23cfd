// WriteLeases against a master that answers as the test wants.
#include "fuse-client/core/write_leases.h"

#include <set>
#include <string>

#include "tests/unit/client/master_link_rig.h"

namespace dfs::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr InodeId kFile{9};
constexpr InodeId kOther{10};
constexpr std::uint64_t kEpoch = 1234;
constexpr WrittenFile kHeld{kFile, kEpoch};

class WriteLeasesTest : public MasterLinkTest {
 protected:
  void SetUp() override {
    on_other_ = [this](const RpcRequest& request) { return take(request); };
    start();
    events_.run_for(milliseconds(100));
  }

  bool take(const RpcRequest& request) {
    const ReplyAddress to = request.reply_address();
    if (request.envelope.type == MessageType::kReleaseWriteLeases) {
      released_ = decode_body<ReleaseWriteLeasesRequest>(request.body)->inodes;
      server_->reply(to, EmptyReply{});
      return true;
    }
    if (request.envelope.type != MessageType::kTakeWriteLease) {
      return false;
    }
    asked_.push_back(*decode_body<TakeWriteLeaseRequest>(request.body));
    if (refusal_ != ErrorCode::kOk) {
      server_->fail(to, make_error(refusal_));
      return true;
    }
    Attributes attributes;
    attributes.inode = asked_.back().inode;
    attributes.mode = kModeRegular | 0644;
    attributes.data_version = 33;
    server_->reply(to,
                   TakeWriteLeaseReply{.attributes = attributes, .lease = lease_, .epoch = kEpoch});
    return true;
  }
  void take_lease(InodeId inode) {
    leases_.want(inode);
    ASSERT_TRUE(run_until([&] { return leases_.may_write(inode); }));
  }

  std::vector<TakeWriteLeaseRequest> asked_;
  std::vector<InodeId> released_;
  std::uint64_t lease_ = kFirstNotice;
  ErrorCode refusal_ = ErrorCode::kOk;
  std::set<InodeId> dirty_;
  std::set<InodeId> open_;
  std::vector<InodeId> taken_;
  std::vector<ErrorCode> refused_;
  InodeCache inodes_{host_.scheduler,
                     link_.leases().term(),
                     InodeCacheLimits{},
                     {.changed = [](InodeId) {},
                      .is_in_kernel = [](InodeId) { return true; },
                      .lease_left = [](InodeId) {}}};
  WriteLeases leases_{
      host_.world(),
      link_,
      inodes_,
      {.is_dirty = [this](InodeId inode) { return dirty_.contains(inode); },
       .taken = [this](InodeId inode) { taken_.push_back(inode); },
       .settled = [this](InodeId inode) { taken_.push_back(inode); },
       .is_open = [this](InodeId inode) { return open_.contains(inode); },
       .refused = [this](InodeId, const Error& error) { refused_.push_back(error.code); }}};
};

TEST_F(WriteLeasesTest, it_is_asked_for_once_and_had_from_the_answer_on) {
  EXPECT_FALSE(leases_.may_write(kFile));
  leases_.want(kFile);
  leases_.want(kFile);
  ASSERT_TRUE(run_until([&] { return !taken_.empty(); }));
  EXPECT_TRUE(leases_.may_write(kFile));
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(leases_.held(), std::vector{kHeld});
  EXPECT_EQ(leases_.epoch(kFile), kEpoch);
  EXPECT_EQ(inodes_.attributes(kFile)->data_version, 33u);
}

TEST_F(WriteLeasesTest, an_answer_that_crossed_a_notice_gives_nothing) {
  lease_ = kFirstNotice + 1;
  leases_.want(kFile);
  ASSERT_TRUE(run_until([&] { return asked_.size() == 3; }));
  EXPECT_FALSE(leases_.may_write(kFile));
  EXPECT_TRUE(taken_.empty());
  lease_ = kFirstNotice;
  EXPECT_TRUE(run_until([&] { return leases_.may_write(kFile); }));
}

TEST_F(WriteLeasesTest, nothing_is_written_while_it_settles_and_it_is_over_then) {
  take_lease(kFile);
  leases_.begin_settling(kFile);
  leases_.begin_writing_back(kFile);
  EXPECT_FALSE(leases_.may_write(kFile));
  EXPECT_TRUE(leases_.may_write_back(kFile));
  leases_.stop_writing_back(kFile);
  EXPECT_FALSE(leases_.may_write_back(kFile));
  leases_.want(kFile);  // waits for the end of that
  events_.run_for(seconds(1));
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(leases_.held(), std::vector{kHeld});  // a master started anew is told
  taken_.clear();
  leases_.end_settling(kFile, true);
  EXPECT_FALSE(leases_.is_held(kFile));
  EXPECT_EQ(taken_, std::vector{kFile});  // who waits asks now
  take_lease(kFile);
  EXPECT_EQ(asked_.size(), 2u);
}

TEST_F(WriteLeasesTest, pages_are_written_back_before_a_lease_to_read_is_over) {
  Attributes attributes;
  attributes.inode = kFile;
  inodes_.learn(attributes, link_.leases().told(host_.scheduler.now(), kFirstNotice));
  EXPECT_FALSE(leases_.may_write_back(kFile));
  leases_.begin_settling(kFile);
  leases_.begin_writing_back(kFile);
  EXPECT_EQ(taken_, std::vector{kFile});
  EXPECT_TRUE(leases_.may_write_back(kFile));
  leases_.stop_writing_back(kFile);
  EXPECT_FALSE(leases_.may_write_back(kFile));
}

TEST_F(WriteLeasesTest, a_commit_that_is_refused_leaves_it) {
  take_lease(kFile);
  leases_.begin_settling(kFile);
  leases_.end_settling(kFile, false);
  EXPECT_TRUE(leases_.may_write(kFile));
}

TEST_F(WriteLeasesTest, bytes_of_an_old_session_are_stored_over_the_same_contents_only) {
  take_lease(kFile);
  take_lease(kOther);
  dirty_ = {kFile};
  next_session();
  ASSERT_TRUE(run_until([&] { return !leases_.is_held(kFile); }));
  asked_.clear();
  refusal_ = ErrorCode::kLeaseLost;
  leases_.want(kOther);
  leases_.want(kFile);
  ASSERT_TRUE(run_until([&] { return asked_.size() == 2; }));
  EXPECT_EQ(asked_[0].data_version, 0u);
  EXPECT_EQ(asked_[1].data_version, 33u);
  ASSERT_TRUE(run_until([&] { return refused_.size() == 2; }));
  EXPECT_EQ(refused_, std::vector(2, ErrorCode::kLeaseLost));
  // They are lost; what is written now is written over what is there.
  dirty_.clear();
  refusal_ = ErrorCode::kOk;
  take_lease(kFile);
  EXPECT_EQ(asked_.back().data_version, 0u);
}

TEST_F(WriteLeasesTest, a_master_that_is_busy_refuses_nothing) {
  refusal_ = ErrorCode::kTimedOut;
  leases_.want(kFile);
  ASSERT_TRUE(run_until([&] { return asked_.size() == 2; }));
  EXPECT_TRUE(refused_.empty());
  refusal_ = ErrorCode::kOk;
  EXPECT_TRUE(run_until([&] { return leases_.may_write(kFile); }));
}

TEST_F(WriteLeasesTest, a_commit_refused_for_the_lack_of_a_lease_ends_it) {
  take_lease(kFile);
  dirty_ = {kFile};
  leases_.lost(kFile);
  EXPECT_FALSE(leases_.is_held(kFile));
  ASSERT_TRUE(run_until([&] { return leases_.may_write(kFile); }));
  EXPECT_EQ(asked_.back().data_version, 33u);
}

TEST_F(WriteLeasesTest, those_of_closed_clean_files_are_given_up_together) {
  constexpr InodeId kDirty{11};
  for (const InodeId inode : {kFile, kOther, kDirty}) {
    take_lease(inode);
    leases_.release_soon(inode);
  }
  open_ = {kOther};  // again
  dirty_ = {kDirty};
  ASSERT_TRUE(run_until([&] { return !released_.empty(); }));
  EXPECT_EQ(released_, std::vector{kFile});
  ASSERT_TRUE(run_until([&] { return !leases_.is_held(kFile); }));
  EXPECT_EQ(leases_.held(),
            (std::vector{WrittenFile{kOther, kEpoch}, WrittenFile{kDirty, kEpoch}}));
}

TEST_F(WriteLeasesTest, nothing_is_written_while_the_master_is_not_heard) {
  take_lease(kFile);
  is_silent_ = true;
  EXPECT_TRUE(run_until([&] { return !leases_.may_write(kFile); }));
  EXPECT_TRUE(leases_.is_held(kFile));
  is_silent_ = false;
  EXPECT_TRUE(run_until([&] { return leases_.may_write(kFile); }));
}

}  // namespace
}  // namespace dfs::client
