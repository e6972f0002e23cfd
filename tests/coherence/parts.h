// A history taken apart into its objects, and what is left to the checker of operations that had an
// excuse.
//
// The names of the directory are one object; the contents of each file, by inode number, another;
// each lock another. That is sound since linearizability is local: all objects are linearizable
// exactly if the whole is. stat tells of two objects, so of it each is asked by itself.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "tests/coherence/history.h"
#include "tests/coherence/model.h"

namespace dfs::coherence {

// When the client of a mount was stopped, and until it ran again.
struct Pause {
  std::uint32_t mount = 0;
  std::int64_t from_ns = 0, to_ns = 0;
};

// What its own mount's pause overlaps may be stale, so nothing is demanded of it: what was told is
// left out, and what was changed may have been changed at any time, or not.
History excuse(History history, const std::vector<Pause>& pauses);

struct Part {
  std::string title;
  std::unique_ptr<Object> object;
  History history;
};

// Reads that never completed are left out. A process that ended with a lock gave it up at some
// time. Fails with kInvalidArgument if the history is not one of a single small directory.
Result<std::vector<Part>> take_apart(const History& history);

}  // namespace dfs::coherence
