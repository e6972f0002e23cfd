// One SQLite connection with its cached statements: the only place that calls sqlite3_*.
//
// Statements are prepared once and kept for the life of the connection. A failed call marks the
// connection broken until the transaction is rolled back. Used from one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/ids.h"
#include "common/result.h"
#include "master/store_sqlite/log_distrust.h"

struct sqlite3;
struct sqlite3_stmt;

namespace dfs::master {

// One run of a cached statement; the statement is free again when this goes out of scope. At most
// one Query of the same SQL at a time. Bound bytes must live until the last step().
class Query {
 public:
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // Binds the parameters in order: integers, identities, strings (as blobs).
  template <class... Values>
  Query& bind(const Values&... values) {
    (bind_one(values), ...);
    return *this;
  }

  // True: there is a row to read. False: done. Errors: kIo, kNoSpace, kCorrupt.
  Result<bool> step();
  // For statements without rows.
  Status run();

  // Columns of the current row, from 0.
  std::uint64_t number(int column) const;
  std::int64_t signed_number(int column) const;
  std::uint32_t number32(int column) const;
  std::string bytes(int column) const;
  std::string_view view(int column) const;  // valid until the next step()

 private:
  friend class SqliteDatabase;
  Query(class SqliteDatabase& database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}

  void bind_one(std::int64_t value);
  void bind_one(std::uint64_t value) { bind_one(static_cast<std::int64_t>(value)); }
  void bind_one(std::uint32_t value) { bind_one(static_cast<std::int64_t>(value)); }
  void bind_one(bool value) { bind_one(static_cast<std::int64_t>(value)); }
  void bind_one(std::string_view value);
  void bind_one(const std::string& value) { bind_one(std::string_view(value)); }
  template <class Tag, class Number>
  void bind_one(StrongId<Tag, Number> id) {
    bind_one(id.value);
  }
  void bind_one(const Timestamp& time) {
    bind_one(time.seconds);
    bind_one(time.nanoseconds);
  }

  SqliteDatabase& database_;
  sqlite3_stmt* statement_;  // null: could not be prepared, step() says why
  int next_parameter_ = 1;
};

class SqliteDatabase {
 public:
  // `vfs`: empty for SQLite's own. Errors: kIo, kNotFound (the directory is not there).
  static Result<std::unique_ptr<SqliteDatabase>> open(const std::string& path,
                                                      const std::string& vfs);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // `sql` must be a literal: its address is the key of the cache.
  Query query(const char* sql);
  // Runs uncached SQL, results ignored.
  Status execute(const std::string& sql);
  // The first column of the first row, as text; empty if there is none.
  Result<std::string> text_of(const std::string& sql);

  Status begin();
  // Errors also after the fact: when the log is long and cannot be moved into the database.
  Status commit();
  void rollback();  // no effect outside of a transaction
  // Puts the write-ahead log on stable storage, and with it everything committed.
  Status sync_log();

  // Sticky. What was committed may not be on stable storage, whatever a later sync says; the
  // database is not written to any more, not even when it is closed.
  bool has_failed_sync() const { return failed_sync_; }
  LogDistrust distrust() const;

  bool is_broken() const { return broken_; }
  void mark_broken() { broken_ = true; }  // what was read makes no sense
  // Rows changed since the connection was opened.
  std::int64_t change_count() const;

 private:
  friend class Query;
  explicit SqliteDatabase(sqlite3* connection) : connection_(connection) {}

  static int note_log_pages(void* self, sqlite3*, const char*, int pages);
  Status checkpoint();
  void note_code(int code);
  // The error of the last call, with what was being done; marks the connection broken.
  Error fail(int code, std::string_view doing);

  sqlite3* connection_;
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
  bool broken_ = false;
  bool failed_sync_ = false;
  int log_pages_ = 0;  // in the write-ahead log, as of the last commit
};

}  // namespace dfs::master
