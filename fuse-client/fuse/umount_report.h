// What a client tells umount.fuse.dfs before it is unmounted: the value of an extended attribute of
// the mounted directory that is not stored. Asking for it writes everything out, for at most
// umount_wait; then it answers.
#pragma once

#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/result.h"

namespace dfs::fuse {

// The kernel asks the client for attributes before it asks for another name's value, and a dead
// master would be waited for.
inline constexpr const char* kUmountReportAttribute = "system.dfs.umount";
inline constexpr std::size_t kUmountReportBytesMax = 1024;

struct UmountReport {
  int client_pid = 0;
  Duration umount_wait{};  // what the mount was given
  std::string unwritten;   // for people: what is not on the servers; empty when all is
};

std::string encode(const UmountReport& report);
// Fails with kBadMessage.
Result<UmountReport> decode_umount_report(std::string_view text);

}  // namespace dfs::fuse
