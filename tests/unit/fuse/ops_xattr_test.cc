// Extended attributes, ACLs among them, and the umask.
#include <sys/xattr.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

class FuseXattr : public FuseRig {
 protected:
  void SetUp() override {
    start();
    node_ = make_directory(kRoot, "d");
  }
  std::uint64_t node_ = 0;
};

TEST_F(FuseXattr, size_is_asked_first) {
  EXPECT_EQ(set_xattr(node_, "user.a", "value"), 0);
  EXPECT_EQ(get_xattr(node_, "user.a", 0).at<fuse_getxattr_out>().size, 5u);
  EXPECT_EQ(get_xattr(node_, "user.a", 5).bytes, "value");
  EXPECT_EQ(get_xattr(node_, "user.a", 4).error, ERANGE);
  EXPECT_EQ(get_xattr(node_, "user.b", 0).error, ENODATA);
  fuse_getxattr_in in{};
  EXPECT_EQ(call(FUSE_LISTXATTR, node_, raw(in)).at<fuse_getxattr_out>().size, 7u);
  in.size = 6;
  EXPECT_EQ(error_of(FUSE_LISTXATTR, node_, raw(in)), ERANGE);
  in.size = 100;
  EXPECT_EQ(call(FUSE_LISTXATTR, node_, raw(in)).bytes, terminated("user.a"));
}

TEST_F(FuseXattr, set_flags_are_heeded) {
  EXPECT_EQ(set_xattr(node_, "user.a", "1", XATTR_REPLACE), ENODATA);
  EXPECT_EQ(set_xattr(node_, "user.a", "1", XATTR_CREATE), 0);
  EXPECT_EQ(set_xattr(node_, "user.a", "2", XATTR_CREATE), EEXIST);
  EXPECT_EQ(set_xattr(node_, "user.a", "", XATTR_REPLACE), 0);
  EXPECT_EQ(get_xattr(node_, "user.a", 0).at<fuse_getxattr_out>().size, 0u);
  EXPECT_EQ(error_of(FUSE_REMOVEXATTR, node_, terminated("user.a")), 0);
  EXPECT_EQ(error_of(FUSE_REMOVEXATTR, node_, terminated("user.a")), ENODATA);
}

TEST_F(FuseXattr, what_is_known_absent_costs_no_round_trip) {
  const std::vector<std::string> names = {"security.capability", "system.posix_acl_access",
                                          "system.posix_acl_default", "user.a"};
  run_for(std::chrono::seconds(1));
  attributes(node_);  // under a lease, now that the session is in order
  run_for(std::chrono::seconds(3));
  fuse_getxattr_in in{};
  master->pause();
  for (const std::string& name : names) {
    EXPECT_EQ(get_xattr(node_, name, 0).error, ENODATA) << name;
  }
  in.size = 100;
  EXPECT_EQ(call(FUSE_LISTXATTR, node_, raw(in)).bytes, "");
  master->resume();
  for (const std::string& name : {names[0], names[3]}) {
    EXPECT_EQ(set_xattr(node_, name, "there"), 0);
    EXPECT_EQ(get_xattr(node_, name, 100).bytes, "there");
  }
}

TEST_F(FuseXattr, a_kind_that_is_there_is_asked_for) {
  EXPECT_EQ(set_xattr(node_, "user.a", "there"), 0);
  attributes(node_);
  EXPECT_EQ(get_xattr(node_, "user.b", 100).error, ENODATA);
  EXPECT_EQ(get_xattr(node_, "user.a", 100).bytes, "there");
  master->pause();
  attributes(node_);
  EXPECT_EQ(get_xattr(node_, "security.capability", 0).error, ENODATA);
  master->resume();
  EXPECT_EQ(error_of(FUSE_REMOVEXATTR, node_, terminated("user.a")), 0);
  EXPECT_EQ(get_xattr(node_, "user.a", 100).error, ENODATA);
}

TEST_F(FuseXattr, namespaces_are_those_of_local_filesystems) {
  for (const char* name : {"system.nfs4_acl", "other.a", "plain"}) {
    EXPECT_EQ(set_xattr(node_, name, "x"), EOPNOTSUPP) << name;
    EXPECT_EQ(get_xattr(node_, name, 0).error, EOPNOTSUPP) << name;
    EXPECT_EQ(error_of(FUSE_REMOVEXATTR, node_, terminated(name)), EOPNOTSUPP) << name;
  }
  for (const char* name : {"user.", "trusted.", "security."}) {
    EXPECT_EQ(set_xattr(node_, name, "x"), EINVAL) << name;
  }
}

TEST_F(FuseXattr, names_of_trusted_ones_are_for_root_only) {
  EXPECT_EQ(set_xattr(node_, "trusted.t", "x"), 0);
  EXPECT_EQ(set_xattr(node_, "user.u", "x"), 0);
  fuse_getxattr_in in{};
  in.size = 100;
  EXPECT_EQ(call(FUSE_LISTXATTR, node_, raw(in)).bytes, terminated("user.u"));
  kernel->uid = 0;
  kernel->pid = 0;  // not to be seen from here
  EXPECT_EQ(call(FUSE_LISTXATTR, node_, raw(in)).bytes,
            terminated("trusted.t") + terminated("user.u"));
}

TEST_F(FuseXattr, an_access_acl_takes_set_gid_from_a_foreign_group) {
  // u::rwx, g::r-x, o::r-x
  const std::string acl(
      "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff"
      "\x20\0\5\0\xff\xff\xff\xff",
      28);
  const auto mode_after = [&](std::uint32_t uid, std::uint32_t gid) {
    fuse_setattr_in in{};
    in.valid = FATTR_MODE;
    in.mode = 02700;
    EXPECT_EQ(error_of(FUSE_SETATTR, node_, raw(in)), 0);
    kernel->uid = uid;
    kernel->gid = gid;
    kernel->pid = 0;
    EXPECT_EQ(set_xattr(node_, "system.posix_acl_access", acl), 0);
    return attributes(node_).mode & 07777;
  };
  const std::uint32_t group = attributes(node_).gid;
  EXPECT_EQ(mode_after(1000, group), 02755u);
  EXPECT_EQ(mode_after(1000, group + 1), 0755u);
  EXPECT_EQ(mode_after(0, group + 1), 02755u);
}

TEST_F(FuseXattr, the_umask_is_left_to_us) {
  EXPECT_NE(negotiated.flags & FUSE_POSIX_ACL, 0u);
  EXPECT_NE(negotiated.flags & FUSE_DONT_MASK, 0u);
  fuse_mkdir_in directory{};
  directory.mode = 0777;
  directory.umask = 027;
  Answer answer = call(FUSE_MKDIR, kRoot, raw(directory) + terminated("masked"));
  EXPECT_EQ(answer.at<fuse_entry_out>().attr.mode & 07777, 0750u);
  fuse_mknod_in node{};
  node.mode = S_IFIFO | 0666;
  node.umask = 0222;
  answer = call(FUSE_MKNOD, kRoot, raw(node) + terminated("fifo"));
  EXPECT_EQ(answer.at<fuse_entry_out>().attr.mode & 07777, 0444u);
  fuse_create_in file{};
  file.flags = O_RDWR | O_CREAT;
  file.mode = S_IFREG | 0666;
  file.umask = 022;
  answer = call(FUSE_CREATE, kRoot, raw(file) + terminated("file"));
  EXPECT_EQ(answer.at<fuse_entry_out>().attr.mode & 07777, 0644u);
}

TEST_F(FuseXattr, process_of_the_mount_is_told) {
  EXPECT_EQ(get_xattr(kRoot, "dfs.client_pid", 32).bytes, std::to_string(getpid()));
}

TEST_F(FuseXattr, what_waits_is_told_without_the_master) {
  EXPECT_EQ(get_xattr(kRoot, "dfs.waiting", 4096).bytes, "nothing waits\n");
  EXPECT_EQ(get_xattr(kRoot, "dfs.waiting", 4).error, ERANGE);
  EXPECT_GT(get_xattr(kRoot, "dfs.waiting", 0).at<fuse_getxattr_out>().size, 4096u);
  master->pause();
  run_for(std::chrono::seconds(4));
  EXPECT_TRUE(get_xattr(kRoot, "dfs.waiting", 4096).bytes.ends_with("nothing waits\n"));
}

}  // namespace
}  // namespace dfs::fuse
