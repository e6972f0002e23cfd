// System calls on files as whole operations: retried after signals and short transfers, with errors
// as Results. Blocking; from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/real/owned_fd.h"
#include "common/result.h"

namespace dfs::real {

// open(2) with O_CLOEXEC added.
Result<OwnedFd> open_path(const std::string& path, int flags, unsigned mode = 0644);

// Reads until `into` is full or the file ends; returns the bytes read.
Result<std::size_t> read_all(int fd, std::span<std::byte> into, std::uint64_t offset,
                             const std::string& path);
// Writes all or fails; on failure any part may be written.
Status write_all(int fd, std::span<const std::byte> from, std::uint64_t offset,
                 const std::string& path);

// The part that can be had from, or put into, the page cache without waiting; 0 when none can, or
// when the file system cannot tell (then `is_supported` becomes false).
struct CacheTransfer {
  std::size_t done_bytes = 0;
  bool is_supported = true;
};
CacheTransfer read_cached(int fd, std::span<std::byte> into, std::uint64_t offset);
CacheTransfer write_cached(int fd, std::span<const std::byte> from, std::uint64_t offset);

// The names in the directory at `path` are on stable storage on return.
Status sync_directory_now(const std::string& path);
// "/a/b" → "/a"; "/a" → "/".
std::string parent_of(const std::string& path);

}  // namespace dfs::real
