#include "fuse-client/mount/mount_request.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace dfs::mount {
namespace {

bool has(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

TEST(SourceTest, host_alone_gets_the_default_port) {
  const auto source = parse_source("master");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->address(), "master:9420");
  EXPECT_EQ(source->subdirectory, "");
}

TEST(SourceTest, port_and_subdirectory_are_taken_apart) {
  const auto source = parse_source("10.0.0.1:9999/home//me/");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->address(), "10.0.0.1:9999");
  EXPECT_EQ(source->subdirectory, "home//me");
}

TEST(SourceTest, v6_addresses_stand_in_brackets) {
  const auto source = parse_source("[fe80::1]:7/x");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->host, "fe80::1");
  EXPECT_EQ(source->address(), "[fe80::1]:7");
}

TEST(SourceTest, host_with_colon_and_path_as_nfs_writes_it_works) {
  const auto source = parse_source("master:/data");
  ASSERT_TRUE(source);
  EXPECT_EQ(source->address(), "master:9420");
  EXPECT_EQ(source->subdirectory, "data");
}

TEST(SourceTest, what_is_no_source_is_refused_by_name) {
  for (const char* text :
       {"", ":9420", "/dir", "host:port", "host:0", "host:70000", "[::1", "[]:1", "[::1]x"}) {
    const auto source = parse_source(text);
    ASSERT_FALSE(source) << text;
    EXPECT_NE(source.error().detail.find(text), std::string::npos);
  }
}

TEST(MountRequestTest, f_is_foreground_for_people_and_fake_for_mount) {
  EXPECT_TRUE(parse_mount_request({"-f", "h", "/d"}, false, true)->foreground);
  EXPECT_TRUE(parse_mount_request({"h", "/d", "-sfnv"}, true, true)->fake);
  EXPECT_FALSE(parse_mount_request({"h", "/d", "-sfnv"}, true, true)->foreground);
}

TEST(MountRequestTest, root_implies_everybody_with_permissions_checked) {
  const auto root = parse_mount_request({"h", "/d"}, false, true);
  ASSERT_TRUE(root);
  EXPECT_TRUE(has(root->kernel_options, "allow_other"));
  EXPECT_TRUE(has(root->kernel_options, "default_permissions"));
  EXPECT_TRUE(has(root->kernel_options, "suid"));
  const auto user = parse_mount_request({"h", "/d"}, false, false);
  ASSERT_TRUE(user);
  EXPECT_FALSE(has(user->kernel_options, "allow_other"));
  EXPECT_TRUE(has(user->kernel_options, "default_permissions"));
  EXPECT_FALSE(has(user->kernel_options, "suid"));
}

TEST(MountRequestTest, fstab_options_of_mount_are_accepted) {
  const auto request = parse_mount_request(
      {"h", "/d", "-o", "rw,nosuid,_netdev,nofail,user=me,x-systemd.automount,noatime"}, true,
      true);
  ASSERT_TRUE(request) << request.error().detail;
  EXPECT_TRUE(request->no_atime);
  EXPECT_TRUE(has(request->kernel_options, "nosuid"));
  EXPECT_FALSE(has(request->kernel_options, "suid"));
}

TEST(MountRequestTest, what_the_kernel_shows_of_a_mount_is_accepted_for_its_remount) {
  const auto request = parse_mount_request(
      {"h", "/d", "-o", "remount,ro,user_id=0,group_id=0,default_permissions,allow_other"}, true,
      true);
  ASSERT_TRUE(request) << request.error().detail;
  EXPECT_TRUE(request->remount);
  EXPECT_TRUE(request->read_only);
}

TEST(MountRequestTest, own_options_given_for_a_remount_must_be_those_in_force) {
  const std::string in_force = describe_own_options(
      *parse_mount_request({"h", "/d", "-o", "mem_limit=64MiB,write_wait=1m"}, true, true));
  const auto check = [&](const std::string& options) {
    const auto again = parse_mount_request({"h", "/d", "-o", "remount," + options}, true, true);
    return check_own_options(*again, in_force);
  };
  for (const char* same :
       {"ro", "mem_limit=64M", "write_wait=60s,connect_wait=10s,log_level=info", "allow_other"}) {
    EXPECT_TRUE(check(same)) << same;
  }
  for (const char* other :
       {"mem_limit=65M", "write_wait=6000s", "log_level=error", "log_file=/x"}) {
    const auto refused = check(other);
    ASSERT_FALSE(refused) << other;
    const std::string name = std::string(other).substr(0, std::string(other).find('='));
    EXPECT_NE(refused.error().detail.find(name), std::string::npos) << refused.error().detail;
  }
}

TEST(MountRequestTest, a_subdirectory_is_named_without_steps_up) {
  for (const char* source : {"h/..", "h/../x", "h/a/../b", "[::1]:1/a/.."}) {
    const auto refused = parse_source(source);
    ASSERT_FALSE(refused) << source;
    EXPECT_NE(refused.error().detail.find("'..'"), std::string::npos) << refused.error().detail;
  }
  EXPECT_TRUE(parse_source("h/..a/b../..."));
}

TEST(MountRequestTest, unknown_options_are_named_unless_sloppy) {
  const auto refused = parse_mount_request({"h", "/d", "-o", "ro,frobnicate"}, true, true);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().detail.find("frobnicate"), std::string::npos);
  EXPECT_TRUE(parse_mount_request({"h", "/d", "-s", "-o", "ro,frobnicate"}, true, true));
}

TEST(MountRequestTest, sizes_and_times_have_units_and_bounds) {
  const auto request = parse_mount_request(
      {"h", "/d", "-omem_limit=1GiB,write_wait=500ms,umount_wait=2min"}, false, true);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->memory_bytes, 1u << 30);
  EXPECT_EQ(request->write_wait, std::chrono::milliseconds(500));
  EXPECT_EQ(request->umount_wait, std::chrono::minutes(2));
  for (const char* option : {"mem_limit=many", "mem_limit=1", "mem_limit=99999999999999999999G",
                             "mem_limit", "write_wait=5x", "write_wait=60", "umount_wait=",
                             "write_wait=1000000m", "log_level=loud", "log_file=relative"}) {
    const auto refused = parse_mount_request({"h", "/d", "-o", option}, false, true);
    ASSERT_FALSE(refused) << option;
    const std::string name = std::string(option).substr(0, std::string(option).find('='));
    EXPECT_NE(refused.error().detail.find("option " + name), std::string::npos)
        << refused.error().detail;
  }
}

TEST(MountRequestTest, two_words_are_needed) {
  EXPECT_FALSE(parse_mount_request({"h"}, false, true));
  EXPECT_FALSE(parse_mount_request({"h", "/d", "/e"}, false, true));
  EXPECT_FALSE(parse_mount_request({"h", "/d", "-o"}, false, true));
  EXPECT_TRUE(parse_mount_request({"--help"}, false, true)->help);
}

TEST(MountRequestTest, commas_in_the_source_are_quoted_for_libfuse) {
  const auto request = parse_mount_request({"h/a,b", "/d"}, false, true);
  ASSERT_TRUE(request);
  EXPECT_TRUE(has(request->kernel_options, "fsname=h/a\\,b"));
}

}  // namespace
}  // namespace dfs::mount
