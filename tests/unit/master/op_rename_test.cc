#include "proto/limits.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

class OpRename : public MasterRig {
 protected:
  Result<RenameReply> rename(InodeId parent, const std::string& name, InodeId new_parent,
                             const std::string& new_name, RenameMode mode = RenameMode::kReplace) {
    return client->change(RenameRequest{.parent = parent,
                                        .name = name,
                                        .new_parent = new_parent,
                                        .new_name = new_name,
                                        .mode = static_cast<std::uint8_t>(mode)});
  }
  ErrorCode rename_in_root(const std::string& name, const std::string& new_name,
                           RenameMode mode = RenameMode::kReplace) {
    return rename(kRootInode, name, kRootInode, new_name, mode).code();
  }
  InodeId inode_of(const std::string& name, InodeId parent = kRootInode) {
    const auto reply = client->ask(LookupRequest{.parent = parent, .name = name});
    return reply ? reply->attributes.inode : InodeId{};
  }
  std::uint32_t links(InodeId inode) { return client->attributes(inode).link_count; }
};

TEST_F(OpRename, gives_a_file_another_name) {
  const InodeId file = client->make_file("a");
  run_for(std::chrono::seconds(1));
  const auto reply = rename(kRootInode, "a", kRootInode, "b");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->moved, file);
  EXPECT_FALSE(reply->replaced.is_set());
  EXPECT_EQ(inode_of("b"), file);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kNotFound);
  const Attributes after = client->attributes(file);
  EXPECT_GT(after.ctime, after.mtime);
  EXPECT_EQ(client->attributes(kRootInode).mtime, after.ctime);
  const std::vector<Attributes> changed = {after, client->attributes(kRootInode)};
  EXPECT_EQ(reply->changed, changed);
}

TEST_F(OpRename, can_leave_a_whiteout_behind) {
  const InodeId file = client->make_file("a");
  const InodeId directory = client->make_directory("d");
  RenameRequest request{.parent = kRootInode,
                        .name = "a",
                        .new_parent = directory,
                        .new_name = "b",
                        .mode = static_cast<std::uint8_t>(RenameMode::kNoReplace),
                        .leaves_whiteout = true,
                        .uid = 5,
                        .gid = 6};
  ASSERT_TRUE(client->change(request));
  EXPECT_EQ(inode_of("b", directory), file);
  const Attributes left = client->attributes(inode_of("a"));
  EXPECT_EQ(left.mode, kModeCharacterDevice);
  EXPECT_EQ(left.device, 0u);
  EXPECT_EQ(left.link_count, 1u);
  EXPECT_EQ(left.uid, 5u);
  EXPECT_EQ(left.gid, 6u);
  EXPECT_EQ(*store().counter(Counter::kInodes), 4u);
  ASSERT_TRUE(client->repeat(request));  // the same answer again, and no second one
  EXPECT_EQ(*store().counter(Counter::kInodes), 4u);
  request.mode = static_cast<std::uint8_t>(RenameMode::kExchange);
  request.name = "d";
  EXPECT_EQ(client->change(request).code(), ErrorCode::kInvalidArgument);
}

TEST_F(OpRename, replaces_a_file_and_leaves_it_without_a_name) {
  const InodeId moved = client->make_file("a");
  const InodeId replaced = client->make_file("b");
  ASSERT_TRUE(client->keep_alive({replaced}, {}));
  const auto reply = rename(kRootInode, "a", kRootInode, "b");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->replaced, replaced);
  EXPECT_EQ(reply->replaced_link_count, 0u);
  EXPECT_EQ(inode_of("b"), moved);
  EXPECT_EQ(links(replaced), 0u);
}

TEST_F(OpRename, moves_directories_with_their_link_counts_and_parent) {
  const InodeId from = client->make_directory("from");
  const InodeId to = client->make_directory("to");
  const InodeId moved = client->make_directory("d", from);
  ASSERT_TRUE(rename(from, "d", to, "e"));
  EXPECT_EQ(links(from), 2u);
  EXPECT_EQ(links(to), 3u);
  EXPECT_EQ(inode_of("..", moved), to);
  EXPECT_EQ(inode_of("e", to), moved);
}

TEST_F(OpRename, replaces_an_empty_directory_only) {
  const InodeId parent = client->make_directory("p");
  const InodeId moved = client->make_directory("d");
  const InodeId target = client->make_directory("t", parent);
  client->make_file("f", target);
  EXPECT_EQ(rename(kRootInode, "d", parent, "t").code(), ErrorCode::kNotEmpty);
  EXPECT_EQ(client->unlink("f", target), ErrorCode::kOk);
  ASSERT_TRUE(rename(kRootInode, "d", parent, "t"));
  EXPECT_EQ(inode_of("t", parent), moved);
  EXPECT_EQ(links(parent), 3u);
  EXPECT_EQ(links(kRootInode), 3u);
}

TEST_F(OpRename, within_one_directory_a_replaced_directory_takes_its_link_along) {
  client->make_directory("a");
  client->make_directory("b");
  EXPECT_EQ(links(kRootInode), 4u);
  EXPECT_EQ(rename_in_root("a", "b"), ErrorCode::kOk);
  EXPECT_EQ(links(kRootInode), 3u);
}

TEST_F(OpRename, files_and_directories_do_not_replace_each_other) {
  client->make_file("f");
  client->make_directory("d");
  EXPECT_EQ(rename_in_root("f", "d"), ErrorCode::kIsDirectory);
  EXPECT_EQ(rename_in_root("d", "f"), ErrorCode::kNotDirectory);
}

TEST_F(OpRename, two_names_of_one_inode_both_stay) {
  const InodeId file = client->make_file("a");
  ASSERT_TRUE(
      client->change(LinkRequest{.inode = file, .new_parent = kRootInode, .new_name = "b"}));
  EXPECT_EQ(rename_in_root("a", "b"), ErrorCode::kOk);
  EXPECT_EQ(inode_of("a"), file);
  EXPECT_EQ(inode_of("b"), file);
  EXPECT_EQ(links(file), 2u);
  EXPECT_EQ(rename_in_root("a", "a"), ErrorCode::kOk);
}

TEST_F(OpRename, a_directory_is_not_moved_into_itself) {
  const InodeId a = client->make_directory("a");
  const InodeId b = client->make_directory("b", a);
  const InodeId c = client->make_directory("c", b);
  EXPECT_EQ(rename(kRootInode, "a", a, "x").code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(rename(kRootInode, "a", c, "x").code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(rename(b, "c", kRootInode, "a").code(), ErrorCode::kNotEmpty);
  EXPECT_EQ(rename(b, "c", kRootInode, "a", RenameMode::kExchange).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(OpRename, noreplace_refuses_a_taken_name) {
  client->make_file("a");
  client->make_file("b");
  EXPECT_EQ(rename_in_root("a", "b", RenameMode::kNoReplace), ErrorCode::kExists);
  EXPECT_EQ(rename_in_root("a", "c", RenameMode::kNoReplace), ErrorCode::kOk);
}

TEST_F(OpRename, exchange_swaps_a_file_and_a_directory_of_two_directories) {
  const InodeId left = client->make_directory("left");
  const InodeId right = client->make_directory("right");
  const InodeId file = client->make_file("f", left);
  const InodeId directory = client->make_directory("d", right);
  const auto reply = rename(left, "f", right, "d", RenameMode::kExchange);
  ASSERT_TRUE(reply);
  EXPECT_EQ(inode_of("f", left), directory);
  EXPECT_EQ(inode_of("d", right), file);
  EXPECT_EQ(inode_of("..", directory), left);
  EXPECT_EQ(links(left), 3u);
  EXPECT_EQ(links(right), 2u);
  EXPECT_EQ(rename_in_root("left", "none", RenameMode::kExchange), ErrorCode::kNotFound);
}

TEST_F(OpRename, what_is_not_there_is_not_found) {
  client->make_file("a");
  EXPECT_EQ(rename_in_root("none", "b"), ErrorCode::kNotFound);
  EXPECT_EQ(rename(InodeId{999}, "a", kRootInode, "b").code(), ErrorCode::kStale);
  EXPECT_EQ(rename(kRootInode, "a", InodeId{999}, "b").code(), ErrorCode::kStale);
  EXPECT_EQ(rename_in_root("a", "b", static_cast<RenameMode>(kRenameModeMax + 1)),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(rename_in_root(".", "b"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(rename_in_root("a", ".."), ErrorCode::kInvalidArgument);
  EXPECT_EQ(rename_in_root("a", std::string(kNameBytesMax + 1, 'x')), ErrorCode::kNameTooLong);
}

TEST_F(OpRename, a_full_parent_takes_no_more_directories) {
  const InodeId full = client->make_directory("full");
  client->make_directory("d");
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    auto row = context.store.inode(full);
    (*row)->attributes.link_count = kLinkCountMax;
    return context.store.put_inode(**row);
  }));
  EXPECT_EQ(rename(kRootInode, "d", full, "d").code(), ErrorCode::kTooManyLinks);
}

}  // namespace
}  // namespace dfs::master
