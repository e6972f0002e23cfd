#include "master/store_sqlite/sqlite_schema.h"

#include <string>

namespace dfs::master {
namespace {

// Names, values and addresses are blobs: bytes, not text. Times are seconds and nanoseconds.
// Composite keys are clustered (WITHOUT ROWID): one B-tree is table and index.
constexpr const char* kTables = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(counter INTEGER PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE inodes(
  inode INTEGER PRIMARY KEY, mode INTEGER NOT NULL, link_count INTEGER NOT NULL,
  uid INTEGER NOT NULL, gid INTEGER NOT NULL, device INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL, used_bytes INTEGER NOT NULL,
  atime_s INTEGER NOT NULL, atime_ns INTEGER NOT NULL,
  mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_s INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
  data_version INTEGER NOT NULL, replicas INTEGER NOT NULL, min_replicas INTEGER NOT NULL,
  parent INTEGER NOT NULL, symlink_target BLOB NOT NULL, xattr_kinds INTEGER NOT NULL DEFAULT 0);
CREATE TABLE entries(
  parent INTEGER NOT NULL, cookie INTEGER NOT NULL, name BLOB NOT NULL, inode INTEGER NOT NULL,
  PRIMARY KEY(parent, cookie)) WITHOUT ROWID;
CREATE TABLE windows(
  inode INTEGER NOT NULL, window INTEGER NOT NULL, covered_bytes INTEGER NOT NULL,
  extents BLOB NOT NULL, PRIMARY KEY(inode, window)) WITHOUT ROWID;
CREATE TABLE xattrs(
  inode INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(inode, name)) WITHOUT ROWID;
CREATE TABLE chunks(
  chunk INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, state INTEGER NOT NULL,
  capacity_bytes INTEGER NOT NULL, length_bytes INTEGER NOT NULL, live_bytes INTEGER NOT NULL,
  replicas INTEGER NOT NULL, min_replicas INTEGER NOT NULL, owner INTEGER NOT NULL);
CREATE INDEX chunks_unsealed ON chunks(chunk) WHERE state < 2;
CREATE INDEX chunks_dead ON chunks(chunk) WHERE state = 2 AND live_bytes = 0;
CREATE TABLE replicas(
  chunk INTEGER NOT NULL, node INTEGER NOT NULL, state INTEGER NOT NULL,
  PRIMARY KEY(chunk, node)) WITHOUT ROWID;
CREATE INDEX replicas_by_node ON replicas(node, chunk, state);
CREATE INDEX replicas_deleting ON replicas(node, chunk) WHERE state = 3;
CREATE INDEX replicas_damaged ON replicas(chunk) WHERE state = 1;
CREATE TABLE nodes(
  node INTEGER PRIMARY KEY, uuid BLOB NOT NULL, address BLOB NOT NULL, zone BLOB NOT NULL,
  draining INTEGER NOT NULL);
CREATE TABLE sessions(
  session INTEGER PRIMARY KEY, client_name BLOB NOT NULL, nonce INTEGER NOT NULL,
  opened_s INTEGER NOT NULL, opened_ns INTEGER NOT NULL, acknowledged INTEGER NOT NULL);
CREATE TABLE replies(
  session INTEGER NOT NULL, sequence INTEGER NOT NULL, reply BLOB NOT NULL,
  PRIMARY KEY(session, sequence)) WITHOUT ROWID;
CREATE TABLE orphans(
  inode INTEGER PRIMARY KEY, since_s INTEGER NOT NULL, since_ns INTEGER NOT NULL,
  unlinked_by INTEGER NOT NULL);
)sql";

// From version 1, which knew no ACLs: an inode's row says which kinds of attributes it has
// (kXattrCapability, kXattrOther).
constexpr const char* kUpgradeFrom1 = R"sql(
ALTER TABLE inodes ADD COLUMN xattr_kinds INTEGER NOT NULL DEFAULT 0;
UPDATE inodes SET xattr_kinds = xattr_kinds | 4
  WHERE inode IN (SELECT inode FROM xattrs WHERE name = CAST('security.capability' AS BLOB));
UPDATE inodes SET xattr_kinds = xattr_kinds | 8
  WHERE inode IN (SELECT inode FROM xattrs WHERE name <> CAST('security.capability' AS BLOB));
)sql";
constexpr const char* kOldestVersion = "1";

}  // namespace

Result<SchemaState> check_schema(SqliteDatabase& database) {
  DFS_TRY(const std::string tables, database.text_of("SELECT count(*) FROM sqlite_master"));
  DFS_TRY(const std::string application, database.text_of("PRAGMA application_id"));
  DFS_TRY(const std::string version, database.text_of("PRAGMA user_version"));
  if (tables == "0" && application == "0") {
    return SchemaState::kNone;
  }
  if (application != std::to_string(kApplicationId)) {
    return make_error(ErrorCode::kWrongFormat, "it is an SQLite database, but not a dfs master's");
  }
  if (version == kOldestVersion) {
    return SchemaState::kOlder;
  }
  if (version != std::to_string(kSchemaVersion)) {
    return make_error(ErrorCode::kWrongFormat, "its schema has version " + version +
                                                   ", and this dfs-master knows version " +
                                                   std::to_string(kSchemaVersion) + " only");
  }
  return SchemaState::kCurrent;
}

Status create_schema(SqliteDatabase& database) {
  DFS_CHECK_OK(database.execute(kTables));
  const std::string version = std::to_string(kSchemaVersion);
  DFS_CHECK_OK(database.execute("INSERT INTO meta VALUES('schema_version', '" + version + "')"));
  DFS_CHECK_OK(database.execute("PRAGMA application_id = " + std::to_string(kApplicationId)));
  DFS_CHECK_OK(database.execute("PRAGMA user_version = " + version));
  return ok();
}

Status upgrade_schema(SqliteDatabase& database) {
  DFS_CHECK_OK(database.execute(kUpgradeFrom1));
  const std::string version = std::to_string(kSchemaVersion);
  DFS_CHECK_OK(
      database.execute("UPDATE meta SET value = '" + version + "' WHERE key = 'schema_version'"));
  return database.execute("PRAGMA user_version = " + version);
}

}  // namespace dfs::master
