// What a failed sync of the database's files leaves to the next process.
//
// The kernel tells of what it could not write once, and then takes it for written: it may be read
// for a while yet, and a later sync that succeeds says nothing about it. So the failure is noted in
// a file beside the database, and who opens that next writes the log once more before it believes
// any of it: frames that are gone end the log there, the others are synced. The database's own file
// needs no such care, as what a checkpoint wrote and did not sync is in the log still.
#pragma once

#include <string>

#include "common/result.h"

struct sqlite3_vfs;

namespace dfs::master {

// Of one database; no effect, and nothing noted, for one in memory (an empty path).
class LogDistrust {
 public:
  // Both outlive it.
  LogDistrust(sqlite3_vfs* vfs, const std::string& database_path);

  Result<bool> is_noted() const;
  // On stable storage on return.
  Status note() const;
  Status erase_note() const;
  // Every byte of the write-ahead log again, and a sync. Before anything reads the database.
  Status rewrite_log() const;

 private:
  Result<bool> exists(const std::string& path) const;

  sqlite3_vfs* vfs_;
  bool is_in_memory_;
  std::string note_path_;
  std::string log_path_;
};

}  // namespace dfs::master
