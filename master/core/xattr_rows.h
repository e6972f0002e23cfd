// Extended attributes together with what an inode's attributes say of them (xattr_kinds), and the
// ACLs among them. All run inside a transaction; none writes the inode's row.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "master/core/op_context.h"
#include "master/core/posix_acl.h"
#include "master/core/store.h"

namespace dfs::master {

// Precondition: xattr_kind(name) != 0.
Status put_xattr(OpContext& context, InodeRow& row, const std::string& name,
                 const std::string& value);
Status erase_xattr(OpContext& context, InodeRow& row, const std::string& name);

// The kinds of these names.
std::uint32_t xattr_kinds(const std::vector<std::string>& names);

// The ACL of that name; an empty one if there is none, which costs no look into the store.
// Fails with kCorrupt.
Result<PosixAcl> stored_acl(OpContext& context, const InodeRow& row, std::string_view name);

}  // namespace dfs::master
