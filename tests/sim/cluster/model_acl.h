// The model of access control lists, as far as applications set them here: the three entries that a
// mode has, too, and perhaps a named user with a mask. It shares nothing with the master's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dfs::sim {

struct ModelAcl {
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
  std::uint32_t others = 0;
  bool is_extended = false;
  std::uint32_t user = 0;  // kNamedUser, if extended
  std::uint32_t mask = 0;  // the same

  static constexpr std::uint32_t kNamedUser = 77;

  // Precondition: it is one of these.
  static ModelAcl of(std::string_view value);
  std::string value() const;  // as the kernel encodes it

  std::uint32_t& group_class() { return is_extended ? mask : group; }
  std::uint32_t permissions() const {
    return owner << 6 | (is_extended ? mask : group) << 3 | others;
  }
  void set_permissions(std::uint32_t mode);
};

bool is_acl_name(std::string_view name);

}  // namespace dfs::sim
