#include "fuse-client/fuse/left_writes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace dfs::fuse {
namespace {

constexpr std::size_t kWriteBytes = 900'000;  // more than two sockets hold
constexpr InodeId kFile{7};

class LeftWritesTest : public testing::Test {
 protected:
  // As the kernel's cache of a file: what the pipe gets is references to its pages.
  LeftWritesTest() : pages(memfd_create("pages", MFD_CLOEXEC)) { fill(pages, content); }
  ~LeftWritesTest() override { close(pages); }

  static void fill(int file, const std::string& with) {
    ASSERT_EQ(pwrite(file, with.data(), with.size(), 0), static_cast<ssize_t>(with.size()));
  }
  static std::string pattern(char first) {
    std::string bytes(kWriteBytes, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>(first + i / 1000 % 26);
    }
    return bytes;
  }
  static std::shared_ptr<LeftWrites> with_sockets(std::size_t sockets_max) {
    return std::make_shared<LeftWrites>(kWriteBytes, sockets_max);
  }
  client::WriteData take(LeftWrites& left) {
    loff_t at = 0;
    while (at < static_cast<loff_t>(kWriteBytes) &&
           splice(pages, &at, pipe->in(), nullptr, kWriteBytes - static_cast<std::size_t>(at), 0) >
               0) {
    }
    EXPECT_EQ(at, static_cast<loff_t>(kWriteBytes));
    return left.take(*pipe, kWriteBytes, kFile, kWriteBytes);
  }
  static std::string text_of(const client::WriteData& data) {
    const Result<Buffer> bytes = data.bytes();
    return bytes ? std::string(bytes->text()) : error_code_name(bytes.code());
  }

  std::string content = pattern('a');
  int pages;
  std::unique_ptr<TransitPipe> pipe = TransitPipe::create(1u << 20);
};

TEST_F(LeftWritesTest, are_references_in_sockets_until_they_are_read) {
  const std::shared_ptr<LeftWrites> left = with_sockets(100);
  {
    const client::WriteData data = take(*left);
    EXPECT_EQ(data.size(), kWriteBytes);
    EXPECT_EQ(data.held_bytes(), 0u);
    EXPECT_EQ(left->count(), 1u);
    EXPECT_GT(left->sockets(), 1u);
    EXPECT_LE(left->sockets(), 5u);
    fill(pages, pattern('A'));
    EXPECT_EQ(text_of(data), pattern('A'));
  }
  EXPECT_EQ(left->count(), 0u);
  EXPECT_EQ(left->sockets(), 0u);
}

TEST_F(LeftWritesTest, are_copied_before_their_pages_change) {
  const std::shared_ptr<LeftWrites> left = with_sockets(100);
  const client::WriteData data = take(*left);
  left->before_size(InodeId{8}, 0);
  left->before_size(kFile, kWriteBytes);
  EXPECT_GT(left->sockets(), 0u);  // neither cuts anything off
  left->before_size(kFile, kWriteBytes - 1);
  EXPECT_EQ(left->sockets(), 0u);
  left->before_size(kFile, 0);
  fill(pages, pattern('A'));
  EXPECT_EQ(text_of(data), content);
}

TEST_F(LeftWritesTest, are_copied_where_there_are_too_few_sockets) {
  const std::shared_ptr<LeftWrites> left = with_sockets(1);
  const client::WriteData first = take(*left);
  const client::WriteData second = take(*left);
  EXPECT_EQ(left->sockets(), 1u);
  left->before_size(kFile, 0);
  fill(pages, pattern('A'));
  const client::WriteData third = take(*left);
  EXPECT_EQ(text_of(first), content);
  EXPECT_EQ(text_of(second), content);
  EXPECT_EQ(text_of(third), pattern('A'));
}

TEST_F(LeftWritesTest, copies_get_the_places_of_those_that_are_gone) {
  const std::shared_ptr<LeftWrites> left = with_sockets(0);
  const std::string other = pattern('A');
  const client::WriteData kept = take(*left);
  for (int i = 0; i < 3; ++i) {
    const client::WriteData again =
        left->copy(std::as_bytes(std::span(other)).first(1000), kFile, 1000);
    EXPECT_EQ(text_of(again), other.substr(0, 1000));
  }
  EXPECT_EQ(text_of(kept), content);
}

TEST_F(LeftWritesTest, a_write_that_there_is_no_memory_for_fails_alone) {
  const std::shared_ptr<LeftWrites> left = with_sockets(0);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  {
    const client::WriteData lost = take(*left);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(text_of(lost), error_code_name(ErrorCode::kIo));
  }
  EXPECT_EQ(text_of(take(*left)), content);
}

}  // namespace
}  // namespace dfs::fuse
