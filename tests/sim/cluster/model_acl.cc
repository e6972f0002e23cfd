#include "tests/sim/cluster/model_acl.h"

#include "common/assert.h"
#include "proto/xattr_kinds.h"

namespace dfs::sim {
namespace {

constexpr std::size_t kEntryBytes = 8;
constexpr std::size_t kVersionBytes = 4;
constexpr std::size_t kMinimalBytes = kVersionBytes + 3 * kEntryBytes;
constexpr std::size_t kExtendedBytes = kVersionBytes + 5 * kEntryBytes;
constexpr std::size_t kPermissionsAt = 2;  // within an entry
constexpr std::uint32_t kNobody = 0xffffffff;

void add_entry(std::string& value, char tag, std::uint32_t permissions, std::uint32_t id) {
  value += {tag, 0, static_cast<char>(permissions), 0};
  for (int shift = 0; shift < 32; shift += 8) {
    value += static_cast<char>((id >> shift) & 0xff);
  }
}

}  // namespace

std::string ModelAcl::value() const {
  std::string value{2, 0, 0, 0};
  add_entry(value, 0x01, owner, kNobody);
  if (is_extended) {
    add_entry(value, 0x02, user, kNamedUser);
  }
  add_entry(value, 0x04, group, kNobody);
  if (is_extended) {
    add_entry(value, 0x10, mask, kNobody);
  }
  add_entry(value, 0x20, others, kNobody);
  return value;
}

ModelAcl ModelAcl::of(std::string_view value) {
  DFS_ASSERT(value.size() == kMinimalBytes || value.size() == kExtendedBytes);
  const auto permissions = [value](std::size_t entry) {
    return static_cast<std::uint32_t>(value[kVersionBytes + entry * kEntryBytes + kPermissionsAt]);
  };
  if (value.size() == kMinimalBytes) {
    return {.owner = permissions(0), .group = permissions(1), .others = permissions(2)};
  }
  return {.owner = permissions(0),
          .group = permissions(2),
          .others = permissions(4),
          .is_extended = true,
          .user = permissions(1),
          .mask = permissions(3)};
}

void ModelAcl::set_permissions(std::uint32_t mode) {
  owner = mode >> 6 & 7;
  group_class() = mode >> 3 & 7;
  others = mode & 7;
}

bool is_acl_name(std::string_view name) {
  return name == kAccessAclName || name == kDefaultAclName;
}

}  // namespace dfs::sim
