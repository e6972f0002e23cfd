#include "fuse-client/fuse/cache_dropper.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/sim/sim_scheduler.h"
#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

class CacheDropperTest : public FuseRig {
 protected:
  void SetUp() override {
    start();
    run_for(std::chrono::seconds(1));  // the session is in order
  }
  // Another client changes its attributes. The names that expire, if they are so many at least.
  std::vector<std::string> change(std::uint64_t inode, std::size_t count) {
    run_for(kAnswerTime);  // all answers were looked at: nothing is dropped twice
    const std::size_t before = kernel->notifications().size();
    server->drop_cached(
        {{.inode = server->from_kernel(inode), .contents = false, .names = {}, .new_names = {}}},
        [] {});
    run_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(kernel->wait_for_notification(before + 1 + count));  // one drops the attributes
    return expired(before);
  }
  std::vector<std::string> expired(std::size_t first) {
    std::vector<std::string> names;
    const std::vector<Answer> all = kernel->notifications();
    for (std::size_t i = first; i < all.size(); ++i) {
      if (all[i].error == FUSE_NOTIFY_INVAL_ENTRY) {
        const auto out = all[i].at<fuse_notify_inval_entry_out>();
        EXPECT_EQ(out.flags, FUSE_EXPIRE_ONLY);
        EXPECT_EQ(out.parent, kRoot);
        names.push_back(all[i].bytes.substr(sizeof out, out.namelen));
      }
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  std::uint64_t make_file(const std::string& name) {
    const Opened file = create(kRoot, name);
    release(file);
    return file.inode;
  }
  void link(std::uint64_t inode, const std::string& name) {
    fuse_link_in in{};
    in.oldnodeid = inode;
    EXPECT_EQ(error_of(FUSE_LINK, kRoot, raw(in) + terminated(name)), 0);
  }
  void rename(const std::string& from, const std::string& to, std::uint32_t flags = 0) {
    fuse_rename2_in in{};
    in.newdir = kRoot;
    in.flags = flags;
    EXPECT_EQ(error_of(FUSE_RENAME2, kRoot, raw(in) + terminated(from) + terminated(to)), 0);
  }

  using Names = std::vector<std::string>;
};

TEST_F(CacheDropperTest, all_names_of_what_changes_expire) {
  const std::uint64_t file = make_file("a");
  make_file("other");
  link(file, "b");
  EXPECT_EQ(change(file, 2), (Names{"a", "b"}));
}

TEST_F(CacheDropperTest, names_that_the_kernel_has_moved_expire) {
  const std::uint64_t file = make_file("a");
  const std::uint64_t other = make_file("b");
  rename("a", "c");
  constexpr std::uint32_t kExchange = 2;
  rename("c", "b", kExchange);
  EXPECT_EQ(change(file, 1), Names{"b"});
  EXPECT_EQ(change(other, 1), Names{"c"});
}

TEST_F(CacheDropperTest, names_that_were_listed_expire) {
  const std::uint64_t file = make_file("a");
  forget(file, 1);
  list(kRoot, open_directory(kRoot), 0, 4096, true);
  EXPECT_EQ(change(file, 1), Names{"a"});
}

TEST_F(CacheDropperTest, what_others_change_by_turns_is_asked_for_each_time) {
  const std::uint64_t file = make_file("a");
  EXPECT_EQ(change(file, 1), Names{"a"});
  const fuse_entry_out entry = lookup(kRoot, "a");
  EXPECT_EQ(entry.entry_valid + entry.entry_valid_nsec, 0u);
  EXPECT_EQ(change(file, 0), Names{});
}

// Drops of an open file, where the test says when the kernel is done with each.
class FilePagesTest : public testing::Test {
 protected:
  FilePagesTest() {
    std::string name = "test";
    char* word = name.data();
    fuse_args arguments = FUSE_ARGS_INIT(1, &word);
    session_ = fuse_session_new(&arguments, &operations(), sizeof(fuse_lowlevel_ops), this);
    fuse_opt_free_args(&arguments);
    notifier_ = std::make_unique<KernelNotifier>(
        session_,
        [this](Task task) {
          const std::lock_guard lock(mutex_);
          done_.push_back(std::move(task));
          is_done_.notify_all();
        },
        KernelNotifier::Listener::kTest);
    dropper_ = std::make_unique<CacheDropper>(
        scheduler_, *notifier_,
        CacheDropper::Hooks{.to_kernel = [](InodeId inode) { return inode.value; },
                            .is_known = [](InodeId) { return true; },
                            .is_open = [](InodeId) { return true; },
                            .is_quiet = [](InodeId) { return true; },
                            .was_just_answered = [](InodeId) { return false; },
                            .names = [](InodeId) { return std::vector<KernelName>{}; }});
  }
  ~FilePagesTest() override {
    notifier_->stop();
    fuse_session_destroy(session_);
  }
  void drop() {
    dropper_->drop({{.inode = kFile, .contents = true, .names = {}, .new_names = {}}},
                   [this] { is_dropped_ = true; });
  }
  // The notification that was sent comes back.
  void kernel_is_done() {
    Task task;
    {
      std::unique_lock lock(mutex_);
      ASSERT_TRUE(
          is_done_.wait_for(lock, std::chrono::seconds(10), [&] { return !done_.empty(); }));
      task = std::move(done_.front());
      done_.pop_front();
    }
    task();
  }
  void run_for(Duration duration) {
    const MonoTime end = events_.now() + duration;
    scheduler_.run_at(end, [] {});
    while (events_.now() < end && events_.run_one()) {
    }
  }
  // A read that is begun, and what it is called for when it may go on.
  bool is_held(std::uint32_t& let_through) {
    return dropper_->holds_read(kFile, 0, 4096, [&let_through] { ++let_through; });
  }
  void write_back() {
    dropper_->write_back_begins(kFile);
    run_for(kDropWait / 2);
    dropper_->write_back_ends(kFile);
  }

  static constexpr InodeId kFile{7};
  sim::SimEvents events_;
  sim::SimScheduler scheduler_{events_};
  std::mutex mutex_;
  std::condition_variable is_done_;
  std::deque<Task> done_;
  fuse_session* session_ = nullptr;
  std::unique_ptr<KernelNotifier> notifier_;
  std::unique_ptr<CacheDropper> dropper_;
  bool is_dropped_ = false;
};

TEST_F(FilePagesTest, a_kernel_that_sends_nothing_is_waited_for_a_moment) {
  drop();
  run_for(kDropWait - std::chrono::milliseconds(1));
  EXPECT_FALSE(is_dropped_);
  run_for(std::chrono::milliseconds(2));
  EXPECT_TRUE(is_dropped_);
}

TEST_F(FilePagesTest, as_long_as_it_sends_pages_it_is_waited_for) {
  drop();
  for (int i = 0; i < 10; ++i) {
    write_back();
    run_for(kDropWait / 2);
    EXPECT_FALSE(is_dropped_) << i;
    if (i == 5) {
      dropper_->write_back_begins(kFile);  // one that waits to be taken
      run_for(2 * kDropWait);
      EXPECT_FALSE(is_dropped_);
      dropper_->write_back_ends(kFile);
      break;
    }
  }
  kernel_is_done();
  run_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(is_dropped_);
}

TEST_F(FilePagesTest, one_that_sends_pages_without_end_is_waited_for_long) {
  drop();
  const MonoTime begin = events_.now();
  while (!is_dropped_ && events_.now() < begin + 2 * kWriteBackWait) {
    write_back();
  }
  EXPECT_TRUE(is_dropped_);
  EXPECT_GE(events_.now() - begin, kWriteBackWait);
  EXPECT_LE(events_.now() - begin, kWriteBackWait + 2 * kDropWait);
}

// The kernel keeps the pages of a read locked, and may be waiting for these.
TEST_F(FilePagesTest, reads_are_held_back_for_a_moment_each) {
  drop();
  std::uint32_t first = 0;
  std::uint32_t second = 0;
  EXPECT_TRUE(is_held(first));
  run_for(kHoldReads + std::chrono::milliseconds(1));
  EXPECT_EQ(first, 1u);
  EXPECT_TRUE(is_held(second)) << "it came when those before it had been let through";
  EXPECT_EQ(second, 0u);
  run_for(kHoldReads);
  EXPECT_EQ(second, 1u);
  kernel_is_done();
  run_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(is_dropped_) << "neither has read, as far as is known";
}

TEST_F(FilePagesTest, what_was_read_meanwhile_is_dropped_again) {
  drop();
  std::uint32_t again = 0;
  dropper_->holds_read(kFile, 0, 4096, [&] {
    ++again;
    EXPECT_FALSE(is_held(again)) << "it was let through";
  });
  run_for(kHoldReads + std::chrono::milliseconds(1));
  ASSERT_EQ(again, 1u);
  std::uint32_t next = 0;
  EXPECT_TRUE(is_held(next));
  kernel_is_done();
  EXPECT_FALSE(is_dropped_);
  EXPECT_EQ(next, 1u) << "the pass that follows is not to wait for it";
  kernel_is_done();
  run_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(is_dropped_);
}

}  // namespace
}  // namespace dfs::fuse
