#include "fuse-client/fuse/kernel_names.h"

#include <gtest/gtest.h>

#include <string>

#include "proto/limits.h"

namespace dfs::fuse {
namespace {

constexpr InodeId kFile{7}, kOther{8}, kDirectory{2}, kOtherDirectory{3};

KernelName name(const std::string& text, bool has_time = true, InodeId directory = kDirectory) {
  return {.directory = directory, .name = text, .has_time = has_time};
}

TEST(KernelNamesTest, an_inode_is_known_until_it_is_forgotten_as_often_as_it_was_told) {
  KernelNames names;
  EXPECT_FALSE(names.contains(kFile));
  names.count(kFile);
  names.count(kFile);
  EXPECT_TRUE(names.give(kFile, name("a")));
  EXPECT_FALSE(names.forget(kFile, 1));
  EXPECT_EQ(names.lookups(kFile), 1u);
  EXPECT_EQ(names.names(kFile).size(), 1u);
  EXPECT_TRUE(names.forget(kFile, 1));
  EXPECT_FALSE(names.forget(kFile, 1));
  EXPECT_EQ(names.size(), 0u);
  names.count(kFile);
  EXPECT_TRUE(names.names(kFile).empty());
}

TEST(KernelNamesTest, names_are_kept_as_they_were_given_last) {
  KernelNames names;
  const std::string longest(kNameBytesMax, 'x');
  EXPECT_TRUE(names.give(kFile, name("a")));
  EXPECT_TRUE(names.give(kFile, name(longest, true, kOtherDirectory)));
  EXPECT_TRUE(names.give(kFile, name("a", true, kOtherDirectory)));
  EXPECT_TRUE(names.give(kFile, name("a", false)));
  EXPECT_TRUE(names.give(kOther, name("b")));
  EXPECT_EQ(names.names(kFile),
            (std::vector<KernelName>{name(longest, true, kOtherDirectory),
                                     name("a", true, kOtherDirectory), name("a", false)}));
}

TEST(KernelNamesTest, what_does_not_fit_is_given_for_no_time) {
  KernelNames names;
  for (std::size_t i = 0; i < KernelNames::kNamesPerInode; ++i) {
    EXPECT_TRUE(names.give(kFile, name(std::to_string(i))));
  }
  EXPECT_FALSE(names.give(kFile, name("more")));
  EXPECT_TRUE(names.give(kFile, name("3")));  // the same again
  EXPECT_TRUE(names.give(kFile, name("3", false)));
  EXPECT_TRUE(names.give(kFile, name("more")));  // the kernel asks for that one each time
  EXPECT_FALSE(names.give(kFile, name("3")));
}

TEST(KernelNamesTest, all_names_together_are_bounded) {
  KernelNames names(100);
  EXPECT_TRUE(names.give(kFile, name(std::string(60, 'a'))));
  names.count(kOther);
  EXPECT_FALSE(names.give(kOther, name(std::string(60, 'b'))));
  names.count(kFile);
  EXPECT_TRUE(names.forget(kFile, 1));
  EXPECT_TRUE(names.give(kOther, name(std::string(60, 'b'))));
}

TEST(KernelNamesTest, a_name_moves_with_what_the_kernel_believes_it_to_stand_for) {
  KernelNames names;
  names.give(kFile, name("a"));
  names.give(kFile, name("b"));
  names.give(kFile, name("c", false));
  names.renamed(kFile, name("a"), name("n", false, kOtherDirectory));
  EXPECT_EQ(names.names(kFile), (std::vector<KernelName>{name("b"), name("c", false),
                                                         name("n", true, kOtherDirectory)}));
  names.renamed(kFile, name("c"), name("b"));  // over another of its names
  EXPECT_EQ(names.names(kFile),
            (std::vector<KernelName>{name("n", true, kOtherDirectory), name("b", false)}));
  names.renamed(kFile, name("unknown"), name("x"));
  names.renamed(kOther, name("b"), name("x"));
  EXPECT_EQ(names.names(kFile).size(), 2u);
  EXPECT_FALSE(names.contains(kOther));
}

}  // namespace
}  // namespace dfs::fuse
