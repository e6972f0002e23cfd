// What is in the way of what was written, for people.
#include <algorithm>

#include "fuse-client/core/flusher.h"

namespace dfs::client {

using State = FlightBlock::State;

Obstacle Flusher::obstacle(InodeId inode) const {
  const auto file = inode.is_set()
                        ? files_.find(inode)
                        : std::find_if(files_.begin(), files_.end(), [](const auto& entry) {
                            return !entry.second->dirty.flight().empty();
                          });
  if (file == files_.end() || file->second->dirty.flight().empty()) {
    return {};  // the master is to make names durable
  }
  const FlightBlock& first = *file->second->dirty.flight().front();
  switch (first.state) {
    case State::kWaiting:
      return pool_.obstacle(file->second->policy,
                            first.trouble_since
                                ? std::optional(*first.trouble_since + options_.write_wait)
                                : std::nullopt);
    case State::kPlaced: return pool_.obstacle_of(first.chunk);
    case State::kStable:
      if (file->second->lacks_lease && events_.lease_asked) {
        return {.asked = events_.lease_asked(file->first)};
      }
      break;
    case State::kCommitting: break;
  }
  return {};
}

std::vector<StuckFile> Flusher::stuck(std::size_t count_max) const {
  std::vector<StuckFile> files;
  for (const auto& [inode, file] : files_) {
    const auto& flight = file->dirty.flight();
    if (files.size() == count_max) {
      break;
    }
    if (flight.empty() || !flight.front()->trouble_since) {
      continue;
    }
    const Duration age = pool_.waiting_clock() - *flight.front()->trouble_since;
    if (age >= kWaitNoted) {
      files.push_back({.inode = inode, .age = age});
    }
  }
  return files;
}

}  // namespace dfs::client
