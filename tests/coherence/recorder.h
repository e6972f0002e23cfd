// One process of a history: random operations on few names of a shared directory, each noted in a
// file before it is called and after it was answered. The notes outlive a kill -9 of the process.
#pragma once

#include <cstdint>
#include <string>

#include "common/result.h"

namespace dfs::coherence {

struct RecorderOptions {
  std::string directory;      // empty when the first process begins
  std::string file;           // the history; not on the file system under test
  std::uint32_t process = 0;  // each has its own number
  std::uint32_t mount = 0;
  std::uint64_t seed = 1;
  double seconds = 5;
  std::uint32_t slot_bytes = 512;
  // What to do: any of these.
  bool names = false, contents = false, appends = false, locks = false;
  // A write is complete only when it is synced: what a killed client had buffered may be lost.
  bool is_syncing = false;
};

// Returns when the time is over, or the client of the mount is gone: then the operation that was
// under way stays without an answer. Answers the model has no place for are noted, not judged.
Status record(const RecorderOptions& options);

}  // namespace dfs::coherence
