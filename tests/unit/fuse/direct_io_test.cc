#include "fuse-client/fuse/direct_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

TEST(OpensDirectly, appends_and_contended_files) {
  EXPECT_FALSE(opens_directly(O_RDWR, false, true));
  EXPECT_FALSE(opens_directly(O_RDONLY | O_APPEND, false, true));
  EXPECT_TRUE(opens_directly(O_WRONLY | O_APPEND, false, true));
  EXPECT_TRUE(opens_directly(O_RDWR | O_APPEND, false, true));
  EXPECT_TRUE(opens_directly(O_RDONLY, true, true));
  EXPECT_TRUE(opens_directly(O_RDWR, true, true));
}

TEST(OpensDirectly, what_cannot_be_mapped_then_only_for_appending_alone) {
  EXPECT_TRUE(opens_directly(O_WRONLY | O_APPEND, false, false));
  EXPECT_FALSE(opens_directly(O_RDWR | O_APPEND, false, false));
  EXPECT_FALSE(opens_directly(O_RDWR, true, false));
}

class DirectIoTest : public FuseRig {
 protected:
  void SetUp() override {
    kernel_maps_direct = true;
    start();
  }
  // Another client changes it. Not waited for until the kernel has dropped it: that is done by
  // threads, in real time, while simulated time could run past what is tested.
  void change(std::uint64_t inode) {
    server->drop_cached({{.inode = server->from_kernel(inode),
                          .contents = true,
                          .settle = false,
                          .names = {},
                          .new_names = {}}},
                        [] {});
    run_for(std::chrono::milliseconds(20));
  }
  bool opens_directly(std::uint64_t inode, int flags) {
    const Opened file = open(inode, flags);
    release(file);
    return (file.reply.open_flags & FOPEN_DIRECT_IO) != 0;
  }
  void set_mode(std::uint64_t inode, std::uint32_t mode) {
    fuse_setattr_in in{};
    in.valid = FATTR_MODE;
    in.mode = mode;
    EXPECT_EQ(error_of(FUSE_SETATTR, inode, raw(in)), 0);
  }
  std::uint64_t make_file(const std::string& name) {
    const Opened file = create(kRoot, name);
    release(file);
    return file.inode;
  }
};

TEST_F(DirectIoTest, is_agreed_on_with_a_kernel_that_can_map_such_files) {
  EXPECT_TRUE(server->direct_io().allows_mmap());
  EXPECT_NE(negotiated.flags & FUSE_INIT_EXT, 0U);
  EXPECT_NE(negotiated.flags2 & kAllowMmapFlag2, 0U);
}

TEST_F(DirectIoTest, is_not_asked_of_an_older_kernel) {
  kernel_maps_direct = false;
  serve(kRootInode);
  EXPECT_FALSE(server->direct_io().allows_mmap());
  EXPECT_EQ(negotiated.flags2 & kAllowMmapFlag2, 0U);
  const std::uint64_t inode = make_file("f");
  change(inode);
  EXPECT_FALSE(opens_directly(inode, O_RDWR));
}

TEST_F(DirectIoTest, files_that_others_change_are_opened_so_for_a_while) {
  const std::uint64_t inode = make_file("f");
  EXPECT_FALSE(opens_directly(inode, O_RDWR));
  change(inode);
  EXPECT_TRUE(opens_directly(inode, O_RDWR));
  EXPECT_TRUE(opens_directly(inode, O_RDONLY));
  run_for(kContendedTime);
  EXPECT_FALSE(opens_directly(inode, O_RDWR));
}

TEST_F(DirectIoTest, files_that_others_ask_for_while_they_are_written_are_opened_so) {
  const std::uint64_t inode = make_file("f");
  server->note_asked_for(server->from_kernel(inode));
  EXPECT_TRUE(opens_directly(inode, O_RDWR));
}

TEST_F(DirectIoTest, new_files_are_opened_so_where_others_change_names) {
  const Opened first = create(kRoot, "first");
  EXPECT_EQ(first.reply.open_flags & FOPEN_DIRECT_IO, 0U);
  change(kRoot);
  const Opened second = create(kRoot, "second");
  EXPECT_NE(second.reply.open_flags & FOPEN_DIRECT_IO, 0U);
  release(first);
  release(second);
}

TEST_F(DirectIoTest, files_that_are_found_where_others_change_names_are_opened_so) {
  const std::uint64_t inode = make_file("f");
  change(kRoot);
  EXPECT_FALSE(opens_directly(inode, O_RDWR));
  lookup(kRoot, "f");
  EXPECT_TRUE(opens_directly(inode, O_RDWR));
}

TEST_F(DirectIoTest, the_server_takes_set_id_bits_away) {
  const std::uint64_t inode = make_file("f");
  set_mode(inode, S_IFREG | 06755);
  const Opened file = open(inode, O_WRONLY | O_APPEND);
  EXPECT_EQ(write(file, 0, "by one who may", O_APPEND), 0);
  EXPECT_EQ(attributes(inode).mode & 07777, 06755U);
  EXPECT_EQ(write(file, 0, "by another", O_APPEND, FUSE_WRITE_KILL_SUIDGID), 0);
  EXPECT_EQ(attributes(inode).mode & 07777, 0755U);
  release(file);
}

TEST_F(DirectIoTest, nothing_is_written_where_the_bits_cannot_be_taken_away) {
  const std::uint64_t inode = make_file("f");
  set_mode(inode, S_IFREG | 06755);
  const Opened file = open(inode, O_WRONLY | O_APPEND);
  EXPECT_EQ(write(file, 0, "first", O_APPEND), 0);  // with room for more
  const std::uint64_t room = master->disk().used_bytes();
  master->disk().set_capacity(room);
  EXPECT_EQ(write(file, 0, "by another", O_APPEND, FUSE_WRITE_KILL_SUIDGID), ENOSPC);
  EXPECT_EQ(attributes(inode).size, 5U);
  master->disk().set_capacity(std::uint64_t{1} << 40);
  EXPECT_EQ(attributes(inode).mode & 07777, 06755U);
  EXPECT_EQ(write(file, 0, "by another", O_APPEND, FUSE_WRITE_KILL_SUIDGID), 0);
  EXPECT_EQ(attributes(inode).mode & 07777, 0755U);
  EXPECT_EQ(attributes(inode).size, 15U);
  release(file);
}

TEST_F(DirectIoTest, the_server_takes_capabilities_away) {
  const std::uint64_t inode = make_file("f");
  const std::string name = "security.capability";
  ASSERT_EQ(set_xattr(inode, name, "value"), 0);
  const Opened cached = open(inode, O_RDWR);
  EXPECT_EQ(write(cached, 0, "the kernel does it"), 0);
  EXPECT_EQ(get_xattr(inode, name, 100).error, 0);
  release(cached);
  const Opened direct = open(inode, O_WRONLY | O_APPEND);
  EXPECT_EQ(write(direct, 0, "text", O_APPEND), 0);
  EXPECT_EQ(get_xattr(inode, name, 100).error, ENODATA);
  release(direct);
}

}  // namespace
}  // namespace dfs::fuse
