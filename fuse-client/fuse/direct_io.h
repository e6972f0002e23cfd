// Open files that the kernel serves without its page cache: each read and write is a request.
//
// Pages of what several clients change all the time cannot be kept right (see contention.h), and
// through its pages the kernel sends an append in parts. A file opened so can only be mapped if the
// kernel agreed to that in the handshake (Linux 6.6 has it), in a bit that libfuse 3.14 does not
// know: it is added to the answer on its way.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <map>
#include <optional>

#include "fuse-client/core/client.h"

namespace dfs::fuse {

// FUSE_DIRECT_IO_ALLOW_MMAP of newer headers, as it stands in `flags2`.
inline constexpr std::uint32_t kAllowMmapFlag2 = 1u << 4;

// The handshake about mapping files that are opened for direct I/O.
class DirectIoHandshake {
 public:
  // A request was received.
  void note_request(const char* request, std::size_t size_bytes);
  // A message is about to be sent: writes it, changed if it is the answer to the handshake.
  ssize_t send(int fd, const iovec* parts, int count);
  // Known when the handshake was answered.
  bool allows_mmap() const { return allows_mmap_; }

 private:
  std::optional<std::uint64_t> asked_;  // the number of the request that offers it
  bool allows_mmap_ = false;
};

// Open files that are served so.
class DirectFiles {
 public:
  // `has_privileges`: there are set-id bits or capabilities that a write takes away, as far as is
  // known now.
  void note(client::HandleId handle, bool has_privileges) { files_[handle] = has_privileges; }
  void forget(client::HandleId handle) { files_.erase(handle); }
  bool contains(client::HandleId handle) const { return files_.contains(handle); }
  // As noted last. Precondition: contains it.
  bool had_privileges(client::HandleId handle) const { return files_.at(handle); }

 private:
  std::map<client::HandleId, bool> files_;
};

// Whether a file is opened so, with these flags of open(2). Where it could not be mapped then, only
// if it is opened for appending alone.
bool opens_directly(int flags, bool is_contended, bool allows_mmap);

}  // namespace dfs::fuse
