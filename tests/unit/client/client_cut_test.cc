// What a Client says of a file that it cuts, while it does not know whether the master has done so.
#include <gtest/gtest.h>

#include <optional>

#include "tests/unit/client/client_rig.h"

namespace dfs::client {
namespace {

using std::chrono::seconds;

constexpr InodeId kFile{7};
constexpr InodeId kParent{6};

// The file has ten bytes that are not stored. The master has cut it to two, and does not answer.
class ClientCutTest : public ClientRig {
 protected:
  void SetUp() override {
    ClientRig::SetUp();
    open_to_write(kFile);
    ASSERT_EQ(wait<std::uint64_t>([&](auto done) {
                client_.write(handle_, {.offset = 0}, Buffer::copy_of(std::string("0123456789")),
                              done);
              }),
              ErrorCode::kOk);
    AttributeChange change;
    change.inode = kFile;
    change.size_bytes = 2;
    client_.set_attributes(change, [this](Result<Attributes> answered) { cut_ = answered.code(); });
    ASSERT_TRUE(run_until([&] { return asked_.has_value(); }));
  }
  bool answer(RpcServer& master, const RpcRequest& request) override {
    Attributes& file = cluster_.files[kFile].attributes;
    if (request.envelope.type == MessageType::kSetAttributes) {
      master_ = &master;
      if (!asked_) {
        ++file.data_version;
        file.size_bytes = 2;
      }
      asked_ = request.reply_address();
      return true;
    }
    if (request.envelope.type == MessageType::kLookup) {
      EntryReply reply;
      reply.attributes = file;
      master.reply(request.reply_address(), reply);
      return true;
    }
    return false;
  }
  void answer_cut() {
    const Attributes& file = cluster_.files[kFile].attributes;
    AttributesReply reply{.attributes = file};
    reply.data_version_before = file.data_version - 1;
    asked_->stamp = {.index = 1, .time = {}, .inode = {}};
    master_->reply(*asked_, reply);
    ASSERT_TRUE(run_until([&] { return cut_.has_value(); }));
    EXPECT_EQ(*cut_, ErrorCode::kOk);
  }
  void open(bool will_write, const Done<Attributes>& done) {
    client_.open(kFile, {.write = will_write}, [done](const Result<OpenedFile>& opened) {
      done(opened ? Result<Attributes>(opened->attributes) : Result<Attributes>(opened.error()));
    });
  }
  // Asked now, the question is answered behind the cut, and of the file as it is then.
  void expect_small_behind_the_cut(const std::function<void(Done<Attributes>)>& question) {
    std::optional<Attributes> found;
    question([&](Result<Attributes> answered) { found = std::move(*answered); });
    ASSERT_FALSE(run_until([&] { return found.has_value(); }, seconds(5)));
    answer_cut();
    ASSERT_TRUE(run_until([&] { return found.has_value(); }));
    EXPECT_EQ(found->size_bytes, 2u);
  }

  RpcServer* master_ = nullptr;
  std::optional<ReplyAddress> asked_;
  std::optional<ErrorCode> cut_;
};

TEST_F(ClientCutTest, stat_waits_until_the_cut_is_decided) {
  EXPECT_FALSE(client_.kept_attributes(kFile));
  expect_small_behind_the_cut(
      [&](const Done<Attributes>& done) { client_.get_attributes(kFile, done); });
}

TEST_F(ClientCutTest, lookup_waits_until_the_cut_is_decided) {
  expect_small_behind_the_cut(
      [&](const Done<Attributes>& done) { client_.lookup(kParent, "name", done); });
}

TEST_F(ClientCutTest, open_for_writing_waits_until_the_cut_is_decided) {
  expect_small_behind_the_cut([&](const Done<Attributes>& done) { open(true, done); });
}

TEST_F(ClientCutTest, open_for_reading_waits_until_the_cut_is_decided) {
  expect_small_behind_the_cut([&](const Done<Attributes>& done) { open(false, done); });
}

TEST_F(ClientCutTest, read_waits_until_the_cut_is_decided) {
  std::optional<std::string> text;
  client_.read(handle_, 0, 10, [&](const Result<std::vector<Buffer>>& read) {
    text.emplace();
    for (const Buffer& buffer : *read) {
      text->append(reinterpret_cast<const char*>(buffer.bytes().data()), buffer.size());
    }
  });
  ASSERT_FALSE(run_until([&] { return text.has_value(); }, seconds(5)));
  std::uint64_t more = 0;
  const std::vector<ClientWait> waits = client_.waiting(8, more);
  ASSERT_EQ(waits.size(), 2u);  // and the truncation
  for (const ClientWait& wait : waits) {
    EXPECT_EQ(wait.cause, static_cast<std::uint8_t>(WaitCause::kMaster)) << wait.operation;
  }
  answer_cut();
  ASSERT_TRUE(run_until([&] { return text.has_value(); }));
  EXPECT_EQ(text, "01");
}

TEST_F(ClientCutTest, who_waits_for_the_cut_can_be_interrupted) {
  std::optional<ErrorCode> stat;
  const OperationId id = client_.get_attributes(
      kFile, [&](const Result<Attributes>& answered) { stat = answered.code(); });
  ASSERT_FALSE(run_until([&] { return stat.has_value(); }, seconds(5)));
  client_.interrupt(id);
  ASSERT_TRUE(run_until([&] { return stat.has_value(); }));
  EXPECT_EQ(stat, ErrorCode::kInterrupted);
  answer_cut();
}

}  // namespace
}  // namespace dfs::client
