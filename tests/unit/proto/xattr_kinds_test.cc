#include "proto/xattr_kinds.h"

#include <gtest/gtest.h>

#include <string>

namespace dfs {
namespace {

TEST(XattrKinds, names_belong_to_the_namespaces_of_local_filesystems) {
  EXPECT_EQ(xattr_kind("system.posix_acl_access"), kXattrAccessAcl);
  EXPECT_EQ(xattr_kind("system.posix_acl_default"), kXattrDefaultAcl);
  EXPECT_EQ(xattr_kind("security.capability"), kXattrCapability);
  for (const char* name : {"user.a", "user..", "trusted.overlay.opaque", "security.selinux",
                           "security.capability2", "user.\xff"}) {
    EXPECT_EQ(xattr_kind(name), kXattrOther) << name;
  }
  for (const char* name :
       {"", "user", "user.", "trusted.", "security.", "system.", "system.nfs4_acl",
        "system.posix_acl_access2", "User.a", "dfs.client_pid", "a"}) {
    EXPECT_EQ(xattr_kind(name), 0u) << name;
  }
}

}  // namespace
}  // namespace dfs
