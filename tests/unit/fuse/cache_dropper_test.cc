#include "fuse-client/fuse/cache_dropper.h"

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

class CacheDropperTest : public FuseRig {
 protected:
  void SetUp() override {
    start();
    run_for(std::chrono::seconds(1));  // the session is in order
  }
  // Another client changes its attributes. The names that expire, if they are so many at least.
  std::vector<std::string> change(std::uint64_t inode, std::size_t count) {
    run_for(kAnswerTime);  // all answers were looked at: nothing is dropped twice
    const std::size_t before = kernel->notifications().size();
    server->drop_cached(
        {{.inode = server->from_kernel(inode), .contents = false, .names = {}, .new_names = {}}},
        [] {});
    run_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(kernel->wait_for_notification(before + 1 + count));  // one drops the attributes
    return expired(before);
  }
  std::vector<std::string> expired(std::size_t first) {
    std::vector<std::string> names;
    const std::vector<Answer> all = kernel->notifications();
    for (std::size_t i = first; i < all.size(); ++i) {
      if (all[i].error == FUSE_NOTIFY_INVAL_ENTRY) {
        const auto out = all[i].at<fuse_notify_inval_entry_out>();
        EXPECT_EQ(out.flags, FUSE_EXPIRE_ONLY);
        EXPECT_EQ(out.parent, kRoot);
        names.push_back(all[i].bytes.substr(sizeof out, out.namelen));
      }
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  std::uint64_t make_file(const std::string& name) {
    const Opened file = create(kRoot, name);
    release(file);
    return file.inode;
  }
  void link(std::uint64_t inode, const std::string& name) {
    fuse_link_in in{};
    in.oldnodeid = inode;
    EXPECT_EQ(error_of(FUSE_LINK, kRoot, raw(in) + terminated(name)), 0);
  }
  void rename(const std::string& from, const std::string& to, std::uint32_t flags = 0) {
    fuse_rename2_in in{};
    in.newdir = kRoot;
    in.flags = flags;
    EXPECT_EQ(error_of(FUSE_RENAME2, kRoot, raw(in) + terminated(from) + terminated(to)), 0);
  }

  using Names = std::vector<std::string>;
};

TEST_F(CacheDropperTest, all_names_of_what_changes_expire) {
  const std::uint64_t file = make_file("a");
  make_file("other");
  link(file, "b");
  EXPECT_EQ(change(file, 2), (Names{"a", "b"}));
}

TEST_F(CacheDropperTest, names_that_the_kernel_has_moved_expire) {
  const std::uint64_t file = make_file("a");
  const std::uint64_t other = make_file("b");
  rename("a", "c");
  constexpr std::uint32_t kExchange = 2;
  rename("c", "b", kExchange);
  EXPECT_EQ(change(file, 1), Names{"b"});
  EXPECT_EQ(change(other, 1), Names{"c"});
}

TEST_F(CacheDropperTest, names_that_were_listed_expire) {
  const std::uint64_t file = make_file("a");
  forget(file, 1);
  list(kRoot, open_directory(kRoot), 0, 4096, true);
  EXPECT_EQ(change(file, 1), Names{"a"});
}

TEST_F(CacheDropperTest, what_others_change_by_turns_is_asked_for_each_time) {
  const std::uint64_t file = make_file("a");
  EXPECT_EQ(change(file, 1), Names{"a"});
  const fuse_entry_out entry = lookup(kRoot, "a");
  EXPECT_EQ(entry.entry_valid + entry.entry_valid_nsec, 0u);
  EXPECT_EQ(change(file, 0), Names{});
}

}  // namespace
}  // namespace dfs::fuse
