// Listings.
#include <cerrno>
#include <map>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

class FuseListing : public FuseRig {
 protected:
  void SetUp() override {
    start();
    directory_ = make_directory(kRoot, "d");
    names_ = {".", ".."};
    for (int i = 0; i < 60; ++i) {
      const std::string name = "entry-" + std::string(static_cast<std::size_t>(i), 'n');
      nodes_[name] = make_directory(directory_, name);
      names_.push_back(name);
    }
    for (const auto& [name, node] : nodes_) {
      forget(node, 1);
    }
    std::sort(names_.begin(), names_.end());
  }

  // Everything behind `position`, piece by piece.
  std::vector<ListedEntry> list_all(std::uint64_t handle, std::uint64_t position,
                                    std::uint32_t size, bool with_attributes) {
    std::vector<ListedEntry> all;
    while (true) {
      const auto piece = list(directory_, handle, position, size, with_attributes);
      if (piece.empty() || all.size() > 1000) {
        return all;
      }
      position = piece.back().position;
      all.insert(all.end(), piece.begin(), piece.end());
    }
  }
  static std::vector<std::string> sorted_names(const std::vector<ListedEntry>& entries) {
    std::vector<std::string> names;
    for (const ListedEntry& entry : entries) {
      names.push_back(entry.name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::uint64_t directory_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, std::uint64_t> nodes_;
};

TEST_F(FuseListing, small_buffers_list_each_entry_once) {
  for (const bool with_attributes : {false, true}) {
    for (const std::uint32_t size : {300u, 512u, 4096u, 65536u}) {
      const std::uint64_t handle = open_directory(directory_);
      EXPECT_EQ(sorted_names(list_all(handle, 0, size, with_attributes)), names_) << size;
    }
  }
}

TEST_F(FuseListing, listing_resumes_behind_any_entry) {
  const std::uint64_t handle = open_directory(directory_);
  const auto all = list_all(handle, 0, 65536, false);
  ASSERT_EQ(all.size(), names_.size());
  for (std::size_t i = 0; i < all.size(); i += 7) {
    const auto rest = list_all(open_directory(directory_), all[i].position, 1000, false);
    ASSERT_EQ(rest.size(), all.size() - i - 1);
    if (!rest.empty()) {
      EXPECT_EQ(rest[0].name, all[i + 1].name);
    }
  }
}

TEST_F(FuseListing, resumes_after_its_page_went_out_of_date) {
  const std::uint64_t handle = open_directory(directory_);
  auto entries = list(directory_, handle, 0, 1000);
  run_for(std::chrono::seconds(3));
  const auto rest = list_all(handle, entries.back().position, 1000, false);
  entries.insert(entries.end(), rest.begin(), rest.end());
  EXPECT_EQ(sorted_names(entries), names_);
}

TEST_F(FuseListing, rewound_listing_shows_what_is_new) {
  const std::uint64_t handle = open_directory(directory_);
  list_all(handle, 0, 65536, false);
  make_directory(directory_, "new");
  EXPECT_EQ(list_all(handle, 0, 65536, false).size(), names_.size() + 1);
}

TEST_F(FuseListing, with_attributes_counts_what_it_names) {
  ASSERT_EQ(server->known_inodes(), 1u);  // the directory
  const auto entries = list_all(open_directory(directory_), 0, 2000, true);
  for (const ListedEntry& entry : entries) {
    if (entry.name == "." || entry.name == "..") {
      EXPECT_EQ(entry.counted_inode, 0u);
      continue;
    }
    EXPECT_EQ(entry.counted_inode, nodes_[entry.name]);
    EXPECT_EQ(server->lookup_count(InodeId{entry.counted_inode}), 1u);
    forget(entry.counted_inode, 1);
  }
  EXPECT_EQ(server->known_inodes(), 1u);
}

}  // namespace
}  // namespace dfs::fuse
