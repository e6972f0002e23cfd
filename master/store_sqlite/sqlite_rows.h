// Rows to columns and back, shared by the parts of SqliteStore.
#pragma once

#include <cstdint>
#include <limits>

#include "master/core/store.h"
#include "master/store_sqlite/sqlite_database.h"

namespace dfs::master {

// SQLite's integers are signed: a bound above their range means "to the end".
constexpr std::uint64_t kSqlNumberMax =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
constexpr std::uint64_t sql_bound(std::uint64_t number) {
  return number < kSqlNumberMax ? number : kSqlNumberMax;
}

// A timestamp in two columns.
inline Timestamp time_at(const Query& query, int column) {
  return {.seconds = query.signed_number(column), .nanoseconds = query.number32(column + 1)};
}

// The columns of an inode in the order of its table, from `first` on.
InodeRow inode_at(const Query& query, int first);

}  // namespace dfs::master
