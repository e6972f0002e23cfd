#include "master/store_sqlite/sqlite_store.h"

#include <algorithm>

#include "common/assert.h"
#include "master/store_sqlite/sqlite_database.h"
#include "master/store_sqlite/sqlite_schema.h"

namespace dfs::master {
namespace {

constexpr std::uint32_t kPageBytes = 4096;
// What a log that once grew larger is cut back to.
constexpr std::uint64_t kLogBytesKept = 64u << 20;

constexpr const char* kInMemory = ":memory:";

Status configure(SqliteDatabase& database, const std::string& path, std::uint64_t cache_bytes) {
  DFS_CHECK_OK(database.execute("PRAGMA page_size = " + std::to_string(kPageBytes)));
  DFS_TRY(const std::string journal, database.text_of("PRAGMA journal_mode = WAL"));
  if (journal != "wal" && path != kInMemory) {
    return make_error(ErrorCode::kIo, "it cannot use a write-ahead log, only: " + journal);
  }
  const std::uint64_t cache_kib = std::max<std::uint64_t>(cache_bytes / 1024, 1024);
  DFS_CHECK_OK(database.execute("PRAGMA cache_size = -" + std::to_string(cache_kib)));
  DFS_CHECK_OK(database.execute("PRAGMA journal_size_limit = " + std::to_string(kLogBytesKept)));
  DFS_CHECK_OK(database.execute("PRAGMA synchronous = NORMAL"));
  DFS_CHECK_OK(database.execute("PRAGMA foreign_keys = OFF"));
  DFS_CHECK_OK(database.execute("PRAGMA temp_store = MEMORY"));
  return ok();
}

InodeRow root_directory(const SqliteStore::Options& options) {
  InodeRow root;
  root.attributes.inode = kRootInode;
  root.attributes.mode = kModeDirectory | 0755;
  root.attributes.link_count = 2;
  root.attributes.size_bytes = kPageBytes;
  root.attributes.atime = options.now;
  root.attributes.mtime = options.now;
  root.attributes.ctime = options.now;
  root.attributes.policy = options.root_policy;
  root.attributes.xattr_kinds = 0;
  root.parent = kRootInode;
  return root;
}

}  // namespace

SqliteStore::SqliteStore(std::unique_ptr<SqliteDatabase> database, bool is_distrusted)
    : database_(std::move(database)), is_distrusted_(is_distrusted) {}

SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::string& path,
                                                       const Options& options) {
  auto store = open_checked(path, options);
  if (!store) {
    const Error& error = store.error();
    // A file that SQLite does not recognise at all is refused like another program's database.
    const bool is_foreign = error.code == ErrorCode::kCorrupt &&
                            error.detail.find("not a database") != std::string::npos;
    return make_error(is_foreign ? ErrorCode::kWrongFormat : error.code,
                      "the database " + path + " cannot be used: " + error.detail);
  }
  return store;
}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open_checked(const std::string& path,
                                                               const Options& options) {
  DFS_TRY(auto database, SqliteDatabase::open(path, options.vfs));
  DFS_TRY(const bool is_distrusted, database->distrust().is_noted());
  if (is_distrusted) {
    DFS_CHECK_OK(database->distrust().rewrite_log());
  }
  // Looked at before anything is changed: a foreign or newer file stays as it is.
  DFS_TRY(const SchemaState schema, check_schema(*database));
  DFS_CHECK_OK(configure(*database, path, options.cache_bytes));
  std::unique_ptr<SqliteStore> store(new SqliteStore(std::move(database), is_distrusted));
  if (schema != SchemaState::kCurrent) {
    auto made = schema == SchemaState::kNone ? store->create(options) : store->upgrade();
    if (!made) {
      store->rollback();
      DFS_CHECK_OK(store->note_failed_sync());
      return std::move(made).error();
    }
  }
  return store;
}

Status SqliteStore::create(const Options& options) {
  DFS_ASSERT(options.cluster_id.size() == 32);
  DFS_CHECK_OK(begin());
  DFS_CHECK_OK(create_schema(*database_));
  DFS_CHECK_OK(
      database_->execute("INSERT INTO meta VALUES('cluster_id', '" + options.cluster_id + "')"));
  DFS_CHECK_OK(put_inode(root_directory(options)));
  DFS_CHECK_OK(set_counter(Counter::kNextInode, kRootInode.value + 1));
  DFS_CHECK_OK(set_counter(Counter::kInodes, 1));
  return commit(true);
}

Status SqliteStore::upgrade() {
  DFS_CHECK_OK(begin());
  DFS_CHECK_OK(upgrade_schema(*database_));
  return commit(true);
}

Status SqliteStore::begin() {
  counters_.clear();
  has_set_boot_id_ = false;
  changes_at_begin_ = database_->change_count();
  return database_->begin();
}

Status SqliteStore::commit(bool durable) {
  DFS_CHECK_OK(write_counters());
  DFS_CHECK_OK(database_->commit());
  if (database_->change_count() != changes_at_begin_) {
    unsynced_ = true;
  }
  if (durable && unsynced_) {
    // What synchronous=FULL would do, decided only now that it is known to be wanted.
    DFS_CHECK_OK(database_->sync_log());
    unsynced_ = false;
  }
  if (durable && has_set_boot_id_ && is_distrusted_) {
    DFS_CHECK_OK(database_->distrust().erase_note());
    is_distrusted_ = false;
  }
  return ok();
}

void SqliteStore::rollback() {
  counters_.clear();
  database_->rollback();
}

bool SqliteStore::is_broken() const { return database_->is_broken(); }

bool SqliteStore::has_failed_sync() const { return database_->has_failed_sync(); }

Status SqliteStore::note_failed_sync() {
  return has_failed_sync() ? database_->distrust().note() : ok();
}

Result<std::string> SqliteStore::cluster_id() {
  return database_->text_of("SELECT value FROM meta WHERE key = 'cluster_id'");
}

Result<std::string> SqliteStore::boot_id() {
  if (is_distrusted_) {
    return std::string("of a process whose sync failed");
  }
  return database_->text_of("SELECT value FROM meta WHERE key = 'boot_id'");
}

Status SqliteStore::set_boot_id(const std::string& boot_id) {
  has_set_boot_id_ = true;
  Query query = database_->query("INSERT OR REPLACE INTO meta VALUES('boot_id', ?)");
  return query.bind(boot_id).run();
}

Result<std::uint64_t> SqliteStore::counter(Counter counter) {
  const auto cached = counters_.find(counter);
  if (cached != counters_.end()) {
    return cached->second.value;
  }
  Query query = database_->query("SELECT value FROM counters WHERE counter = ?");
  query.bind(static_cast<std::uint32_t>(counter));
  DFS_TRY(const bool found, query.step());
  const std::uint64_t value = found ? query.number(0) : 0;
  counters_[counter].value = value;
  return value;
}

Status SqliteStore::set_counter(Counter counter, std::uint64_t value) {
  counters_[counter] = {.value = value, .changed = true};
  return ok();
}

Status SqliteStore::write_counters() {
  for (auto& [counter, cached] : counters_) {
    if (!cached.changed) {
      continue;
    }
    Query query = database_->query("INSERT OR REPLACE INTO counters VALUES(?, ?)");
    DFS_CHECK_OK(query.bind(static_cast<std::uint32_t>(counter), cached.value).run());
    cached.changed = false;
  }
  return ok();
}

Result<std::uint64_t> SqliteStore::database_bytes() {
  Query pages = database_->query("PRAGMA page_count");
  DFS_TRY(const bool found, pages.step());
  return found ? pages.number(0) * kPageBytes : 0;
}

}  // namespace dfs::master
