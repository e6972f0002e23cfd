#include "fuse-client/fuse/request_reader.h"

#include <fcntl.h>
#include <linux/fuse.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;
constexpr std::uint32_t kWriteBytes = 128u << 10;
constexpr std::uint64_t kWrites = 2 * kHeldBytesMax / kWriteBytes;

// Writes of many callers to one file, none of which can be stored.
class WaitingWritesTest : public FuseRig {
 protected:
  static std::string content(std::uint64_t i) {
    return std::string(kWriteBytes, static_cast<char>('a' + i % 26));
  }

  void start_writes() {
    start();
    file = create(kRoot, "f");
    for (const auto& chunkserver : servers) {
      chunkserver->pause();
    }
    for (std::uint64_t i = 0; i < kWrites; ++i) {
      fuse_write_in in{};
      in.fh = file.handle;
      in.offset = i * kWriteBytes;
      in.size = kWriteBytes;
      in.flags = O_RDWR;
      sent.push_back(kernel->send(FUSE_WRITE, file.inode, raw(in) + content(i)));
      run_for(std::chrono::milliseconds(1));
    }
    waiting_from = kWrites - 1;
    while (waiting_from > 0 && !kernel->answer(sent[waiting_from - 1])) {
      --waiting_from;
    }
  }

  void expect_all_taken(std::uint64_t until) {
    for (const auto& chunkserver : servers) {
      chunkserver->resume();
    }
    for (std::uint64_t i = waiting_from; i < until; ++i) {
      std::optional<Answer> answer;
      ASSERT_TRUE(run_until([&] {
        answer = kernel->answer(sent[i]);
        return answer.has_value();
      })) << i;
      EXPECT_EQ(answer->error, 0) << i;
    }
    for (std::uint64_t i = 0; i < until; ++i) {
      EXPECT_EQ(read(file, i * kWriteBytes, kWriteBytes), content(i)) << i;
    }
    release(file);
  }

  Opened file;
  std::vector<std::uint64_t> sent;
  std::uint64_t waiting_from = 0;  // those before have been taken and answered
};

TEST_F(WaitingWritesTest, bytes_of_few_writes_that_wait_are_here_and_those_of_more_are_not) {
  start_writes();
  const std::uint64_t waiting_bytes = (kWrites - waiting_from) * kWriteBytes;
  EXPECT_GT(waiting_bytes, kHeldBytesMax + kRequestBytesMax);
  EXPECT_LE(client->usage().waiting_bytes, kHeldBytesMax + kWriteBytes);
  EXPECT_GT(server->reader().left().count(), 0u);
  EXPECT_EQ(client->usage().waiting_bytes + server->reader().left().count() * kWriteBytes,
            waiting_bytes);
  EXPECT_EQ(error_of(FUSE_MKDIR, kRoot, raw(fuse_mkdir_in{}) + terminated("d")), 0);
  expect_all_taken(kWrites);
  EXPECT_EQ(server->reader().left().count(), 0u);
  EXPECT_LE(server->reader().held_bytes(), 2 * kRequestBytesMax);
}

TEST_F(WaitingWritesTest, a_write_whose_bytes_are_left_is_interrupted) {
  start_writes();
  const std::size_t left = server->reader().left().count();
  kernel->send(FUSE_INTERRUPT, 0, raw(fuse_interrupt_in{.unique = sent.back()}));
  std::optional<Answer> answer;
  ASSERT_TRUE(run_until([&] {
    answer = kernel->answer(sent.back());
    return answer.has_value();
  }));
  EXPECT_EQ(answer->error, EINTR);
  EXPECT_EQ(server->reader().left().count(), left - 1);
  expect_all_taken(kWrites - 1);
}

TEST_F(WaitingWritesTest, what_the_kernel_is_told_of_the_size_meanwhile_changes_no_bytes) {
  start_writes();
  const std::uint64_t held = server->reader().held_bytes();
  EXPECT_LT(attributes(file.inode).size, kWrites * kWriteBytes);
  EXPECT_EQ(server->reader().held_bytes(), held);  // copied, but not to here
  expect_all_taken(kWrites);
}

}  // namespace
}  // namespace dfs::fuse
