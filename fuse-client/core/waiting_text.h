// What waits in this client, as lines for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/wait_messages.h"

namespace dfs::client {

// A line of verdict, and one for each call. Below 64 KiB, whatever the words are.
std::string describe(const std::vector<ClientWait>& waits, std::uint64_t more, bool master_answers);

}  // namespace dfs::client
