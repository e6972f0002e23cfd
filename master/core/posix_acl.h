// POSIX access control lists: decoding, encoding, and how they and the permission bits of a mode
// follow each other (POSIX 1003.1e draft 17, as on Linux). Pure values.
//
// Encoded as the kernel hands them over in the attributes system.posix_acl_access and _default:
// version 2, then for each entry tag, permissions and id, little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace dfs::master {

enum class AclTag : std::uint16_t {
  kUserObject = 0x01,  // the owner
  kUser = 0x02,
  kGroupObject = 0x04,  // the owning group
  kGroup = 0x08,
  kMask = 0x10,  // bounds all but the owner and others
  kOther = 0x20,
};

struct AclEntry {
  AclTag tag = AclTag::kOther;
  std::uint16_t permissions = 0;  // rwx as in a mode
  std::uint32_t id = 0;           // of a named user or group
  friend bool operator==(const AclEntry&, const AclEntry&) = default;
};

class PosixAcl {
 public:
  // Fails with kInvalidArgument: not that encoding, or not a list that can be: owner, named users,
  // owning group, named groups, mask and others stand in this order, and a mask is there if
  // anybody is named. No bytes and no entries make an empty list.
  static Result<PosixAcl> decode(std::string_view value);
  std::string encode() const;

  bool is_empty() const { return entries_.empty(); }
  const std::vector<AclEntry>& entries() const { return entries_; }
  // The rest has a list that is not empty as precondition.

  // Whether the permission bits say all of it.
  bool is_only_mode() const { return entries_.size() == 3; }
  // The permission bits that go with an access ACL.
  std::uint32_t permissions() const;
  // chmod: the bits become those of owner, mask (else owning group) and others.
  void set_permissions(std::uint32_t mode);
  // Of a default ACL, for an inode created with `mode`: leaves only what both allow. Its
  // permissions() are the new inode's.
  void restrict_to(std::uint32_t mode);

 private:
  AclEntry* find(AclTag tag);
  const AclEntry* find(AclTag tag) const;
  // Replaces what the mode stands for by what `change` makes of it and of the mode's three bits.
  template <class Change>
  void change_mode_entries(std::uint32_t mode, Change change);
  bool is_sound() const;

  std::vector<AclEntry> entries_;
};

}  // namespace dfs::master
