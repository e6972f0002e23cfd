// The tables of the master's database and their version. docs/FORMATS.md names them too.
#pragma once

#include <cstdint>

#include "common/result.h"
#include "master/store_sqlite/sqlite_database.h"

namespace dfs::master {

inline constexpr std::uint32_t kApplicationId = 0x4446534d;  // "DFSM"
inline constexpr std::uint32_t kSchemaVersion = 2;

enum class SchemaState : std::uint8_t {
  kNone,  // no database yet
  kOlder,
  kCurrent,
};

// What the file holds. Fails with kWrongFormat for a database that is not ours or is newer than
// this program, naming the versions; with kIo, kCorrupt.
Result<SchemaState> check_schema(SqliteDatabase& database);

// Makes the tables. Inside a transaction.
Status create_schema(SqliteDatabase& database);

// Makes an older database one of this version. Inside a transaction.
Status upgrade_schema(SqliteDatabase& database);

}  // namespace dfs::master
