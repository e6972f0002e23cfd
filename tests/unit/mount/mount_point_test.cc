#include "fuse-client/mount/mount_point.h"

#include <gtest/gtest.h>

#include <sstream>

namespace dfs::mount {
namespace {

TEST(MountTable, mounts_at_one_place_are_told_apart) {
  std::istringstream table(
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "40 22 0:50 / /mnt/a\\040b rw,noatime shared:2 master:3 - fuse.dfs host rw,user_id=0\n"
      "41 40 0:51 / /mnt/a\\040b rw,relatime - fuse.dfs host rw,user_id=0\n"
      "42 22 0:52 / /mnt/a rw,noatime - tmpfs none rw,noatimely\n");
  const auto mounts = mounts_at("/mnt/a b", table);
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].device, "0:50");
  EXPECT_EQ(mounts[0].type, "fuse.dfs");
  EXPECT_TRUE(mounts[0].no_atime);
  EXPECT_EQ(mounts[1].device, "0:51");
  EXPECT_FALSE(mounts[1].no_atime);
}

}  // namespace
}  // namespace dfs::mount
