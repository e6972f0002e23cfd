#include "master/core/xattr_rows.h"

#include <optional>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "proto/xattr_kinds.h"

namespace dfs::master {

Status put_xattr(OpContext& context, InodeRow& row, const std::string& name,
                 const std::string& value) {
  DFS_ASSERT(xattr_kind(name) != 0);
  row.attributes.xattr_kinds |= xattr_kind(name);
  return context.store.put_xattr(row.attributes.inode, name, value);
}

Status erase_xattr(OpContext& context, InodeRow& row, const std::string& name) {
  DFS_CHECK_OK(context.store.erase_xattr(row.attributes.inode, name));
  DFS_TRY(const std::vector<std::string> left, context.store.xattr_names(row.attributes.inode));
  row.attributes.xattr_kinds = xattr_kinds(left);
  return ok();
}

std::uint32_t xattr_kinds(const std::vector<std::string>& names) {
  std::uint32_t kinds = 0;
  for (const std::string& name : names) {
    kinds |= xattr_kind(name);
  }
  return kinds;
}

Result<PosixAcl> stored_acl(OpContext& context, const InodeRow& row, std::string_view name) {
  if ((row.attributes.xattr_kinds & xattr_kind(name)) == 0) {
    return PosixAcl{};
  }
  DFS_TRY(const std::optional<std::string> value,
          context.store.xattr(row.attributes.inode, std::string(name)));
  auto acl = PosixAcl::decode(value.value_or(std::string()));
  if (!acl) {
    return make_error(ErrorCode::kCorrupt, std::string(name) + " of inode " +
                                               std::to_string(row.attributes.inode.value) + ": " +
                                               acl.error().detail);
  }
  return acl;
}

}  // namespace dfs::master
