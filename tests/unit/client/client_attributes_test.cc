// What a Client says of attributes while others change them.
#include <gtest/gtest.h>

#include <optional>

#include "fuse-client/core/client.h"
#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {
namespace {

constexpr InodeId kFile{7};
constexpr InodeId kParent{6};
constexpr std::uint64_t kFirstNotice = 1;  // as the fake master counts them

class ClientAttributesTest : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.on_other = [this](RpcServer& master, const RpcRequest& request) {
      master_ = &master;
      const MessageType type = request.envelope.type;
      if (type == MessageType::kLookup) {
        asked_ = request.reply_address();
      } else if (type == MessageType::kLink) {
        link_asked_ = request.reply_address();
      } else if (type == MessageType::kSetAttributes) {
        access_asked_ = request.reply_address();
      }
      return type == MessageType::kLookup || type == MessageType::kLink ||
             type == MessageType::kUnlink || type == MessageType::kSetAttributes;
    };
    std::optional<ErrorCode> started;
    client_.start([&](const Result<Unit>& result) { started = result.code(); });
    EXPECT_TRUE(run_until([&] { return started.has_value(); }));
    std::optional<ErrorCode> opened;
    client_.open(kFile, {}, [&](const Result<OpenedFile>& file) {
      opened = file.code();
      handle_ = file->handle;
    });
    EXPECT_TRUE(run_until([&] { return opened == ErrorCode::kOk; }));
    EXPECT_TRUE(look_up("name"));
    answer(0, cluster_.files[kFile].attributes.data_version, kFirstNotice);
    EXPECT_TRUE(run_until([&] { return client_.kept_attributes(kFile).has_value(); }));
    asked_.reset();
  }
  // False: the master is not asked.
  bool look_up(
      const std::string& name, Done<Attributes> done = [](const Result<Attributes>&) {}) {
    client_.lookup(kParent, name, std::move(done));
    return run_until([&] { return asked_.has_value(); });
  }
  Duration name_keeps_for(const Attributes& told) {
    return client_.name_keeps_for(kParent, "name", told);
  }
  // "other" stands for another file.
  void learn_other_name() {
    bool is_known = false;
    ASSERT_TRUE(look_up("other", [&](const Result<Attributes>&) { is_known = true; }));
    EntryReply reply;
    reply.lease = kFirstNotice;
    reply.attributes = cluster_.files[kFile].attributes;
    reply.attributes.inode = InodeId{8};
    master_->reply(*asked_, reply);
    ASSERT_TRUE(run_until([&] { return is_known; }));
  }
  bool run_until(const std::function<bool()>& predicate) {
    return cluster_.events.run_until(predicate, std::chrono::minutes(1));
  }
  void answer(std::uint64_t size_bytes, std::uint64_t data_version, std::uint64_t lease = 0) {
    EntryReply reply;
    reply.lease = lease;
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
  std::optional<ReplyAddress> link_asked_;
  std::optional<ReplyAddress> access_asked_;
  HandleId handle_;
};

// It is not kept. But what was known before is older.
TEST_F(ClientAttributesTest, an_answer_that_crossed_a_notice_is_what_the_asker_is_told) {
  std::optional<Attributes> found;
  ASSERT_TRUE(look_up("other", [&](Result<Attributes> answer) { found = *answer; }));
  ASSERT_TRUE(cluster_.notify({{.inode = kFile, .contents = false, .names = {}, .new_names = {}}}));
  ASSERT_TRUE(run_until([&] { return !client_.kept_attributes(kFile); }));

  answer(4096, cluster_.files[kFile].attributes.data_version + 1);
  ASSERT_TRUE(run_until([&] { return found.has_value(); }));
  EXPECT_EQ(found->size_bytes, 4096u);
}

// The kernel would go by that owner as long as it has the name.
TEST_F(ClientAttributesTest, a_name_is_kept_only_with_the_owner_that_is_known) {
  Attributes told = cluster_.files[kFile].attributes;
  EXPECT_GT(name_keeps_for(told), Duration{});
  ++told.uid;
  EXPECT_EQ(name_keeps_for(told), Duration{});
  --told.uid;
  ++told.gid;
  EXPECT_EQ(name_keeps_for(told), Duration{});
  --told.gid;

  ASSERT_TRUE(cluster_.notify({{.inode = kFile, .contents = false, .names = {}, .new_names = {}}}));
  ASSERT_TRUE(run_until([&] { return !client_.kept_attributes(kFile); }));
  EXPECT_EQ(name_keeps_for(told), Duration{});
}

// Another client may know already that the change was made.
TEST_F(ClientAttributesTest, while_an_own_change_is_under_way_attributes_are_asked_for) {
  client_.link(kFile, kParent, "other", [](const Result<Attributes>&) {});
  EXPECT_FALSE(client_.kept_attributes(kFile));

  cluster_.files[kFile].attributes.uid = 42;
  std::optional<Attributes> found;
  client_.get_attributes(kFile, [&](Result<Attributes> answer) { found = *answer; });
  ASSERT_TRUE(run_until([&] { return found.has_value(); }));
  EXPECT_EQ(found->uid, 42u);
}

// Nobody is told of a file that is written here. But its names may show that the change was made.
TEST_F(ClientAttributesTest,
       links_of_a_written_file_are_asked_for_while_an_own_change_is_under_way) {
  std::optional<HandleId> handle;
  client_.open(kFile, {.write = true},
               [&](const Result<OpenedFile>& file) { handle = file->handle; });
  ASSERT_TRUE(run_until([&] { return handle.has_value(); }));
  std::optional<ErrorCode> written;
  client_.write(*handle, WritePlace{.offset = 0}, Buffer::copy_of(std::string("text")),
                [&](const Result<std::uint64_t>& done) { written = done.code(); });
  ASSERT_TRUE(run_until([&] { return written == ErrorCode::kOk; }));
  ASSERT_TRUE(client_.kept_attributes(kFile));

  client_.unlink(kParent, "name", [](const Result<Unit>&) {});
  EXPECT_FALSE(client_.kept_attributes(kFile));
}

// The removal may come after the other change, and then removes what that has put there.
TEST_F(ClientAttributesTest, an_own_change_of_a_name_that_others_change_may_concern_any_inode) {
  learn_other_name();
  client_.unlink(kParent, "other", [](const Result<Unit>&) {});
  ASSERT_TRUE(client_.kept_attributes(kFile));
  ASSERT_TRUE(cluster_.notify(
      {{.inode = kParent, .contents = false, .names = {"other"}, .new_names = {}}}));
  EXPECT_TRUE(run_until([&] { return !client_.kept_attributes(kFile); }));
}

TEST_F(ClientAttributesTest,
       of_two_own_changes_of_a_name_one_may_concern_what_the_other_put_there) {
  learn_other_name();
  client_.unlink(kParent, "other", [](const Result<Unit>&) {});
  std::optional<ErrorCode> linked;
  client_.link(kFile, kParent, "other",
               [&](const Result<Attributes>& done) { linked = done.code(); });
  ASSERT_TRUE(run_until([&] { return link_asked_.has_value(); }));
  asked_ = link_asked_;
  answer(0, cluster_.files[kFile].attributes.data_version, kFirstNotice);
  ASSERT_TRUE(run_until([&] { return linked.has_value(); }));
  EXPECT_EQ(*linked, ErrorCode::kOk);
  EXPECT_FALSE(client_.kept_attributes(kFile));
}

// A change waits for no bytes that others write: what it tells of the size may be long over.
TEST_F(ClientAttributesTest, what_a_change_tells_of_a_size_is_no_answer_to_a_read_under_way) {
  std::optional<HandleId> quiet;
  client_.open(kFile, {.no_atime = true},
               [&](const Result<OpenedFile>& file) { quiet = file->handle; });
  ASSERT_TRUE(run_until([&] { return quiet.has_value(); }));
  const LeaseChange others{.inode = kFile, .contents = true, .names = {}, .new_names = {}};
  ASSERT_TRUE(cluster_.notify({others}));
  ASSERT_TRUE(run_until([&] { return !client_.kept_attributes(kFile); }));
  cluster_.is_holding_questions = true;
  client_.read(*quiet, 0, 100, [](const Result<std::vector<Buffer>>&) {});
  ASSERT_TRUE(run_until([&] { return cluster_.notify({others}); }));
  cluster_.events.run_for(std::chrono::milliseconds(1));
  bool is_read = false;  // it waits for the same question, and notes the access
  client_.read(handle_, 0, 100, [&](const Result<std::vector<Buffer>>&) { is_read = true; });
  ASSERT_TRUE(run_until([&] { return access_asked_.has_value(); }));
  master_->reply(*access_asked_, AttributesReply{cluster_.files[kFile].attributes});
  cluster_.events.run_for(std::chrono::milliseconds(1));
  cluster_.release_questions();  // what it answers crossed the notice, and does not count
  cluster_.is_holding_questions = true;
  cluster_.events.run_for(std::chrono::seconds(1));
  EXPECT_FALSE(is_read);
}

TEST_F(ClientAttributesTest, while_an_own_change_is_under_way_its_names_are_asked_for) {
  ASSERT_GT(name_keeps_for(cluster_.files[kFile].attributes), Duration{});
  ASSERT_FALSE(look_up("name"));

  client_.unlink(kParent, "name", [](const Result<Unit>&) {});
  EXPECT_EQ(name_keeps_for(cluster_.files[kFile].attributes), Duration{});
  EXPECT_TRUE(look_up("name"));
}

// It may have been sent before the file was pinned.
TEST_F(ClientAttributesTest, a_file_that_an_own_change_removes_is_not_opened_from_what_is_kept) {
  client_.unlink(kParent, "name", [](const Result<Unit>&) {});
  cluster_.files[kFile].attributes.uid = 42;
  std::optional<OpenedFile> opened;
  client_.open(kFile, {}, [&](Result<OpenedFile> file) { opened = std::move(*file); });
  ASSERT_TRUE(run_until([&] { return opened.has_value(); }));
  EXPECT_EQ(opened->attributes.uid, 42u);
}

}  // namespace
}  // namespace dfs::client
