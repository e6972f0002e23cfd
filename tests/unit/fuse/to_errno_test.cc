#include "fuse-client/fuse/to_errno.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>

namespace dfs::fuse {
namespace {

TEST(ToErrno, every_code_has_its_errno) {
  const std::map<ErrorCode, int> expected = {
      {ErrorCode::kOk, 0},
      {ErrorCode::kNotFound, ENOENT},
      {ErrorCode::kExists, EEXIST},
      {ErrorCode::kNotDirectory, ENOTDIR},
      {ErrorCode::kIsDirectory, EISDIR},
      {ErrorCode::kNotEmpty, ENOTEMPTY},
      {ErrorCode::kNameTooLong, ENAMETOOLONG},
      {ErrorCode::kTooManyLinks, EMLINK},
      {ErrorCode::kNoSpace, ENOSPC},
      {ErrorCode::kAccessDenied, EACCES},
      {ErrorCode::kNotPermitted, EPERM},
      {ErrorCode::kInvalidArgument, EINVAL},
      {ErrorCode::kNoData, ENXIO},
      {ErrorCode::kStale, ESTALE},
      {ErrorCode::kNoAttribute, ENODATA},
      {ErrorCode::kBufferTooSmall, ERANGE},
      {ErrorCode::kArgumentTooBig, E2BIG},
      {ErrorCode::kFileTooBig, EFBIG},
      {ErrorCode::kReadOnly, EROFS},
      {ErrorCode::kCrossDevice, EXDEV},
      {ErrorCode::kNotSupported, EOPNOTSUPP},
      {ErrorCode::kInterrupted, EINTR},
      {ErrorCode::kBusy, EAGAIN},
      {ErrorCode::kNoMemory, ENOMEM},
      {ErrorCode::kWrongCluster, EPROTO},
      {ErrorCode::kVersionMismatch, EPROTO},
      {ErrorCode::kTooLarge, EMSGSIZE},
      {ErrorCode::kLockConflict, EAGAIN},
      {ErrorCode::kDeadlock, EDEADLK},
      {ErrorCode::kTooManyLocks, ENOLCK},
  };
  // All others, known or not, tell a program only that it failed.
  for (int number = 0; number < 256; ++number) {
    const auto code = static_cast<ErrorCode>(number);
    const auto found = expected.find(code);
    EXPECT_EQ(to_errno(code), found == expected.end() ? EIO : found->second) << number;
  }
}

}  // namespace
}  // namespace dfs::fuse
