// What the master tells about an inode, and how file types and policies are written.
#pragma once

#include <cstdint>
#include <string>

#include "common/ids.h"
#include "proto/fields.h"
#include "proto/xattr_kinds.h"

namespace dfs {

// File type bits of `mode`, as in POSIX <sys/stat.h> on Linux (part of the wire and disk formats).
inline constexpr std::uint32_t kModeTypeMask = 0170000;
inline constexpr std::uint32_t kModeDirectory = 0040000;
inline constexpr std::uint32_t kModeRegular = 0100000;
inline constexpr std::uint32_t kModeSymlink = 0120000;
inline constexpr std::uint32_t kModeCharacterDevice = 0020000;
inline constexpr std::uint32_t kModeBlockDevice = 0060000;
inline constexpr std::uint32_t kModeFifo = 0010000;
inline constexpr std::uint32_t kModeSocket = 0140000;
inline constexpr std::uint32_t kModePermissions = 07777;
inline constexpr std::uint32_t kModeAccess = 0777;
inline constexpr std::uint32_t kModeSetUid = 04000;
inline constexpr std::uint32_t kModeSetGid = 02000;

// How many replicas new chunks of a file get; a directory's is inherited by what is made in it.
struct StoragePolicy {
  std::uint32_t replicas = 3;
  std::uint32_t min_replicas = 2;  // writes proceed down to this many, then wait
  DFS_FIELDS(replicas, min_replicas)
  friend auto operator<=>(const StoragePolicy&, const StoragePolicy&) = default;
};

struct Attributes {
  InodeId inode;
  std::uint32_t mode = 0;  // type and permission bits
  std::uint32_t link_count = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t device = 0;      // of device nodes, as makedev(3) packs it
  std::uint64_t size_bytes = 0;  // of a directory: a fixed figure; of a symlink: its length
  std::uint64_t used_bytes = 0;  // covered by extents; st_blocks is this / 512 rounded up
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  std::uint64_t data_version = 0;  // changes whenever contents or size do
  StoragePolicy policy;
  std::uint32_t xattr_kinds = kXattrKindsAll;  // which it may have; 0 of one: it has none
  DFS_FIELDS(inode, mode, link_count, uid, gid, device, size_bytes, used_bytes, atime, mtime, ctime,
             data_version, policy, xattr_kinds)
  friend bool operator==(const Attributes&, const Attributes&) = default;

  bool is_directory() const { return (mode & kModeTypeMask) == kModeDirectory; }
  bool is_regular() const { return (mode & kModeTypeMask) == kModeRegular; }
  bool is_symlink() const { return (mode & kModeTypeMask) == kModeSymlink; }
};

}  // namespace dfs
