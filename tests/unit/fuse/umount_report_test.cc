#include "fuse-client/fuse/umount_report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

TEST(UmountReportCodec, a_report_is_read_as_it_was_written) {
  const UmountReport report{12, std::chrono::milliseconds(34), "5 bytes\nof files"};
  const auto decoded = decode_umount_report(encode(report));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->client_pid, 12);
  EXPECT_EQ(decoded->umount_wait, std::chrono::milliseconds(34));
  EXPECT_EQ(decoded->unwritten, report.unwritten);
}

TEST(UmountReportCodec, what_is_no_report_is_refused) {
  for (const char* text : {"", "1", "1 ", "1 2", "x 2\n", "1 x\n", "1\n2 ", "99999999999 1\n"}) {
    EXPECT_EQ(decode_umount_report(text).code(), ErrorCode::kBadMessage) << text;
  }
}

class FuseUmountReport : public FuseRig {
 protected:
  void SetUp() override { start(); }
};

TEST_F(FuseUmountReport, everything_is_written_before_the_answer) {
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(write(file, 0, "text"), 0);
  const UmountReport report = umount_report();
  EXPECT_EQ(report.client_pid, getpid());
  EXPECT_EQ(report.umount_wait, kUmountWait);
  EXPECT_EQ(report.unwritten, "");
  EXPECT_TRUE(client->unwritten().is_empty());
  release(file);
}

TEST_F(FuseUmountReport, what_is_not_written_in_time_is_named_and_written_later) {
  const Opened first = create(kRoot, "f");
  const Opened second = create(kRoot, "g");
  EXPECT_EQ(write(first, 0, "room"), 0);  // opens a chunk, which a paused master would not
  EXPECT_EQ(umount_report().unwritten, "");
  master->pause();
  EXPECT_EQ(write(first, 0, "text"), 0);
  EXPECT_EQ(write(second, 0, std::string(100, 'x')), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(umount_report().unwritten,
              "104 bytes of 2 files are not on the servers (inodes " + std::to_string(first.inode) +
                  ", " + std::to_string(second.inode) + "); the master does not answer");
    EXPECT_GE(umount_report_took, kUmountWait);
    EXPECT_LT(umount_report_took, kUmountWait + std::chrono::seconds(1));
  }
  master->resume();
  EXPECT_EQ(umount_report().unwritten, "");
  release(first);
  release(second);
}

TEST_F(FuseUmountReport, with_nothing_to_write_a_silent_master_is_not_waited_for_long) {
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(write(file, 0, "text"), 0);
  release(file);
  EXPECT_EQ(umount_report().unwritten, "");
  master->pause();
  EXPECT_EQ(umount_report().unwritten, "");
  EXPECT_LE(umount_report_took, client::kSettleSyncWait + std::chrono::seconds(1));
  const MonoTime asked_at = events.now();
  bool is_closed = false;
  client->close([&](const Status&) { is_closed = true; });
  EXPECT_TRUE(run_until([&] { return is_closed; }));
  EXPECT_LE(events.now() - asked_at, client::kCloseLimit);
  master->resume();
}

TEST_F(FuseUmountReport, the_mounted_directory_is_known_while_the_master_is_silent) {
  const fuse_attr before = attributes(kRoot);
  master->pause();
  run_for(std::chrono::seconds(2));
  for (const Duration limit : {Duration(kRootStatWait), Duration::zero()}) {
    const MonoTime asked_at = events.now();
    EXPECT_EQ(attributes(kRoot).mode, before.mode);
    EXPECT_LE(events.now() - asked_at, limit);
  }
  master->resume();
  run_for(std::chrono::seconds(2));
  make_directory(kRoot, "d");
  run_for(std::chrono::seconds(2));
  EXPECT_EQ(attributes(kRoot).nlink, before.nlink + 1);
}

}  // namespace
}  // namespace dfs::fuse
