#include "master/core/posix_acl.h"

#include <utility>

#include "common/assert.h"

namespace dfs::master {
namespace {

constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kNoId = 0xffffffff;  // of entries that name nobody
constexpr std::size_t kVersionBytes = 4;
constexpr std::size_t kEntryBytes = 8;
constexpr std::uint16_t kAllPermissions = 7;

bool names_somebody(AclTag tag) { return tag == AclTag::kUser || tag == AclTag::kGroup; }

std::uint32_t read_number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < size; ++i) {
    number |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  }
  return number;
}

void write_number(std::string& bytes, std::uint32_t number, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes.push_back(static_cast<char>((number >> (8 * i)) & 0xff));
  }
}

Error malformed(const char* why) { return make_error(ErrorCode::kInvalidArgument, why); }

}  // namespace

Result<PosixAcl> PosixAcl::decode(std::string_view value) {
  PosixAcl acl;
  if (value.empty()) {
    return acl;
  }
  if (value.size() < kVersionBytes || (value.size() - kVersionBytes) % kEntryBytes != 0) {
    return malformed("an ACL of this length cannot be");
  }
  if (read_number(value, 0, kVersionBytes) != kVersion) {
    return malformed("an ACL of an unknown version");
  }
  for (std::size_t at = kVersionBytes; at < value.size(); at += kEntryBytes) {
    AclEntry entry{.tag = static_cast<AclTag>(read_number(value, at, 2)),
                   .permissions = static_cast<std::uint16_t>(read_number(value, at + 2, 2)),
                   .id = read_number(value, at + 4, 4)};
    if (!names_somebody(entry.tag)) {
      entry.id = kNoId;
    }
    acl.entries_.push_back(entry);
  }
  if (!acl.is_empty() && !acl.is_sound()) {
    return malformed("the entries of the ACL do not make one");
  }
  return acl;
}

bool PosixAcl::is_sound() const {
  // Tags are numbered in the order they must stand in; who is not named stands once.
  std::uint32_t seen = 0;
  for (const AclEntry& entry : entries_) {
    const auto tag = static_cast<std::uint32_t>(entry.tag);
    const bool is_known = tag != 0 && tag <= 0x20 && (tag & (tag - 1)) == 0;
    const bool is_in_order = names_somebody(entry.tag) ? seen < 2 * tag : seen < tag;
    if (!is_known || !is_in_order || entry.permissions > kAllPermissions) {
      return false;
    }
    if (names_somebody(entry.tag) && entry.id == kNoId) {
      return false;
    }
    seen |= tag;
  }
  constexpr std::uint32_t kRequired = 0x01 | 0x04 | 0x20;
  constexpr std::uint32_t kNamed = 0x02 | 0x08;
  const bool has_mask = (seen & 0x10) != 0;
  return (seen & kRequired) == kRequired && (has_mask || (seen & kNamed) == 0);
}

std::string PosixAcl::encode() const {
  std::string value;
  write_number(value, kVersion, kVersionBytes);
  for (const AclEntry& entry : entries_) {
    write_number(value, static_cast<std::uint32_t>(entry.tag), 2);
    write_number(value, entry.permissions, 2);
    write_number(value, entry.id, 4);
  }
  return value;
}

const AclEntry* PosixAcl::find(AclTag tag) const {
  for (const AclEntry& entry : entries_) {
    if (entry.tag == tag) {
      return &entry;
    }
  }
  return nullptr;
}

AclEntry* PosixAcl::find(AclTag tag) {
  for (AclEntry& entry : entries_) {
    if (entry.tag == tag) {
      return &entry;
    }
  }
  return nullptr;
}

std::uint32_t PosixAcl::permissions() const {
  const AclEntry* owner = find(AclTag::kUserObject);
  const AclEntry* mask = find(AclTag::kMask);
  const AclEntry* group = mask != nullptr ? mask : find(AclTag::kGroupObject);
  const AclEntry* others = find(AclTag::kOther);
  DFS_ASSERT(owner != nullptr && group != nullptr && others != nullptr);
  return std::uint32_t{owner->permissions} << 6 | std::uint32_t{group->permissions} << 3 |
         others->permissions;
}

template <class Change>
void PosixAcl::change_mode_entries(std::uint32_t mode, Change change) {
  const AclTag group_class = find(AclTag::kMask) != nullptr ? AclTag::kMask : AclTag::kGroupObject;
  constexpr AclTag kOwner = AclTag::kUserObject;
  for (const auto& [tag, shift] : {std::pair{kOwner, 6}, {group_class, 3}, {AclTag::kOther, 0}}) {
    AclEntry* entry = find(tag);
    DFS_ASSERT(entry != nullptr);
    entry->permissions =
        change(entry->permissions, static_cast<std::uint16_t>((mode >> shift) & kAllPermissions));
  }
}

void PosixAcl::set_permissions(std::uint32_t mode) {
  change_mode_entries(mode, [](std::uint16_t, std::uint16_t bits) { return bits; });
}

void PosixAcl::restrict_to(std::uint32_t mode) {
  change_mode_entries(mode, [](std::uint16_t old, std::uint16_t bits) {
    return static_cast<std::uint16_t>(old & bits);
  });
}

}  // namespace dfs::master
