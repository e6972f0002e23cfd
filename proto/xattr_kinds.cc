#include "proto/xattr_kinds.h"

#include <array>

namespace dfs {
namespace {

constexpr std::array<std::string_view, 3> kNamespaces = {"user.", "trusted.", "security."};

}  // namespace

std::uint32_t xattr_kind(std::string_view name) {
  if (name == kAccessAclName) {
    return kXattrAccessAcl;
  }
  if (name == kDefaultAclName) {
    return kXattrDefaultAcl;
  }
  if (name == kCapabilityName) {
    return kXattrCapability;
  }
  for (const std::string_view space : kNamespaces) {
    if (name.starts_with(space) && name.size() > space.size()) {
      return kXattrOther;
    }
  }
  return 0;
}

}  // namespace dfs
