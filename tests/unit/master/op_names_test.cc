// Lookup, link, unlink, rmdir, readlink and the listing of directories.
#include <algorithm>
#include <set>

#include "master/core/name_hash.h"
#include "proto/limits.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

class OpNames : public MasterRig {
 protected:
  Result<UnlinkReply> remove_directory(const std::string& name, InodeId parent = kRootInode) {
    return client->change(RemoveDirectoryRequest{.parent = parent, .name = name});
  }
  Result<EntryReply> link(InodeId inode, const std::string& name, InodeId parent = kRootInode) {
    return client->change(LinkRequest{.inode = inode, .new_parent = parent, .new_name = name});
  }
  Result<ReadDirectoryReply> list(InodeId inode, std::uint64_t cookie, std::uint32_t max = 0) {
    return client->ask(ReadDirectoryRequest{.inode = inode, .cookie = cookie, .entries_max = max});
  }
};

using OpLookup = OpNames;
using OpLink = OpNames;
using OpUnlink = OpNames;
using OpRemoveDirectory = OpNames;
using OpReadDirectory = OpNames;

TEST_F(OpLookup, finds_names_and_dots) {
  const InodeId directory = client->make_directory("d");
  const InodeId file = client->make_file("f", directory);
  const auto found = client->ask(LookupRequest{.parent = directory, .name = "f"});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->attributes.inode, file);
  const auto dot = client->ask(LookupRequest{.parent = directory, .name = "."});
  ASSERT_TRUE(dot);
  EXPECT_EQ(dot->attributes.inode, directory);
  const auto above_root = client->ask(LookupRequest{.parent = kRootInode, .name = ".."});
  ASSERT_TRUE(above_root);
  EXPECT_EQ(above_root->attributes.inode, kRootInode);
}

TEST_F(OpLookup, says_why_it_finds_nothing) {
  const InodeId file = client->make_file("f");
  EXPECT_EQ(client->lookup("none"), ErrorCode::kNotFound);
  EXPECT_EQ(client->lookup(""), ErrorCode::kNotFound);
  EXPECT_EQ(client->lookup("x", file), ErrorCode::kNotDirectory);
  EXPECT_EQ(client->lookup("x", InodeId{999}), ErrorCode::kStale);
  EXPECT_EQ(client->lookup("x", InodeId{UINT64_MAX}), ErrorCode::kStale);
  EXPECT_EQ(client->lookup(std::string(kNameBytesMax + 1, 'n')), ErrorCode::kNameTooLong);
}

TEST_F(OpLookup, works_without_a_session) {
  client->make_file("f");
  client->session = {};
  EXPECT_EQ(client->lookup("f"), ErrorCode::kOk);
}

TEST_F(OpLink, gives_a_file_a_second_name) {
  const InodeId file = client->make_file("a");
  const InodeId directory = client->make_directory("d");
  const auto linked = link(file, "b", directory);
  ASSERT_TRUE(linked);
  EXPECT_EQ(linked->attributes.link_count, 2u);
  const auto removed = client->change(UnlinkRequest{.parent = kRootInode, .name = "a"});
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->inode, file);
  EXPECT_EQ(removed->link_count, 1u);
  EXPECT_EQ(client->lookup("b", directory), ErrorCode::kOk);
}

TEST_F(OpLink, is_refused_where_posix_says_so) {
  const InodeId file = client->make_file("a");
  const InodeId directory = client->make_directory("d");
  EXPECT_EQ(link(directory, "x").code(), ErrorCode::kNotPermitted);
  EXPECT_EQ(link(file, "d").code(), ErrorCode::kExists);
  EXPECT_EQ(link(InodeId{999}, "x").code(), ErrorCode::kStale);
  EXPECT_EQ(link(file, "x", InodeId{999}).code(), ErrorCode::kStale);
  EXPECT_EQ(link(file, "x", file).code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(link(file, "..").code(), ErrorCode::kInvalidArgument);
  ASSERT_TRUE(client->keep_alive({file}, {}));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  EXPECT_EQ(link(file, "x").code(), ErrorCode::kNotFound);
}

TEST_F(OpLink, an_inode_has_a_bounded_number_of_names) {
  const InodeId file = client->make_file("a");
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    auto row = context.store.inode(file);
    (*row)->attributes.link_count = kLinkCountMax - 1;
    return context.store.put_inode(**row);
  }));
  EXPECT_TRUE(link(file, "b"));
  EXPECT_EQ(link(file, "c").code(), ErrorCode::kTooManyLinks);
}

TEST_F(OpUnlink, removes_a_name_and_touches_the_directory) {
  client->make_file("a");
  const Attributes before = client->attributes(kRootInode);
  run_for(std::chrono::seconds(1));
  const auto reply = client->change(UnlinkRequest{.parent = kRootInode, .name = "a"});
  ASSERT_TRUE(reply);
  EXPECT_EQ(client->lookup("a"), ErrorCode::kNotFound);
  const Attributes after = client->attributes(kRootInode);
  EXPECT_EQ(reply->parent, after);
  EXPECT_GT(after.mtime, before.mtime);
  EXPECT_GT(after.data_version, before.data_version);
  EXPECT_EQ(client->unlink("a"), ErrorCode::kNotFound);
}

TEST_F(OpUnlink, leaves_directories_alone) {
  client->make_directory("d");
  EXPECT_EQ(client->unlink("d"), ErrorCode::kIsDirectory);
  EXPECT_EQ(client->unlink("x", InodeId{999}), ErrorCode::kStale);
  EXPECT_EQ(client->unlink("."), ErrorCode::kInvalidArgument);
}

TEST_F(OpRemoveDirectory, removes_an_empty_directory_only) {
  const InodeId directory = client->make_directory("d");
  client->make_file("f", directory);
  EXPECT_EQ(remove_directory("d").code(), ErrorCode::kNotEmpty);
  EXPECT_EQ(remove_directory("f", directory).code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(client->unlink("f", directory), ErrorCode::kOk);
  const auto removed = remove_directory("d");
  ASSERT_TRUE(removed);
  EXPECT_EQ(client->attributes(kRootInode).link_count, 2u);
  EXPECT_EQ(removed->parent, client->attributes(kRootInode));
  EXPECT_EQ(remove_directory("d").code(), ErrorCode::kNotFound);
  EXPECT_EQ(remove_directory("x", InodeId{999}).code(), ErrorCode::kStale);
}

TEST_F(OpReadDirectory, an_empty_directory_has_an_end_and_a_parent) {
  const InodeId directory = client->make_directory("d");
  const auto page = list(directory, 0);
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->end);
  EXPECT_TRUE(page->entries.empty());
  EXPECT_EQ(page->parent, kRootInode);
  EXPECT_EQ(list(client->make_file("f"), 0).code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(list(InodeId{999}, 0).code(), ErrorCode::kStale);
  const auto behind = list(directory, kLastCookie);
  ASSERT_TRUE(behind);
  EXPECT_TRUE(behind->end);
}

// Makes entries in the store, faster than by requests.
void fill(OpNames& rig, InodeId directory, int count) {
  EXPECT_TRUE(rig.in_transaction([&](OpContext& context) -> Status {
    for (int index = 0; index < count; ++index) {
      InodeRow row;
      row.attributes.inode = InodeId{1'000'000u + static_cast<unsigned>(index)};
      row.attributes.mode = kModeRegular | 0644;
      row.attributes.link_count = 1;
      const std::string name = "file-" + std::to_string(index);
      DFS_CHECK_OK(context.store.put_inode(row));
      DFS_CHECK_OK(context.store.put_entry({.parent = directory,
                                            .cookie = first_cookie(name),
                                            .name = name,
                                            .inode = row.attributes.inode}));
    }
    return ok();
  }));
}

TEST_F(OpReadDirectory, names_that_stay_are_listed_once_while_others_come_and_go) {
  constexpr int kNames = 10'000;
  const InodeId directory = client->make_directory("d");
  fill(*this, directory, kNames);
  std::multiset<std::string> seen;
  std::uint64_t cookie = 0;
  int pages = 0;
  for (bool end = false; !end; ++pages) {
    const auto page = list(directory, cookie, 500);
    ASSERT_TRUE(page);
    ASSERT_LE(page->entries.size(), 500u);
    EXPECT_TRUE(std::is_sorted(
        page->entries.begin(), page->entries.end(),
        [](const auto& left, const auto& right) { return left.cookie < right.cookie; }));
    for (const DirectoryEntry& entry : page->entries) {
      seen.insert(entry.name);
    }
    // The newest name seen goes, a few others come, before the next page.
    ASSERT_FALSE(page->entries.empty());
    cookie = page->entries.back().cookie;
    EXPECT_EQ(client->unlink(page->entries.back().name, directory), ErrorCode::kOk);
    for (int extra = 0; extra < 5; ++extra) {
      client->make_file("new-" + std::to_string(pages) + "-" + std::to_string(extra), directory);
    }
    end = page->end;
  }
  EXPECT_GE(pages, kNames / 500);
  for (int index = 0; index < kNames; ++index) {
    EXPECT_EQ(seen.count("file-" + std::to_string(index)), 1u) << index;
  }
}

TEST_F(OpReadDirectory, a_page_is_bounded_in_entries_and_bytes) {
  const InodeId directory = client->make_directory("d");
  fill(*this, directory, 2'000);
  const auto page = list(directory, 0);
  ASSERT_TRUE(page);
  EXPECT_LE(page->entries.size(), kReaddirEntriesMax);
  EXPECT_GT(page->entries.size(), 500u);
  EXPECT_FALSE(page->end);
  const auto most = list(directory, 0, UINT32_MAX);
  ASSERT_TRUE(most);
  EXPECT_EQ(most->entries.size(), page->entries.size());
}

TEST_F(OpReadDirectory, names_of_one_hash_are_told_apart) {
  // No two short names collide; so the slots of a name's hash are taken by hand.
  const std::uint64_t first = first_cookie("wanted");
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    for (std::uint64_t slot = 0; slot < kCookieSlots - 1; ++slot) {
      DFS_CHECK_OK(context.store.put_entry({.parent = kRootInode,
                                            .cookie = first + slot,
                                            .name = "other-" + std::to_string(slot),
                                            .inode = kRootInode}));
    }
    return ok();
  }));
  EXPECT_EQ(client->lookup("wanted"), ErrorCode::kNotFound);
  const InodeId made = client->make_file("wanted");
  const auto found = client->ask(LookupRequest{.parent = kRootInode, .name = "wanted"});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->attributes.inode, made);
  // Now all are taken: another name of this hash finds no place.
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    return context.store.put_entry({.parent = kRootInode,
                                    .cookie = first + kCookieSlots - 1,
                                    .name = "yet another",
                                    .inode = kRootInode});
  }));
  EXPECT_EQ(client->change(create_request(kRootInode, "wanted", kModeRegular | 0644)).code(),
            ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace dfs::master
