#include "tests/unit/fuse/fake_kernel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <memory>

namespace dfs::fuse {
namespace {

constexpr std::size_t kMessageBytesMax = 1u << 20;
constexpr int kNotificationMs = 10'000;

}  // namespace

FakeKernel::FakeKernel() {
  // A real device answers a write nobody wants with an error; a socket would also send this.
  std::signal(SIGPIPE, SIG_IGN);
  std::array<int, 2> ends{};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  socket_ = real::OwnedFd(ends[0]);
  server_end_ = ends[1];
}

std::uint64_t FakeKernel::send(std::uint32_t opcode, std::uint64_t node, std::string_view payload) {
  fuse_in_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + payload.size());
  header.opcode = opcode;
  header.unique = next_unique_;
  header.nodeid = node;
  header.uid = uid;
  header.gid = gid;
  header.pid = pid;
  next_unique_ += 2;  // odd numbers mark interrupts to the kernel
  const std::string message = raw(header) + std::string(payload);
  EXPECT_EQ(::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(message.size()));
  return header.unique;
}

void FakeKernel::receive() {
  message_.resize(kMessageBytesMax);
  ssize_t size = 0;
  while (socket_.is_open() &&
         (size = recv(socket_.get(), message_.data(), kMessageBytesMax, MSG_DONTWAIT)) > 0) {
    fuse_out_header header{};
    ASSERT_GE(static_cast<std::size_t>(size), sizeof header);
    std::memcpy(&header, message_.data(), sizeof header);
    EXPECT_EQ(header.len, static_cast<std::size_t>(size));
    Answer answer{.error = header.unique == 0 ? header.error : -header.error,
                  .bytes = std::string(message_.data() + sizeof header,
                                       static_cast<std::size_t>(size) - sizeof header)};
    if (header.unique == 0) {
      notifications_.push_back(std::move(answer));
    } else {
      EXPECT_TRUE(answers_.emplace(header.unique, std::move(answer)).second) << "answered twice";
    }
  }
}

std::optional<Answer> FakeKernel::answer(std::uint64_t unique) {
  receive();
  const auto found = answers_.find(unique);
  return found == answers_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<Answer> FakeKernel::notifications() {
  receive();
  return notifications_;
}

bool FakeKernel::wait_for_notification(std::size_t count) {
  while (notifications().size() < count) {
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, kNotificationMs) != 1) {
      return false;
    }
  }
  return true;
}

std::vector<ListedEntry> parse_listing(const std::string& bytes, bool with_attributes) {
  std::vector<ListedEntry> entries;
  std::size_t at = 0;
  while (at < bytes.size()) {
    ListedEntry entry;
    if (with_attributes) {
      fuse_entry_out out{};
      std::memcpy(&out, bytes.data() + at, sizeof out);
      entry.counted_inode = out.nodeid;
      at += sizeof out;
    }
    fuse_dirent head{};
    std::memcpy(&head, bytes.data() + at, offsetof(fuse_dirent, name));
    entry.inode = head.ino;
    entry.position = head.off;
    entry.name.assign(bytes.data() + at + offsetof(fuse_dirent, name), head.namelen);
    at += FUSE_DIRENT_ALIGN(offsetof(fuse_dirent, name) + head.namelen);
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace dfs::fuse
