// Names of extended attributes, sorted into the kinds whose absence is worth knowing: the kernel
// asks for some of them at each write and each check of a permission.
#pragma once

#include <cstdint>
#include <string_view>

namespace dfs {

// Bits of Attributes::xattr_kinds, part of the wire and disk formats.
inline constexpr std::uint32_t kXattrAccessAcl = 1;
inline constexpr std::uint32_t kXattrDefaultAcl = 2;
inline constexpr std::uint32_t kXattrCapability = 4;
inline constexpr std::uint32_t kXattrOther = 8;
inline constexpr std::uint32_t kXattrKindsAll = 15;

inline constexpr std::string_view kAccessAclName = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclName = "system.posix_acl_default";
inline constexpr std::string_view kCapabilityName = "security.capability";

// The bit for a name; 0: no attribute can have this name. The namespaces are those of Linux's
// local filesystems: user, trusted, security, and of system the two ACLs.
std::uint32_t xattr_kind(std::string_view name);

}  // namespace dfs
