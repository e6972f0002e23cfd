#include "fuse-client/fuse/request_size.h"

#include <gtest/gtest.h>

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

TEST(RequestSize, follows_the_memory_limit_between_its_bounds) {
  EXPECT_EQ(request_bytes_max(16 * kMiB), 128u << 10);
  EXPECT_EQ(request_bytes_max(64 * kMiB), 256u << 10);
  EXPECT_EQ(request_bytes_max(100 * kMiB), 256u << 10);
  EXPECT_EQ(request_bytes_max(128 * kMiB), 512u << 10);
  EXPECT_EQ(request_bytes_max(256 * kMiB), 1u << 20);
  EXPECT_EQ(request_bytes_max(std::uint64_t{1} << 40), 1u << 20);
}

}  // namespace
}  // namespace dfs::fuse
