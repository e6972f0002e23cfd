#include "common/buffer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace dfs {
namespace {

TEST(Buffer, empty_one_has_no_bytes) {
  const Buffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_EQ(buffer.text(), "");
  EXPECT_TRUE(buffer.slice(0, 0).empty());
}

TEST(Buffer, copy_is_independent_of_its_source) {
  std::string source = "abc";
  const Buffer buffer = Buffer::copy_of(source);
  source[0] = 'x';
  EXPECT_EQ(buffer.text(), "abc");
}

TEST(Buffer, adopted_bytes_are_not_copied) {
  std::vector<std::byte> bytes(100'000, std::byte{7});
  const std::byte* const data = bytes.data();
  const Buffer buffer = Buffer::adopt(std::move(bytes));
  EXPECT_EQ(buffer.data(), data);
  EXPECT_EQ(buffer.size(), 100'000u);

  std::string text(100'000, 'x');
  const char* const letters = text.data();
  EXPECT_EQ(Buffer::adopt(std::move(text)).text().data(), letters);
  EXPECT_EQ(Buffer::adopt(std::string("short")).text(), "short");
}

TEST(Buffer, slices_share_the_owner_and_keep_it_alive) {
  auto owner = std::make_shared<std::string>("0123456789");
  const std::weak_ptr<std::string> watch = owner;
  Buffer slice;
  {
    const auto* data = reinterpret_cast<const std::byte*>(owner->data());
    const std::size_t size = owner->size();
    const Buffer whole(std::move(owner), data, size);
    slice = whole.slice(2, 5).slice(1, 3);
    EXPECT_EQ(whole.slice(10, 0).size(), 0u);
  }
  EXPECT_EQ(slice.text(), "345");
  EXPECT_FALSE(watch.expired());
  slice = Buffer();
  EXPECT_TRUE(watch.expired());
}

TEST(BufferDeathTest, slice_beyond_the_end_stops_the_process) {
  const Buffer buffer = Buffer::copy_of("abc");
  EXPECT_DEATH((void)buffer.slice(2, 2), "size_bytes <= size_");
  EXPECT_DEATH((void)buffer.slice(4, 0), "offset <= size_");
  EXPECT_DEATH((void)buffer.slice(1, ~std::size_t{0}), "size_bytes <= size_");
}

}  // namespace
}  // namespace dfs
