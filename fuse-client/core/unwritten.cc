#include "fuse-client/core/unwritten.h"

namespace dfs::client {

std::string describe(const Unwritten& unwritten) {
  if (unwritten.is_empty()) {
    return "";
  }
  const bool is_one = unwritten.files == 1;
  std::string text = std::to_string(unwritten.bytes) + " bytes of " +
                     std::to_string(unwritten.files) + (is_one ? " file" : " files") +
                     " are not on the servers (inode" + (is_one ? "" : "s");
  const char* separator = " ";
  for (const InodeId inode : unwritten.first) {
    text += separator + std::to_string(inode.value);
    separator = ", ";
  }
  text += unwritten.files > unwritten.first.size() ? ", ...)" : ")";
  return text + (unwritten.master_answers ? "" : "; the master does not answer");
}

}  // namespace dfs::client
