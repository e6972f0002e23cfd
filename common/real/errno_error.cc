#include "common/real/errno_error.h"

#include <sys/resource.h>

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
    case EMFILE:
    case ENFILE: return ErrorCode::kBusy;  // says nothing of the disk
    default: return ErrorCode::kIo;
  }
}

// Which limit was met, for whoever has to raise it.
std::string limit_named(int errno_value) {
  if (errno_value == ENFILE) {
    return "; the limit is the system's, sysctl fs.file-max";
  }
  if (errno_value != EMFILE) {
    return {};
  }
  rlimit limit{};
  const bool is_known = ::getrlimit(RLIMIT_NOFILE, &limit) == 0;
  return "; the limit is this process's of open files, RLIMIT_NOFILE" +
         (is_known ? " = " + std::to_string(limit.rlim_cur) : std::string());
}

}  // namespace

Error errno_error(int errno_value, const std::string& what) {
  return make_error(code_of(errno_value),
                    what + ": " + std::generic_category().message(errno_value) + " (errno " +
                        std::to_string(errno_value) + ")" + limit_named(errno_value));
}

}  // namespace dfs::real
