#include "master/store_sqlite/sqlite_database.h"

#include <sqlite3.h>

#include <cerrno>
#include <utility>

#include "common/assert.h"

namespace dfs::master {
namespace {

// How long a statement waits for somebody who looks at the database with another tool.
constexpr int kBusyTimeoutMs = 2000;

// Pages in the write-ahead log before they are moved into the database: 16 MiB. Larger ones make
// fewer, longer pauses.
constexpr int kLogPagesMax = 4096;

bool is_failed_sync(int sqlite_code) {
  return sqlite_code == SQLITE_IOERR_FSYNC || sqlite_code == SQLITE_IOERR_DIR_FSYNC;
}

ErrorCode code_of(int sqlite_code, int system_errno) {
  if (is_failed_sync(sqlite_code)) {
    return ErrorCode::kIo;  // for want of space or not: what was written is not there
  }
  const int primary = sqlite_code & 0xff;
  if (primary == SQLITE_FULL || (primary == SQLITE_IOERR && system_errno == ENOSPC)) {
    return ErrorCode::kNoSpace;
  }
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) {
    return ErrorCode::kCorrupt;
  }
  return ErrorCode::kIo;
}

}  // namespace

Query::~Query() {
  if (statement_ != nullptr) {
    // The reset repeats the error of the last step, which step() has reported.
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
}

void Query::bind_one(std::int64_t value) {
  if (statement_ != nullptr) {
    const int code = sqlite3_bind_int64(statement_, next_parameter_++, value);
    DFS_ASSERT(code == SQLITE_OK);  // only a wrong parameter number fails here
  }
}

void Query::bind_one(std::string_view value) {
  if (statement_ != nullptr) {
    // A null pointer would bind NULL instead of an empty blob.
    const char* data = value.data() == nullptr ? "" : value.data();
    const int code =
        sqlite3_bind_blob64(statement_, next_parameter_++, data, value.size(), SQLITE_STATIC);
    DFS_ASSERT(code == SQLITE_OK);
  }
}

Result<bool> Query::step() {
  if (statement_ == nullptr) {
    return make_error(ErrorCode::kIo, "a statement could not be prepared");
  }
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) {
    return true;
  }
  if (code == SQLITE_DONE) {
    return false;
  }
  return database_.fail(code, sqlite3_sql(statement_));
}

Status Query::run() {
  DFS_TRY(const bool has_row, step());
  DFS_ASSERT(!has_row);
  return ok();
}

std::uint64_t Query::number(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
}

std::int64_t Query::signed_number(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::uint32_t Query::number32(int column) const {
  return static_cast<std::uint32_t>(sqlite3_column_int64(statement_, column));
}

std::string_view Query::view(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (data == nullptr) {
    return {};
  }
  return {static_cast<const char*>(data), static_cast<std::size_t>(size)};
}

std::string Query::bytes(int column) const { return std::string(view(column)); }

Result<std::unique_ptr<SqliteDatabase>> SqliteDatabase::open(const std::string& path,
                                                             const std::string& vfs) {
  sqlite3* connection = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code =
      sqlite3_open_v2(path.c_str(), &connection, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (connection == nullptr) {
    return make_error(ErrorCode::kIo, "out of memory while opening " + path);
  }
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(connection));
  if (code != SQLITE_OK) {
    return make_error(code == SQLITE_CANTOPEN ? ErrorCode::kNotFound : ErrorCode::kIo,
                      "cannot open " + path + ": " + sqlite3_errmsg(connection));
  }
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, kBusyTimeoutMs);
  // Instead of SQLite's own checkpoints, which keep to themselves that a sync failed.
  sqlite3_wal_hook(connection, &SqliteDatabase::note_log_pages, database.get());
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  for (const auto& [sql, statement] : statements_) {
    sqlite3_finalize(statement);
  }
  sqlite3_close_v2(connection_);
}

Query SqliteDatabase::query(const char* sql) {
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int code =
        sqlite3_prepare_v3(connection_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) {
      // Text that is no SQL for this schema is a bug; the rest is the disk's doing.
      DFS_ASSERT_MSG((code & 0xff) != SQLITE_ERROR, std::string(sqlite3_errmsg(connection_)));
      (void)fail(code, sql);
      return Query(*this, nullptr);
    }
    found = statements_.emplace(sql, statement).first;
  }
  DFS_ASSERT(sqlite3_stmt_busy(found->second) == 0);
  return Query(*this, found->second);
}

Status SqliteDatabase::execute(const std::string& sql) {
  const int code = sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) {
    return fail(code, sql);
  }
  return ok();
}

Result<std::string> SqliteDatabase::text_of(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(connection_, sql.c_str(), -1, &statement, nullptr);
  if (code != SQLITE_OK) {
    return fail(code, sql);
  }
  std::string text;
  code = sqlite3_step(statement);
  if (code == SQLITE_ROW) {
    const unsigned char* column = sqlite3_column_text(statement, 0);
    text = column == nullptr ? "" : reinterpret_cast<const char*>(column);
  }
  sqlite3_finalize(statement);
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    return fail(code, sql);
  }
  return text;
}

Status SqliteDatabase::begin() {
  DFS_ASSERT(sqlite3_get_autocommit(connection_) != 0);
  broken_ = false;
  return query("BEGIN").run();
}

Status SqliteDatabase::commit() {
  DFS_ASSERT(!broken_);
  DFS_CHECK_OK(query("COMMIT").run());
  return log_pages_ >= kLogPagesMax ? checkpoint() : ok();
}

int SqliteDatabase::note_log_pages(void* self, sqlite3*, const char*, int pages) {
  static_cast<SqliteDatabase*>(self)->log_pages_ = pages;
  return SQLITE_OK;
}

Status SqliteDatabase::checkpoint() {
  const int code =
      sqlite3_wal_checkpoint_v2(connection_, "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED) {
    return ok();  // what somebody reads yet is moved after another commit
  }
  if (code_of(code, sqlite3_system_errno(connection_)) == ErrorCode::kNoSpace) {
    return ok();  // the log keeps it, and grows as long as there is room for that
  }
  return fail(code, "moving the write-ahead log into the database");
}

void SqliteDatabase::rollback() {
  // Some errors end the transaction by themselves.
  if (sqlite3_get_autocommit(connection_) == 0) {
    const int code = sqlite3_exec(connection_, "ROLLBACK", nullptr, nullptr, nullptr);
    DFS_ASSERT_MSG(sqlite3_get_autocommit(connection_) != 0,
                   "the transaction cannot be rolled back, code " + std::to_string(code));
  }
  broken_ = false;
}

Status SqliteDatabase::sync_log() {
  sqlite3_file* log = nullptr;
  const int code = sqlite3_file_control(connection_, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (code != SQLITE_OK) {
    return fail(code, "finding the write-ahead log");
  }
  // No methods: nothing was ever written through this connection, or the database is in memory.
  if (log == nullptr || log->pMethods == nullptr) {
    return ok();
  }
  const int sync_code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
  if (sync_code != SQLITE_OK) {
    broken_ = true;
    note_code(SQLITE_IOERR_FSYNC);
    return make_error(ErrorCode::kIo, "the write-ahead log cannot be synced, SQLite code " +
                                          std::to_string(sync_code));
  }
  return ok();
}

std::int64_t SqliteDatabase::change_count() const { return sqlite3_total_changes64(connection_); }

LogDistrust SqliteDatabase::distrust() const {
  sqlite3_vfs* vfs = nullptr;
  const int code = sqlite3_file_control(connection_, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
  DFS_ASSERT(code == SQLITE_OK);
  const char* path = sqlite3_db_filename(connection_, "main");
  return {vfs, path == nullptr ? "" : path};
}

// Closing would move the log into the database, with frames that may not be what was written.
void SqliteDatabase::note_code(int code) {
  if (is_failed_sync(code) && !failed_sync_) {
    failed_sync_ = true;
    sqlite3_db_config(connection_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
}

Error SqliteDatabase::fail(int code, std::string_view doing) {
  broken_ = true;
  note_code(code);
  return make_error(code_of(code, sqlite3_system_errno(connection_)),
                    std::string(sqlite3_errmsg(connection_)) + " (SQLite code " +
                        std::to_string(code) + ") in: " + std::string(doing.substr(0, 120)));
}

}  // namespace dfs::master
