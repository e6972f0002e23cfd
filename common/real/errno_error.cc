#include "common/real/errno_error.h"

#include <cerrno>
#include <system_error>

namespace dfs::real {
namespace {

ErrorCode code_of(int errno_value) {
  switch (errno_value) {
    case ENOENT: return ErrorCode::kNotFound;
    case EEXIST: return ErrorCode::kExists;
    case ENOTDIR: return ErrorCode::kNotDirectory;
    case EISDIR: return ErrorCode::kIsDirectory;
    case ENOTEMPTY: return ErrorCode::kNotEmpty;
    case ENAMETOOLONG: return ErrorCode::kNameTooLong;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kNoSpace;
    case EROFS: return ErrorCode::kReadOnly;
    case EACCES: return ErrorCode::kAccessDenied;
    case EPERM: return ErrorCode::kNotPermitted;
    case ENOMEM: return ErrorCode::kNoMemory;
    default: return ErrorCode::kIo;
  }
}

}  // namespace

Error errno_error(int errno_value, const std::string& what) {
  return make_error(code_of(errno_value), what + ": " +
                                              std::generic_category().message(errno_value) +
                                              " (errno " + std::to_string(errno_value) + ")");
}

}  // namespace dfs::real
