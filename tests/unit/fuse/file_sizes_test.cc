#include "fuse-client/fuse/file_sizes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sim/sim_scheduler.h"
#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr InodeId kFile{7}, kOther{8};

class FileSizesTest : public testing::Test {
 protected:
  struct Sent {
    InodeId file;
    std::uint64_t size_bytes = 0;
    std::shared_ptr<SizeNotification> notification;
    Task done;
  };

  // What runs adds to `ran`.
  Task step(const std::string& name) {
    return [this, name] { ran += name; };
  }
  // As the notifier's thread does it, and the loop then.
  void deliver(std::size_t index) {
    sent.at(index).notification->begin();
    sent.at(index).done();
  }
  void run_for(Duration duration) {
    const MonoTime end = events.now() + duration;
    scheduler.run_at(end, [] {});
    while (events.now() < end && events.run_one()) {
    }
  }

  sim::SimEvents events;
  sim::SimScheduler scheduler{events};
  std::vector<Sent> sent;
  std::string ran;
  FileSizes sizes{scheduler, [this](InodeId file, std::uint64_t size_bytes,
                                    std::shared_ptr<SizeNotification> notification, Task done) {
                    sent.push_back({file, size_bytes, std::move(notification), std::move(done)});
                  }};
};

TEST_F(FileSizesTest, nothing_is_told_of_what_nobody_else_changed) {
  sizes.tell(kFile, 10, true, step("told"));
  EXPECT_EQ(ran, "told");
  EXPECT_TRUE(sent.empty());
}

TEST_F(FileSizesTest, what_others_changed_is_told_once) {
  sizes.changes(kFile);
  sizes.tell(kFile, 10, true, step("1"));
  sizes.tell(kFile, 10, true, step("2"));
  EXPECT_EQ(ran, "");
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].size_bytes, 10u);
  EXPECT_TRUE(sizes.is_unknown(kFile));
  deliver(0);
  EXPECT_EQ(ran, "12");
  EXPECT_FALSE(sizes.is_unknown(kFile));
  sizes.tell(kFile, 10, true, step("3"));
  EXPECT_EQ(ran, "123");
  EXPECT_EQ(sent.size(), 1u);
}

TEST_F(FileSizesTest, what_others_change_again_is_told_again) {
  sizes.changes(kFile);
  sizes.tell(kFile, 10, true, [] {});
  sizes.changes(kFile);
  deliver(0);
  EXPECT_TRUE(sizes.is_unknown(kFile));
  sizes.tell(kFile, 20, true, step("told"));
  ASSERT_EQ(sent.size(), 2u);
  deliver(1);
  EXPECT_EQ(ran, "told");
  EXPECT_FALSE(sizes.is_unknown(kFile));
}

TEST_F(FileSizesTest, what_is_not_kept_is_told_each_time) {
  sizes.changes(kFile);
  sizes.tell(kFile, 10, false, step("1"));
  deliver(0);
  sizes.tell(kFile, 10, false, step("2"));
  ASSERT_EQ(sent.size(), 2u);
  deliver(1);
  EXPECT_EQ(ran, "12");
  EXPECT_TRUE(sizes.is_unknown(kFile));
}

TEST_F(FileSizesTest, one_that_is_blocked_in_the_kernel_is_not_waited_for) {
  sizes.changes(kFile);
  sizes.tell(kFile, 10, true, step("told"));
  ASSERT_TRUE(sent.at(0).notification->begin());
  run_for(kTellStep);
  EXPECT_EQ(ran, "told");
  sizes.when_told({kFile}, step(" acknowledged"));
  EXPECT_EQ(ran, "told");
  run_for(kTellStep);
  EXPECT_EQ(ran, "told acknowledged");
  sent[0].done();
  EXPECT_FALSE(sizes.is_unknown(kFile));
}

TEST_F(FileSizesTest, one_that_does_not_begin_is_given_up) {
  sizes.changes(kFile);
  sizes.tell(kFile, 10, true, step("told"));
  run_for(kTellWait - kTellStep);
  EXPECT_EQ(ran, "");
  run_for(2 * kTellStep);
  EXPECT_EQ(ran, "told");
  EXPECT_FALSE(sent.at(0).notification->begin());
  sent[0].done();
  EXPECT_TRUE(sizes.is_unknown(kFile));
  run_for(kTellWait);
  EXPECT_EQ(ran, "told");
}

TEST_F(FileSizesTest, a_change_is_acknowledged_when_no_size_is_on_its_way) {
  sizes.changes(kFile);
  sizes.changes(kOther);
  sizes.when_told({kFile, kOther}, step("at once "));
  sizes.tell(kFile, 10, true, [] {});
  sizes.tell(kOther, 20, true, [] {});
  sizes.when_told({kFile, kOther}, step("both "));
  sizes.when_told({kOther}, step("other "));
  EXPECT_EQ(ran, "at once ");
  deliver(0);
  EXPECT_EQ(ran, "at once ");
  deliver(1);
  EXPECT_EQ(ran, "at once both other ");
}

TEST_F(FileSizesTest, few_are_under_way_at_once) {
  for (std::size_t i = 0; i < 2 * FileSizes::kNotificationsMax; ++i) {
    sizes.changes(kFile);
    sizes.tell(kFile, 10, true, [] {});
  }
  EXPECT_EQ(sent.size(), FileSizes::kNotificationsMax);
}

TEST_F(FileSizesTest, what_was_asked_before_a_cut_is_known_to_be_old) {
  sizes.changes(kFile);
  const std::uint64_t asked = sizes.version(kFile);
  sizes.tell(kFile, 10, true, [] {});
  sizes.cuts(kFile);
  EXPECT_NE(sizes.version(kFile), asked);
  const std::uint64_t asked_meanwhile = sizes.version(kFile);
  sizes.when_cut(kFile, step("answered"));
  EXPECT_EQ(ran, "");
  deliver(0);
  EXPECT_EQ(ran, "answered");
  EXPECT_NE(sizes.version(kFile), asked_meanwhile);
  EXPECT_TRUE(sizes.is_unknown(kFile));
}

TEST_F(FileSizesTest, what_the_kernel_forgot_is_forgotten) {
  sizes.changes(kFile);
  sizes.forget(kFile);
  EXPECT_FALSE(sizes.is_unknown(kFile));
  sizes.changes(kOther);
  sizes.tell(kOther, 10, true, step("told"));
  sizes.forget(kOther);
  deliver(0);
  EXPECT_EQ(ran, "told");
  EXPECT_EQ(sizes.version(kOther), 0u);
}

class TellingKernelTest : public FuseRig {
 protected:
  void SetUp() override { start(); }
  void change(std::uint64_t inode) {
    server->drop_cached({{.inode = server->from_kernel(inode),
                          .contents = true,
                          .settle = false,
                          .names = {},
                          .new_names = {}}},
                        [] {});
  }
  // Sizes that the kernel was notified of, once there are so many.
  std::vector<std::uint64_t> told(std::size_t count) {
    std::vector<std::uint64_t> sizes;
    std::size_t seen = 0;
    while (sizes.size() < count && kernel->wait_for_notification(seen + 1)) {
      const std::vector<Answer> all = kernel->notifications();
      for (; seen < all.size(); ++seen) {
        if (all[seen].error == FUSE_NOTIFY_STORE) {
          const auto store = all[seen].at<fuse_notify_store_out>();
          EXPECT_EQ(all[seen].bytes.size(), sizeof store + store.size);
          sizes.push_back(store.offset + store.size);
        }
      }
    }
    return sizes;
  }
};

TEST_F(TellingKernelTest, who_asks_for_attributes_has_the_size_told_if_others_changed_it) {
  const Opened file = create(FUSE_ROOT_ID, "f");
  EXPECT_EQ(write(file, 0, "0123456789"), 0);
  EXPECT_EQ(attributes(file.inode).size, 10u);
  change(file.inode);
  EXPECT_EQ(attributes(file.inode).size, 10u);
  EXPECT_EQ(told(1), std::vector<std::uint64_t>{10});
  release(file);
}

TEST_F(TellingKernelTest, others_go_on_when_no_size_is_on_its_way) {
  const Opened file = create(FUSE_ROOT_ID, "f");
  EXPECT_EQ(write(file, 0, "0123456789"), 0);
  EXPECT_EQ(attributes(file.inode).size, 10u);
  const std::vector<InodeId> files{server->from_kernel(file.inode)};
  bool may_go_on = false;
  server->others_go_on(files, [&] { may_go_on = true; });
  EXPECT_TRUE(may_go_on);
  change(file.inode);
  const std::uint64_t version = server->sizes().version(files.front());
  std::size_t told_count = 0;
  server->sizes().tell(files.front(), 10, false, [&] { ++told_count; });
  may_go_on = false;
  server->others_go_on(files, [&] { may_go_on = true; });
  EXPECT_FALSE(may_go_on);
  EXPECT_TRUE(run_until([&] { return may_go_on && told_count > 0; }));
  EXPECT_EQ(told_count, 1u);
  EXPECT_NE(server->sizes().version(files.front()), version);
  release(file);
}

TEST_F(TellingKernelTest, a_read_has_the_size_told) {
  const Opened file = create(FUSE_ROOT_ID, "f");
  EXPECT_EQ(write(file, 0, "0123456789"), 0);
  change(file.inode);
  EXPECT_EQ(read(file, 0, 4096), "0123456789");
  EXPECT_EQ(told(1), std::vector<std::uint64_t>{10});
  release(file);
}

TEST_F(TellingKernelTest, a_file_that_others_changed_can_be_cut) {
  const Opened file = create(FUSE_ROOT_ID, "f");
  EXPECT_EQ(write(file, 0, "0123456789"), 0);
  change(file.inode);
  const std::uint64_t asked = kernel->send(FUSE_GETATTR, file.inode, raw(fuse_getattr_in{}));
  fuse_setattr_in in{};
  in.valid = FATTR_SIZE;
  in.size = 3;
  EXPECT_EQ(call(FUSE_SETATTR, file.inode, raw(in)).at<fuse_attr_out>().attr.size, 3u);
  EXPECT_TRUE(run_until([&] { return kernel->answer(asked).has_value(); }));
  EXPECT_EQ(attributes(file.inode).size, 3u);
  release(file);
}

}  // namespace
}  // namespace dfs::fuse
