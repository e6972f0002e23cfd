// The tables of the master's database and their version. docs/FORMATS.md names them too.
#pragma once

#include <cstdint>

#include "common/result.h"
#include "master/store_sqlite/sqlite_database.h"

namespace dfs::master {

inline constexpr std::uint32_t kApplicationId = 0x4446534d;  // "DFSM"
inline constexpr std::uint32_t kSchemaVersion = 1;

// Whether the file holds no database yet. Fails with kWrongFormat for one that is not ours or is
// newer than this program, naming the versions; with kIo, kCorrupt.
Result<bool> check_schema(SqliteDatabase& database);

// Makes the tables. Inside a transaction.
Status create_schema(SqliteDatabase& database);

}  // namespace dfs::master
