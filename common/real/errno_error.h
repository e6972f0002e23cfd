// The one place where errno becomes an ErrorCode.
#pragma once

#include <string>

#include "common/result.h"

namespace dfs::real {

// `what` names the action and the thing: "open /srv/dfs/format". The detail adds the system's
// words.
Error errno_error(int errno_value, const std::string& what);

}  // namespace dfs::real
