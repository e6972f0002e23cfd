// How a Client gives back what others are about to change: of files whose pages the kernel keeps,
// and sends when they are dropped, since a program has written to them through mmap.
#include "fuse-client/core/lease_settler.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/client/fake_cluster.h"

namespace dfs::client {
namespace {

using std::chrono::seconds;

constexpr InodeId kFile{7};
constexpr InodeId kOther{8};

class LeaseSettlerTest : public testing::Test {
 protected:
  // What the kernel was told to drop.
  struct Drop {
    LeaseChange change;
    std::function<void()> dropped;
  };
  struct Call {
    std::optional<ErrorCode> code;
  };

  void SetUp() override {
    std::optional<Status> started;
    client_.start([&](Status status) { started = std::move(status); });
    ASSERT_TRUE(run_until([&] { return started.has_value(); }));
    handle_ = open(kFile);
    other_ = open(kOther);
    first_notice_ = cluster_.newest_notice() + 1;
  }
  ClientEvents kernel() {
    ClientEvents events;
    events.drop_cached = [this](const std::vector<LeaseChange>& changes,
                                std::function<void()> dropped) {
      drops_.push_back({changes.front(), std::move(dropped)});
    };
    events.others_go_on = [this](const std::vector<InodeId>& files, std::function<void()> done) {
      gone_on_with_.insert(gone_on_with_.end(), files.begin(), files.end());
      if (is_telling_kernel_) {
        told_.push_back(std::move(done));
      } else {
        done();
      }
    };
    return events;
  }
  HandleId open(InodeId inode) {
    std::optional<HandleId> handle;
    client_.open(inode, {.write = true, .no_atime = true},
                 [&](const Result<OpenedFile>& opened) { handle = opened->handle; });
    EXPECT_TRUE(run_until([&] { return handle.has_value(); }));
    return handle.value_or(HandleId{});
  }
  bool run_until(const std::function<bool()>& predicate) {
    return cluster_.events.run_until(predicate, seconds(30));
  }
  void run_for_a_moment() { cluster_.events.run_for(seconds(3)); }

  void notify(const std::vector<LeaseChange>& changes) {
    const std::size_t before = drops_.size();
    ASSERT_TRUE(run_until([&] { return cluster_.notify(changes); }));
    ASSERT_TRUE(run_until([&] { return drops_.size() > before; }));
  }
  static LeaseChange taking(InodeId inode) {
    return {.inode = inode, .contents = true, .names = {}, .new_names = {}};
  }
  void drop_all() {
    for (const Drop& drop : std::exchange(drops_, {})) {
      drop.dropped();
    }
  }
  bool are_acknowledged(std::uint64_t count) const {
    return cluster_.notices_handled >= first_notice_ + count - 1;
  }

  // A page comes from the kernel's cache.
  std::shared_ptr<Call> write_back(const std::string& bytes) {
    auto call = std::make_shared<Call>();
    client_.write(handle_, {.offset = 0, .is_written_back = true}, Buffer::copy_of(bytes),
                  [call](const Result<std::uint64_t>& result) { call->code = result.code(); });
    return call;
  }
  void take_page() {
    const auto page = write_back("page");
    ASSERT_TRUE(run_until([&] { return page->code.has_value(); }));
    EXPECT_EQ(page->code, ErrorCode::kOk);
  }
  // Behind the end: no server is asked.
  std::shared_ptr<Call> read(HandleId handle) {
    auto call = std::make_shared<Call>();
    client_.read(handle, 100, 4,
                 [call](const Result<std::vector<Buffer>>& result) { call->code = result.code(); });
    return call;
  }
  std::shared_ptr<Call> sync() {
    auto call = std::make_shared<Call>();
    client_.sync(handle_, [call](const Result<Unit>& result) { call->code = result.code(); });
    return call;
  }

  FakeCluster cluster_;
  FakeHost host_{cluster_.events, cluster_.network, "client", 7};
  std::vector<Drop> drops_;
  std::vector<InodeId> gone_on_with_;
  bool is_telling_kernel_ = false;
  std::vector<std::function<void()>> told_;
  Client client_{host_.world(), {.master = kFakeMaster, .name = "test"}, kernel()};
  HandleId handle_;
  HandleId other_;
  std::uint64_t first_notice_ = 0;
};

TEST_F(LeaseSettlerTest, pages_that_come_while_they_are_dropped_are_stored_before_the_end) {
  notify({taking(kFile)});
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  run_for_a_moment();
  EXPECT_FALSE(are_acknowledged(1));
  cluster_.release_commits();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(1); }));
  EXPECT_EQ(cluster_.contents(kFile), "page");
  EXPECT_TRUE(cluster_.write_leases.empty());
}

// What the kernel is told of the file while that is stored may reach it late.
TEST_F(LeaseSettlerTest, what_the_kernel_was_told_since_the_drop_is_waited_for) {
  is_telling_kernel_ = true;
  notify({taking(kFile)});
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  run_for_a_moment();
  EXPECT_TRUE(gone_on_with_.empty()) << "not everything is stored";
  cluster_.release_commits();
  ASSERT_TRUE(run_until([&] { return told_.size() == 1; }));
  EXPECT_EQ(gone_on_with_, std::vector<InodeId>{kFile});
  const auto waiting = read(handle_);
  run_for_a_moment();
  EXPECT_FALSE(are_acknowledged(1));
  EXPECT_FALSE(waiting->code);
  told_.front()();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(1) && waiting->code; }));
}

TEST_F(LeaseSettlerTest, the_master_is_told_when_contents_are_not_given_back_soon) {
  const std::set<std::uint64_t> both = {first_notice_, first_notice_ + 1};
  notify({taking(kFile)});
  notify({taking(kFile)});
  cluster_.events.run_for(kHeldUpTime / 2);
  EXPECT_TRUE(cluster_.notices_held_up.empty());
  ASSERT_TRUE(run_until([&] { return cluster_.notices_held_up == both; }));
  EXPECT_FALSE(are_acknowledged(1));
  drop_all();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(2); }));
  notify({taking(kFile)});
  drop_all();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(3); }));
  notify({{.inode = kOther, .contents = false, .names = {}, .new_names = {}}});
  run_for_a_moment();
  EXPECT_EQ(cluster_.notices_held_up, both);
}

TEST_F(LeaseSettlerTest, the_master_is_told_when_pages_that_came_are_not_stored_soon) {
  notify({taking(kFile)});
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  ASSERT_TRUE(run_until([&] { return cluster_.notices_held_up.contains(first_notice_); }));
  EXPECT_FALSE(are_acknowledged(1));
  cluster_.release_commits();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(1); }));
}

TEST_F(LeaseSettlerTest, notices_of_one_file_end_together) {
  notify({taking(kFile)});
  const Drop first = drops_.back();
  notify({taking(kFile)});
  first.dropped();
  run_for_a_moment();
  EXPECT_FALSE(are_acknowledged(1)) << "the kernel may yet send pages, for the second one";
  take_page();
  drops_.back().dropped();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(2); }));
  EXPECT_EQ(cluster_.contents(kFile), "page");
}

TEST_F(LeaseSettlerTest, a_file_that_is_being_stored_is_not_dropped_again) {
  notify({taking(kFile)});
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  run_for_a_moment();
  notify({taking(kFile)});
  EXPECT_FALSE(drops_.back().change.contents) << "reads that wait have locked its pages";
  drop_all();
  run_for_a_moment();
  EXPECT_FALSE(are_acknowledged(1));
  cluster_.release_commits();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(2); }));
}

TEST_F(LeaseSettlerTest, reads_wait_from_the_dropping_to_the_end) {
  notify({taking(kFile)});
  const auto before = read(handle_);
  ASSERT_TRUE(run_until([&] { return before->code.has_value(); })) << "the kernel waits for it";
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  const auto behind = read(handle_);
  run_for_a_moment();
  EXPECT_EQ(behind->code, std::nullopt);
  cluster_.release_commits();
  ASSERT_TRUE(run_until([&] { return behind->code.has_value(); }));
  EXPECT_EQ(behind->code, ErrorCode::kOk);
  EXPECT_TRUE(are_acknowledged(1));
}

TEST_F(LeaseSettlerTest, a_read_that_waits_for_the_end_can_be_interrupted) {
  notify({taking(kFile)});
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  std::optional<ErrorCode> code;
  const OperationId id = client_.read(
      handle_, 0, 4, [&](const Result<std::vector<Buffer>>& result) { code = result.code(); });
  run_for_a_moment();
  client_.interrupt(id);
  ASSERT_TRUE(run_until([&] { return code.has_value(); }));
  EXPECT_EQ(code, ErrorCode::kInterrupted);
}

// Whoever goes on writing does not put off the end.
TEST_F(LeaseSettlerTest, pages_that_come_behind_the_dropping_are_written_under_a_new_lease) {
  notify({taking(kFile)});
  take_page();
  cluster_.is_holding_commits = true;
  drop_all();
  run_for_a_moment();
  const auto late = write_back("late");
  run_for_a_moment();
  EXPECT_EQ(late->code, std::nullopt);
  cluster_.is_silent_to_write_leases = true;
  cluster_.release_commits();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(1); }));
  EXPECT_EQ(cluster_.contents(kFile), "page");
  EXPECT_EQ(late->code, std::nullopt);
  cluster_.is_silent_to_write_leases = false;
  ASSERT_TRUE(run_until([&] { return late->code.has_value(); }));
  EXPECT_EQ(late->code, ErrorCode::kOk);
  const auto synced = sync();
  ASSERT_TRUE(run_until([&] { return synced->code.has_value(); }));
  EXPECT_EQ(synced->code, ErrorCode::kOk);
  EXPECT_EQ(cluster_.contents(kFile), "late");
}

// A lease is asked for again, which the master gives to nobody who has yet to drop the file.
TEST_F(LeaseSettlerTest, what_is_covered_by_no_lease_does_not_hold_up_the_end) {
  cluster_.is_silent_to_write_leases = true;
  cluster_.commit_error = ErrorCode::kLeaseLost;
  notify({taking(kFile)});
  take_page();
  drop_all();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(1); }));
  EXPECT_EQ(cluster_.write_leases.size(), 1u);
}

// Others may keep what was before until they, too, have dropped it.
TEST_F(LeaseSettlerTest, fsync_of_pages_that_came_without_a_write_lease_waits_for_one) {
  cluster_.is_silent_to_write_leases = true;
  notify({taking(kFile)});
  take_page();
  drop_all();
  const auto synced = sync();
  ASSERT_TRUE(run_until([&] { return are_acknowledged(1); }));
  run_for_a_moment();
  EXPECT_EQ(synced->code, std::nullopt);
  EXPECT_EQ(cluster_.contents(kFile), "page");
  cluster_.is_silent_to_write_leases = false;
  ASSERT_TRUE(run_until([&] { return synced->code.has_value(); }));
  EXPECT_EQ(synced->code, ErrorCode::kOk);
}

TEST_F(LeaseSettlerTest, files_of_one_notice_end_together) {
  notify({taking(kFile), taking(kOther)});
  ASSERT_EQ(drops_.size(), 3u) << "each by itself, and the attributes of both";
  const Drop other = drops_[1];
  EXPECT_EQ(other.change.inode, kOther);
  drops_[0].dropped();
  drops_[2].dropped();
  const auto of_dropped = read(handle_);
  const auto of_other = read(other_);
  ASSERT_TRUE(run_until([&] { return of_other->code.has_value(); }));
  run_for_a_moment();
  EXPECT_EQ(of_dropped->code, std::nullopt);
  EXPECT_FALSE(are_acknowledged(1));
  other.dropped();
  ASSERT_TRUE(run_until([&] { return of_dropped->code.has_value(); }));
  EXPECT_TRUE(are_acknowledged(1));
}

}  // namespace
}  // namespace dfs::client
