// The kernel's end of a FUSE connection, by hand: writes requests as <linux/fuse.h> has them and
// collects the answers, over a socket pair.
#pragma once

#include <linux/fuse.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/real/owned_fd.h"

namespace dfs::fuse {

struct Answer {
  int error = 0;  // positive errno
  std::string bytes;

  // The structure at `offset` of the answer; zeros where the answer ends.
  template <class T>
  T at(std::size_t offset = 0) const {
    T value{};
    if (offset < bytes.size()) {
      std::memcpy(&value, bytes.data() + offset, std::min(sizeof value, bytes.size() - offset));
    }
    return value;
  }
};

struct ListedEntry {
  std::string name;
  std::uint64_t inode = 0;
  std::uint64_t position = 0;       // to go on behind it
  std::uint64_t counted_inode = 0;  // of READDIRPLUS: the inode of the lookup; 0: none
};

class FakeKernel {
 public:
  FakeKernel();
  // The end for FuseServer::attach; it belongs to the server from then on.
  int server_end() const { return server_end_; }

  // Sends a request; its number, for answer().
  std::uint64_t send(std::uint32_t opcode, std::uint64_t node, std::string_view payload);
  std::optional<Answer> answer(std::uint64_t unique);
  // Messages that answer nothing: FUSE_NOTIFY_…
  std::vector<Answer> notifications();
  // Blocks until so many notifications have come, each for at most some seconds.
  bool wait_for_notification(std::size_t count = 1);
  void close() { socket_.reset(); }

  std::uint32_t uid = 1000;
  std::uint32_t gid = 1000;
  std::uint32_t pid = 1u << 30;  // no process has it

 private:
  void receive();

  real::OwnedFd socket_;
  int server_end_ = -1;
  std::uint64_t next_unique_ = 2;
  std::map<std::uint64_t, Answer> answers_;
  std::vector<Answer> notifications_;
  std::vector<char> message_;  // room for one, kept: tests look for answers after each event
};

// A structure's bytes, for payloads.
template <class T>
std::string raw(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
// A name with its terminator.
inline std::string terminated(const std::string& name) { return name + '\0'; }

std::vector<ListedEntry> parse_listing(const std::string& bytes, bool with_attributes);

}  // namespace dfs::fuse
