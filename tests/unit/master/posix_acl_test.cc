#include "master/core/posix_acl.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/master/acl_text.h"

namespace dfs::master {
namespace {

PosixAcl acl_of(const std::string& text) {
  const auto acl = PosixAcl::decode(acl_bytes(text));
  EXPECT_TRUE(acl) << text;
  return acl ? *acl : PosixAcl{};
}
ErrorCode decode_code(const std::string& value) { return PosixAcl::decode(value).code(); }

constexpr const char* kNamed = "u::rwx,u:7:rwx,g::r-x,g:8:-w-,m::rw-,o::--x";

TEST(PosixAcl, bytes_are_the_kernels_and_come_back_as_they_were) {
  const std::string value(
      "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff", 28);
  EXPECT_EQ(acl_bytes("u::rwx,g::r-x,o::---"), value);
  const auto acl = PosixAcl::decode(value);
  ASSERT_TRUE(acl);
  EXPECT_EQ(acl->encode(), value);
  EXPECT_EQ(acl->permissions(), 0750u);
  EXPECT_EQ(acl_of(kNamed).encode(), acl_bytes(kNamed));
  EXPECT_EQ(acl_of(kNamed).entries().at(1),
            (AclEntry{.tag = AclTag::kUser, .permissions = 7, .id = 7}));
}

TEST(PosixAcl, ids_of_entries_that_name_nobody_do_not_count) {
  std::string value = acl_bytes("u::rwx,g::r-x,o::---");
  value[8] = 3;
  ASSERT_TRUE(PosixAcl::decode(value));
  EXPECT_EQ(PosixAcl::decode(value)->encode(), acl_bytes("u::rwx,g::r-x,o::---"));
}

TEST(PosixAcl, no_entries_are_an_empty_list) {
  for (const std::string& value : {std::string(), std::string("\2\0\0\0", 4)}) {
    const auto acl = PosixAcl::decode(value);
    ASSERT_TRUE(acl);
    EXPECT_TRUE(acl->is_empty());
  }
}

TEST(PosixAcl, what_cannot_be_a_list_is_refused) {
  for (const char* text : {
           "u::rwx,g::r-x",                              // no others
           "g::r-x,o::r--",                              // no owner
           "u::rwx,o::r--",                              // no owning group
           "u::rwx,u:7:r--,g::r-x,o::r--",               // somebody named without a mask
           "u::rwx,g::r-x,g:7:r--,o::r--",               //
           "u::rwx,g::r-x,u:7:r--,m::r--,o::r--",        // out of order
           "u::rwx,u::rwx,g::r-x,o::r--",                // twice
           "u::rwx,g::r-x,m::r--,m::r--,o::r--",         //
           "u::rwx,g::r-x,o::r--,m::r--",                //
           "u::rwx,u:4294967295:r--,g::r-x,m::r--,o::r"  // nobody's number
       }) {
    EXPECT_EQ(decode_code(acl_bytes(text)), ErrorCode::kInvalidArgument) << text;
  }
  const std::string good = acl_bytes("u::rwx,g::r-x,o::r--");
  for (std::size_t size = 1; size < good.size(); ++size) {
    EXPECT_EQ(decode_code(good.substr(0, size)),
              size == 4 ? ErrorCode::kOk : ErrorCode::kInvalidArgument)
        << size;
  }
  for (const std::size_t at : {0, 4, 5, 6, 7}) {
    std::string bad = good;
    bad[at] = '\x40';  // version, tag, permissions
    EXPECT_EQ(decode_code(bad), ErrorCode::kInvalidArgument) << at;
  }
}

TEST(PosixAcl, the_mask_stands_for_the_group_in_the_mode) {
  EXPECT_EQ(acl_of("u::rw-,g::r--,o::---").permissions(), 0640u);
  EXPECT_EQ(acl_of(kNamed).permissions(), 0761u);
  EXPECT_TRUE(acl_of("u::rw-,g::r--,o::---").is_only_mode());
  EXPECT_FALSE(acl_of(kNamed).is_only_mode());
  EXPECT_FALSE(acl_of("u::rw-,g::r--,m::r--,o::---").is_only_mode());
}

TEST(PosixAcl, a_new_mode_changes_the_mask_and_spares_the_group) {
  PosixAcl acl = acl_of(kNamed);
  acl.set_permissions(0100504);
  EXPECT_EQ(acl.encode(), acl_bytes("u::r-x,u:7:rwx,g::r-x,g:8:-w-,m::---,o::r--"));
  acl = acl_of("u::rwx,g::r-x,o::---");
  acl.set_permissions(0624);
  EXPECT_EQ(acl.encode(), acl_bytes("u::rw-,g::-w-,o::r--"));
}

TEST(PosixAcl, a_new_inode_has_what_list_and_mode_both_allow) {
  PosixAcl acl = acl_of(kNamed);
  acl.restrict_to(0100644);
  EXPECT_EQ(acl.encode(), acl_bytes("u::rw-,u:7:rwx,g::r-x,g:8:-w-,m::r--,o::---"));
  EXPECT_EQ(acl.permissions(), 0640u);
  acl = acl_of("u::rwx,g::r-x,o::r--");
  acl.restrict_to(0767);
  EXPECT_EQ(acl.permissions(), 0744u);
}

}  // namespace
}  // namespace dfs::master
