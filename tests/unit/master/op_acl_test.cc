// ACLs as attributes, and what they and the mode do to each other.
#include <optional>

#include "proto/limits.h"
#include "proto/xattr_kinds.h"
#include "tests/unit/master/acl_text.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

const std::string kAccess(kAccessAclName);
const std::string kDefault(kDefaultAclName);
constexpr const char* kNamed = "u::rwx,u:7:rwx,g::r-x,m::rw-,o::--x";

class OpAcl : public MasterRig {
 protected:
  ErrorCode set(InodeId inode, const std::string& name, const std::string& value) {
    return client->change(SetXattrRequest{.inode = inode, .name = name, .value = value}).code();
  }
  ErrorCode set_acl(InodeId inode, const std::string& name, const std::string& text) {
    return set(inode, name, acl_bytes(text));
  }
  std::optional<std::string> get(InodeId inode, const std::string& name) {
    const auto reply = client->ask(GetXattrRequest{.inode = inode, .name = name});
    EXPECT_TRUE(reply || reply.code() == ErrorCode::kNoAttribute);
    return reply ? std::optional(reply->value) : std::nullopt;
  }
  Attributes make(const std::string& name, std::uint32_t mode, InodeId parent,
                  std::uint32_t umask = 0) {
    CreateRequest request = create_request(parent, name, mode);
    request.umask = umask;
    if ((mode & kModeTypeMask) == kModeSymlink) {
      request.symlink_target = "x";
    }
    const auto reply = client->change(request);
    EXPECT_TRUE(reply);
    return reply ? reply->attributes : Attributes{};
  }
  std::uint32_t mode(InodeId inode) { return client->attributes(inode).mode & kModePermissions; }
  std::uint32_t kinds(InodeId inode) { return client->attributes(inode).xattr_kinds; }
};

TEST_F(OpAcl, an_access_acl_sets_the_mode_and_is_kept) {
  const InodeId file = client->make_file("f");
  const Attributes before = client->attributes(file);
  run_for(std::chrono::seconds(1));
  EXPECT_EQ(set_acl(file, kAccess, kNamed), ErrorCode::kOk);
  EXPECT_EQ(get(file, kAccess), acl_bytes(kNamed));
  EXPECT_EQ(mode(file), 0761u);
  EXPECT_EQ(kinds(file), kXattrAccessAcl);
  EXPECT_GT(client->attributes(file).ctime, before.ctime);
  EXPECT_EQ(client->attributes(file).mtime, before.mtime);
  const auto names = client->ask(ListXattrsRequest{.inode = file});
  ASSERT_TRUE(names);
  EXPECT_EQ(names->names, std::vector<std::string>{kAccess});
}

TEST_F(OpAcl, one_that_the_mode_says_is_dropped) {
  const InodeId file = client->make_file("f");
  EXPECT_EQ(set_acl(file, kAccess, kNamed), ErrorCode::kOk);
  EXPECT_EQ(set_acl(file, kAccess, "u::rw-,g::-w-,o::r--"), ErrorCode::kOk);
  EXPECT_EQ(get(file, kAccess), std::nullopt);
  EXPECT_EQ(mode(file), 0624u);
  EXPECT_EQ(kinds(file), 0u);
}

TEST_F(OpAcl, removal_leaves_the_mode_and_is_no_error_without_one) {
  const InodeId directory = client->make_directory("d");
  EXPECT_EQ(set_acl(directory, kAccess, kNamed), ErrorCode::kOk);
  EXPECT_EQ(set_acl(directory, kDefault, kNamed), ErrorCode::kOk);
  EXPECT_EQ(kinds(directory), kXattrAccessAcl | kXattrDefaultAcl);
  for (int again = 0; again < 2; ++again) {
    for (const std::string& name : {kAccess, kDefault}) {
      EXPECT_TRUE(client->change(RemoveXattrRequest{.inode = directory, .name = name}));
      EXPECT_EQ(get(directory, name), std::nullopt);
    }
  }
  EXPECT_EQ(mode(directory), 0761u);
  EXPECT_EQ(kinds(directory), 0u);
  EXPECT_EQ(set_acl(directory, kDefault, kNamed), ErrorCode::kOk);
  EXPECT_EQ(set_acl(directory, kDefault, ""), ErrorCode::kOk);
  EXPECT_EQ(set_acl(directory, kDefault, ""), ErrorCode::kOk);
  EXPECT_EQ(get(directory, kDefault), std::nullopt);
}

TEST_F(OpAcl, a_default_acl_is_a_directorys_and_changes_no_mode) {
  const InodeId directory = client->make_directory("d");
  EXPECT_EQ(set_acl(directory, kDefault, "u::rwx,g::---,o::---"), ErrorCode::kOk);
  EXPECT_EQ(get(directory, kDefault), acl_bytes("u::rwx,g::---,o::---"));
  EXPECT_EQ(mode(directory), 0755u);
  const InodeId file = client->make_file("f");
  EXPECT_EQ(set_acl(file, kDefault, kNamed), ErrorCode::kAccessDenied);
  EXPECT_EQ(set_acl(file, kDefault, ""), ErrorCode::kOk);
  const InodeId link = make("l", kModeSymlink | 0777, kRootInode).inode;
  EXPECT_EQ(set_acl(link, kAccess, kNamed), ErrorCode::kNotSupported);
}

TEST_F(OpAcl, a_malformed_one_is_refused_and_changes_nothing) {
  const InodeId directory = client->make_directory("d");
  const Attributes before = client->attributes(directory);
  for (const std::string& name : {kAccess, kDefault}) {
    EXPECT_EQ(set(directory, name, "no ACL"), ErrorCode::kInvalidArgument);
    EXPECT_EQ(set_acl(directory, name, "u::rwx,u:7:rwx,g::r-x,o::--x"),
              ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(client->attributes(directory), before);
}

TEST_F(OpAcl, chmod_changes_the_mask) {
  const InodeId file = client->make_file("f");
  EXPECT_EQ(set_acl(file, kAccess, kNamed), ErrorCode::kOk);
  SetAttributesRequest chmod = set_request(file);
  chmod.mode = 02640;
  ASSERT_TRUE(client->change(chmod));
  EXPECT_EQ(get(file, kAccess), acl_bytes("u::rw-,u:7:rwx,g::r-x,m::r--,o::---"));
  EXPECT_EQ(mode(file), 02640u);
  SetAttributesRequest chown = set_request(file);
  chown.uid = 5;
  ASSERT_TRUE(client->change(chown));
  EXPECT_EQ(get(file, kAccess), acl_bytes("u::rw-,u:7:rwx,g::r-x,m::r--,o::---"));
}

TEST_F(OpAcl, set_gid_goes_when_the_caller_is_not_in_the_group) {
  const InodeId file = client->make_file("f");
  SetAttributesRequest chmod = set_request(file);
  chmod.mode = 02755;
  ASSERT_TRUE(client->change(chmod));
  EXPECT_EQ(set_acl(file, kAccess, kNamed), ErrorCode::kOk);
  EXPECT_EQ(mode(file), 02761u);
  ASSERT_TRUE(client->change(SetXattrRequest{
      .inode = file, .name = kAccess, .value = acl_bytes(kNamed), .clear_set_gid = true}));
  EXPECT_EQ(mode(file), 0761u);
}

TEST_F(OpAcl, the_umask_counts_without_a_default_acl) {
  EXPECT_EQ(make("f", kModeRegular | 06666, kRootInode, 027).mode, kModeRegular | 06640);
  EXPECT_EQ(make("d", kModeDirectory | 01777, kRootInode, 022).mode, kModeDirectory | 01755);
  EXPECT_EQ(make("p", kModeFifo | 0666, kRootInode, 0777).mode, kModeFifo | 0u);
  EXPECT_EQ(make("l", kModeSymlink | 0777, kRootInode, 077).mode, kModeSymlink | 0777);
}

TEST_F(OpAcl, what_is_made_in_a_directory_inherits_its_default_acl) {
  const InodeId parent = client->make_directory("parent");
  EXPECT_EQ(set_acl(parent, kDefault, kNamed), ErrorCode::kOk);

  const Attributes file = make("f", kModeRegular | 0644, parent, 077);
  EXPECT_EQ(file.mode, kModeRegular | 0640);
  EXPECT_EQ(file.xattr_kinds, kXattrAccessAcl);
  EXPECT_EQ(get(file.inode, kAccess), acl_bytes("u::rw-,u:7:rwx,g::r-x,m::r--,o::---"));

  const Attributes directory = make("d", kModeDirectory | 02777, parent, 077);
  EXPECT_EQ(directory.mode, kModeDirectory | 02761);
  EXPECT_EQ(directory.xattr_kinds, kXattrAccessAcl | kXattrDefaultAcl);
  EXPECT_EQ(get(directory.inode, kAccess), acl_bytes(kNamed));
  EXPECT_EQ(get(directory.inode, kDefault), acl_bytes(kNamed));

  const Attributes fifo = make("p", kModeFifo | 0666, parent, 077);
  EXPECT_EQ(fifo.mode, kModeFifo | 0660);
  EXPECT_EQ(fifo.xattr_kinds, kXattrAccessAcl);

  const Attributes link = make("l", kModeSymlink | 0777, parent, 077);
  EXPECT_EQ(link.mode, kModeSymlink | 0777);
  EXPECT_EQ(link.xattr_kinds, 0u);
  EXPECT_EQ(client->attributes(directory.inode), directory);
}

TEST_F(OpAcl, a_default_acl_that_a_mode_can_say_is_inherited_as_mode) {
  const InodeId parent = client->make_directory("parent");
  const std::string text = "u::rwx,g::r-x,o::---";
  EXPECT_EQ(set_acl(parent, kDefault, text), ErrorCode::kOk);
  const Attributes file = make("f", kModeRegular | 0666, parent, 022);
  EXPECT_EQ(file.mode, kModeRegular | 0640);
  EXPECT_EQ(file.xattr_kinds, 0u);
  const Attributes directory = make("d", kModeDirectory | 0777, parent, 022);
  EXPECT_EQ(directory.mode, kModeDirectory | 0750);
  EXPECT_EQ(directory.xattr_kinds, kXattrDefaultAcl);
  EXPECT_EQ(get(directory.inode, kDefault), acl_bytes(text));
}

TEST_F(OpAcl, rows_say_which_kinds_of_attributes_there_are) {
  const InodeId file = client->make_file("f");
  EXPECT_EQ(kinds(file), 0u);
  EXPECT_EQ(set(file, "user.a", ""), ErrorCode::kOk);
  EXPECT_EQ(set(file, "trusted.b", ""), ErrorCode::kOk);
  EXPECT_EQ(kinds(file), kXattrOther);
  EXPECT_EQ(set(file, "security.capability", "x"), ErrorCode::kOk);
  EXPECT_EQ(kinds(file), kXattrOther | kXattrCapability);
  const auto remove = [&](const std::string& name) {
    EXPECT_TRUE(client->change(RemoveXattrRequest{.inode = file, .name = name}));
    return kinds(file);
  };
  EXPECT_EQ(remove("user.a"), kXattrOther | kXattrCapability);
  EXPECT_EQ(remove("security.capability"), kXattrOther);
  EXPECT_EQ(remove("trusted.b"), 0u);
}

TEST_F(OpAcl, a_damaged_acl_stops_what_depends_on_it) {
  const InodeId directory = client->make_directory("d");
  EXPECT_EQ(set_acl(directory, kAccess, kNamed), ErrorCode::kOk);
  EXPECT_EQ(set_acl(directory, kDefault, kNamed), ErrorCode::kOk);
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    DFS_CHECK_OK(context.store.put_xattr(directory, kAccess, "damaged"));
    return context.store.put_xattr(directory, kDefault, "damaged");
  }));
  SetAttributesRequest chmod = set_request(directory);
  chmod.mode = 0700;
  EXPECT_EQ(client->change(chmod).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(client->change(create_request(directory, "f", kModeRegular)).code(),
            ErrorCode::kCorrupt);
  EXPECT_EQ(set_acl(directory, kAccess, kNamed), ErrorCode::kOk);
  EXPECT_TRUE(client->change(chmod));
}

}  // namespace
}  // namespace dfs::master
