#include "proto/limits.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using OpCreate = MasterRig;

CreateRequest file_named(const std::string& name) {
  return create_request(kRootInode, name, kModeRegular | 0640);
}

TEST_F(OpCreate, makes_a_file_with_one_link_and_the_masters_time) {
  CreateRequest request = file_named("a");
  request.uid = 5;
  request.gid = 6;
  const auto reply = client->change(request);
  ASSERT_TRUE(reply);
  const Attributes& made = reply->attributes;
  EXPECT_GT(made.inode, kRootInode);
  EXPECT_EQ(made.mode, kModeRegular | 0640);
  EXPECT_EQ(made.link_count, 1u);
  EXPECT_EQ(made.uid, 5u);
  EXPECT_EQ(made.gid, 6u);
  EXPECT_EQ(made.size_bytes, 0u);
  EXPECT_TRUE(reply->has_extents);
  EXPECT_EQ(made.atime, made.ctime);
  EXPECT_EQ(made.mtime, made.ctime);
  EXPECT_EQ(made.policy, (StoragePolicy{.replicas = 2, .min_replicas = 1}));
  EXPECT_EQ(client->attributes(made.inode), made);
  EXPECT_EQ(client->attributes(kRootInode).mtime, made.mtime);
  EXPECT_EQ(reply->parent, client->attributes(kRootInode));
}

TEST_F(OpCreate, a_directory_counts_as_a_link_of_its_parent) {
  const InodeId made = client->make_directory("d");
  EXPECT_EQ(client->attributes(made).link_count, 2u);
  EXPECT_EQ(client->attributes(kRootInode).link_count, 3u);
  const auto dotdot = client->ask(LookupRequest{.parent = made, .name = ".."});
  ASSERT_TRUE(dotdot);
  EXPECT_EQ(dotdot->attributes.inode, kRootInode);
}

TEST_F(OpCreate, makes_symlinks_and_special_files) {
  CreateRequest link = create_request(kRootInode, "l", kModeSymlink | 0777);
  link.symlink_target = "some/where";
  const auto symlink = client->change(link);
  ASSERT_TRUE(symlink);
  EXPECT_EQ(symlink->attributes.size_bytes, 10u);
  const auto target = client->ask(ReadLinkRequest{.inode = symlink->attributes.inode});
  ASSERT_TRUE(target);
  EXPECT_EQ(target->target, "some/where");

  CreateRequest device = create_request(kRootInode, "c", kModeCharacterDevice | 0600);
  device.device = 0x0103;
  const auto special = client->change(device);
  ASSERT_TRUE(special);
  EXPECT_EQ(special->attributes.device, 0x0103u);
  EXPECT_EQ(client->ask(ReadLinkRequest{.inode = special->attributes.inode}).code(),
            ErrorCode::kInvalidArgument);
  for (const std::uint32_t type : {kModeFifo, kModeSocket, kModeBlockDevice}) {
    EXPECT_TRUE(
        client->change(create_request(kRootInode, "t" + std::to_string(type), type | 0600)));
  }
}

TEST_F(OpCreate, a_set_gid_directory_gives_its_group_and_to_directories_the_bit) {
  const InodeId parent = client->make_directory("d");
  SetAttributesRequest set = set_request(parent);
  set.mode = 02775;
  set.gid = 77;
  ASSERT_TRUE(client->change(set));
  const Attributes file = client->attributes(client->make_file("f", parent));
  EXPECT_EQ(file.gid, 77u);
  EXPECT_EQ(file.mode & kModeSetGid, 0u);
  const Attributes directory = client->attributes(client->make_directory("s", parent));
  EXPECT_EQ(directory.gid, 77u);
  EXPECT_EQ(directory.mode & kModeSetGid, kModeSetGid);
}

TEST_F(OpCreate, a_name_that_is_taken_is_refused) {
  client->make_file("a");
  client->make_directory("d");
  EXPECT_EQ(client->change(file_named("a")).code(), ErrorCode::kExists);
  EXPECT_EQ(client->change(file_named("d")).code(), ErrorCode::kExists);
}

TEST_F(OpCreate, impossible_names_are_refused) {
  for (const std::string& name : {std::string(), std::string("."), std::string(".."),
                                  std::string("a/b"), std::string("a\0b", 3)}) {
    EXPECT_EQ(client->change(file_named(name)).code(), ErrorCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(client->change(file_named(std::string(kNameBytesMax, 'n'))));
  EXPECT_EQ(client->change(file_named(std::string(kNameBytesMax + 1, 'n'))).code(),
            ErrorCode::kNameTooLong);
  EXPECT_TRUE(client->change(file_named("\xff\xfe not utf-8 \x01")));
}

TEST_F(OpCreate, impossible_types_are_refused) {
  CreateRequest request = file_named("a");
  request.mode = 0644;
  EXPECT_EQ(client->change(request).code(), ErrorCode::kInvalidArgument);
  request.mode = kModeRegular | 0200000;
  EXPECT_EQ(client->change(request).code(), ErrorCode::kInvalidArgument);
  request.mode = kModeSymlink | 0777;
  EXPECT_EQ(client->change(request).code(), ErrorCode::kInvalidArgument);
  request.symlink_target = std::string(kSymlinkBytesMax, 'x');
  EXPECT_TRUE(client->change(request));
  request.symlink_target += 'x';
  EXPECT_EQ(client->change(request).code(), ErrorCode::kNameTooLong);
  request.mode = kModeRegular | 0644;
  request.symlink_target = "x";
  EXPECT_EQ(client->change(request).code(), ErrorCode::kInvalidArgument);
}

TEST_F(OpCreate, the_parent_must_be_a_directory_that_has_a_name) {
  CreateRequest request = file_named("x");
  request.parent = InodeId{999};
  EXPECT_EQ(client->change(request).code(), ErrorCode::kStale);
  request.parent = client->make_file("f");
  EXPECT_EQ(client->change(request).code(), ErrorCode::kNotDirectory);
  request.parent = client->make_directory("d");
  ASSERT_TRUE(client->keep_alive({request.parent}, {}));
  ASSERT_TRUE(client->change(RemoveDirectoryRequest{.parent = kRootInode, .name = "d"}));
  EXPECT_EQ(client->change(request).code(), ErrorCode::kNotFound);
}

TEST_F(OpCreate, a_directory_holds_a_bounded_number_of_directories) {
  const InodeId parent = client->make_directory("d");
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    auto row = context.store.inode(parent);
    (*row)->attributes.link_count = kLinkCountMax - 1;
    return context.store.put_inode(**row);
  }));
  client->make_directory("last", parent);
  EXPECT_EQ(client->change(create_request(parent, "one more", kModeDirectory | 0755)).code(),
            ErrorCode::kTooManyLinks);
  client->make_file("files are free", parent);
}

class OpCreateUnnamed : public MasterRig {
 protected:
  CreateRequest request(std::uint32_t mode = kModeRegular | 0640) {
    CreateRequest create = create_request(kRootInode, "", mode);
    create.is_unnamed = true;
    create.pin = true;
    return create;
  }
  ErrorCode link(InodeId inode, const std::string& name) {
    return client->change(LinkRequest{.inode = inode, .new_parent = kRootInode, .new_name = name})
        .code();
  }
  std::uint64_t orphans() { return *store().orphan_count(); }
};

TEST_F(OpCreateUnnamed, a_file_without_a_name_goes_with_its_pin) {
  const Attributes root = client->attributes(kRootInode);
  const auto made = client->change(request());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->attributes.link_count, 0u);
  EXPECT_EQ(made->attributes.mode, kModeRegular | 0640);
  EXPECT_EQ(made->parent, root);
  const InodeId inode = made->attributes.inode;
  EXPECT_EQ(orphans(), 1u);
  run_for(std::chrono::seconds(20));
  EXPECT_EQ(client->attributes(inode).link_count, 0u);
  ASSERT_TRUE(client->keep_alive({}, {inode}));
  run_for(std::chrono::seconds(20));
  EXPECT_EQ(client->ask(GetAttributesRequest{.inode = inode}).code(), ErrorCode::kStale);
  EXPECT_EQ(orphans(), 0u);
  EXPECT_EQ(*store().counter(Counter::kInodes), 1u);
}

TEST_F(OpCreateUnnamed, a_link_names_it_for_good) {
  const auto made = client->change(request());
  ASSERT_TRUE(made);
  const InodeId inode = made->attributes.inode;
  EXPECT_EQ(link(inode, "a"), ErrorCode::kOk);
  EXPECT_EQ(orphans(), 0u);
  EXPECT_EQ(client->attributes(inode).link_count, 1u);
  ASSERT_TRUE(client->keep_alive({}, {inode}));
  run_for(std::chrono::seconds(20));
  EXPECT_EQ(client->lookup("a"), ErrorCode::kOk);
  // From here on it is a file like any other: without its last name it gets no other.
  ASSERT_TRUE(client->keep_alive({inode}, {}));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  EXPECT_EQ(link(inode, "b"), ErrorCode::kNotFound);
  EXPECT_EQ(orphans(), 1u);
}

TEST_F(OpCreateUnnamed, survives_a_restart_of_the_master_and_can_still_be_named) {
  const auto made = client->change(request());
  ASSERT_TRUE(made);
  restart_after_kill();
  ASSERT_TRUE(client->keep_alive({made->attributes.inode}, {}, true));
  EXPECT_EQ(link(made->attributes.inode, "a"), ErrorCode::kOk);
}

TEST_F(OpCreateUnnamed, only_an_open_regular_file_can_be_without_a_name) {
  EXPECT_EQ(client->change(request(kModeDirectory | 0755)).code(), ErrorCode::kInvalidArgument);
  CreateRequest unpinned = request();
  unpinned.pin = false;
  EXPECT_EQ(client->change(unpinned).code(), ErrorCode::kInvalidArgument);
  CreateRequest misplaced = request();
  misplaced.parent = client->make_file("f");
  EXPECT_EQ(client->change(misplaced).code(), ErrorCode::kNotDirectory);
}

TEST_F(OpCreate, inode_numbers_are_never_given_twice) {
  const InodeId first = client->make_file("a");
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  restart_after_kill();
  EXPECT_GT(client->make_file("a"), first);
  const InodeId second = client->make_file("b");
  restart_after_power_loss();
  client->open(2);
  EXPECT_GT(client->make_file("c"), second);
}

}  // namespace
}  // namespace dfs::master
