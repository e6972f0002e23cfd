// The only place where an error code becomes an errno again.
#pragma once

#include "common/error_code.h"

namespace dfs::fuse {

// A positive errno for the kernel; 0 for kOk.
int to_errno(ErrorCode code);

}  // namespace dfs::fuse
