// A SQLite VFS over a simulated machine's disks, for one simulated process.
//
// File methods act at once, in no virtual time; xSync is what makes writes survive
// SimDiskState::crash(). Locks and shared memory work between the connections of this process.
// kill(), or the machine's crash(), makes every method of every open file fail with SQLITE_IOERR,
// so a database handle of a dead process can only be closed. A process can be made to die in the
// middle of a transaction with die_after().
//
// While it lives it is SQLite's default VFS, and SQLite's generator of random numbers starts from
// its seed: runs repeat exactly. One thread only.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/sim_disk_state.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_random.h"

namespace dfs::sim {

struct SimVfsFile;

class SimVfs {
 public:
  SimVfs(SimDiskState& state, const SimEvents& events, std::uint64_t seed);
  ~SimVfs();  // every connection made through it is closed before
  SimVfs(const SimVfs&) = delete;
  SimVfs& operator=(const SimVfs&) = delete;

  const std::string& name() const { return name_; }

  void kill() { is_dead_ = true; }
  // Dies instead of its (count + 1)th write, sync, truncation or deletion from now on: `died` runs
  // (within the call; it may kill the process' scheduler), then everything fails.
  void die_after(std::uint64_t count, Task died);
  void live_on() { dies_at_change_ = UINT64_MAX; }  // takes die_after() back
  // Writes, syncs, truncations and deletions so far.
  std::uint64_t change_count() const { return changes_; }

 private:
  friend struct SimVfsFile;
  struct Methods;

  // What the connections to one database share.
  struct Locks {
    std::map<const SimVfsFile*, int> levels;  // SQLITE_LOCK_…
    std::vector<std::unique_ptr<std::vector<std::byte>>> regions;
    std::map<const SimVfsFile*, std::pair<unsigned, unsigned>> shm;  // shared, exclusive slots
  };

  bool is_dead(std::uint64_t generation) const;
  // Counts one change. False when the process is dead, or has just died.
  bool may_change(std::uint64_t generation);

  SimDiskState& state_;
  const SimEvents& events_;
  SimRandom random_;
  std::string name_;
  sqlite3_vfs vfs_{};
  std::map<std::string, Locks> locks_;
  std::uint64_t generation_;
  std::uint64_t changes_ = 0;
  std::uint64_t dies_at_change_ = UINT64_MAX;
  Task died_;
  bool is_dead_ = false;
};

}  // namespace dfs::sim
