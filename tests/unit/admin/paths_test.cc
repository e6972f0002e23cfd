#include <gtest/gtest.h>

#include "admin/commands.h"

namespace dfs::admin {
namespace {

const char kMounts[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "23 22 0:20 / /mnt/dfs rw,nosuid - fuse.dfs master:9420 rw,user_id=0\n"
    "24 22 0:21 / /mnt/sub rw shared:7 master:2 - fuse.dfs other/a/b rw\n"
    "25 23 0:22 / /mnt/dfs/nested rw - fuse.dfs [fd00::1]:99/deep rw\n"
    "26 22 0:23 / /with\\040space rw - fuse.dfs h:1/od\\134d rw\n"
    "27 22 0:24 / /home rw - fuse.sshfs somebody@host: rw\n"
    "28 22 0:20 /inner/folder /bind rw - fuse.dfs master:9420 rw\n"
    "29 23 8:1 /x /mnt/dfs/local rw - ext4 /dev/sda1 rw\n"
    "30 22 0:25 / /v6 rw - fuse.dfs [::1] rw\n"
    "31 22 0:26 / /colon rw - fuse.dfs host:/c rw\n";

struct Case {
  const char* path;
  const char* inside;
  const char* master;  // null: as it was
};

TEST(Paths, path_in_a_mount_is_one_of_its_filesystem) {
  const Case cases[] = {
      {"/mnt/dfs", "/", "master:9420"},
      {"/mnt/dfs/a/b c", "/a/b c", "master:9420"},
      {"/mnt/dfsx/a", "/mnt/dfsx/a", nullptr},
      {"/mnt/sub/x", "/a/b/x", "other"},
      {"/mnt/dfs/nested/x", "/deep/x", "[fd00::1]:99"},
      {"/mnt/dfs/nestedx", "/nestedx", "master:9420"},
      {"/mnt/dfs/local/x", "/mnt/dfs/local/x", nullptr},
      {"/with space/x", "/od\\d/x", "h:1"},
      {"/home/x", "/home/x", nullptr},
      {"/bind/x", "/inner/folder/x", "master:9420"},
      {"/v6/x", "/x", "[::1]"},
      {"/colon/x", "/c/x", "host"},
      {"/", "/", nullptr},
  };
  for (const Case& each : cases) {
    std::string master = "before:1";
    EXPECT_EQ(path_in_filesystem(each.path, kMounts, master), each.inside) << each.path;
    EXPECT_EQ(master, each.master != nullptr ? each.master : "before:1") << each.path;
  }
}

TEST(Paths, mount_on_top_counts) {
  const std::string twice =
      "23 22 0:20 / /m rw - fuse.dfs below:1 rw\n"
      "24 23 0:21 / /m rw - fuse.dfs above:2/s rw\n";
  std::string master;
  EXPECT_EQ(path_in_filesystem("/m/f", twice, master), "/s/f");
  EXPECT_EQ(master, "above:2");
}

TEST(Paths, odd_tables_do_no_harm) {
  for (const char* table : {"", "\n\n", "23 22\n", "23 22 0:20 / /m rw - fuse.dfs\n", "- - - -",
                            "23 22 0:20 / /m\\0 rw - fuse.dfs h:1 rw\n"}) {
    std::string master = "m:1";
    path_in_filesystem("/m/f", table, master);
    path_in_filesystem("", table, master);
  }
}

}  // namespace
}  // namespace dfs::admin
