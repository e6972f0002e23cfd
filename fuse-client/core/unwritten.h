// What a client still holds that the servers have not: what would be lost if it ended now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/ids.h"

namespace dfs::client {

inline constexpr std::size_t kUnwrittenNamedMax = 5;

struct Unwritten {
  std::uint64_t bytes = 0;  // at most; what is written over while it is sent counts twice
  std::uint64_t files = 0;
  std::vector<InodeId> first;  // of these files, at most kUnwrittenNamedMax
  bool master_answers = true;

  bool is_empty() const { return files == 0; }
};

// One line for people, "" when there is nothing: how much, of which inodes, and whether it is for
// the master that they wait.
std::string describe(const Unwritten& unwritten);

}  // namespace dfs::client
