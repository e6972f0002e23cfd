// SqliteStore: sessions, kept replies, orphans.
#include "master/store_sqlite/sqlite_database.h"
#include "master/store_sqlite/sqlite_rows.h"
#include "master/store_sqlite/sqlite_store.h"

namespace dfs::master {

Result<std::vector<SessionRow>> SqliteStore::sessions() {
  Query query = database_->query(
      "SELECT session, client_name, nonce, opened_s, opened_ns, acknowledged FROM sessions "
      "ORDER BY session");
  std::vector<SessionRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back({.session = SessionId{query.number(0)},
                    .client_name = query.bytes(1),
                    .nonce = query.number(2),
                    .opened = time_at(query, 3),
                    .acknowledged = query.number(5)});
  }
}

Status SqliteStore::put_session(const SessionRow& row) {
  Query query = database_->query("INSERT OR REPLACE INTO sessions VALUES(?, ?, ?, ?, ?, ?)");
  query.bind(row.session, row.client_name, row.nonce, row.opened, row.acknowledged);
  return query.run();
}

Status SqliteStore::erase_session(SessionId session) {
  DFS_CHECK_OK(database_->query("DELETE FROM replies WHERE session = ?").bind(session).run());
  return database_->query("DELETE FROM sessions WHERE session = ?").bind(session).run();
}

Result<std::optional<std::string>> SqliteStore::kept_reply(SessionId session,
                                                           std::uint64_t sequence) {
  Query query = database_->query("SELECT reply FROM replies WHERE session = ? AND sequence = ?");
  DFS_TRY(const bool found, query.bind(session, sequence).step());
  return found ? std::optional(query.bytes(0)) : std::nullopt;
}

Status SqliteStore::keep_reply(SessionId session, std::uint64_t sequence,
                               const std::string& reply) {
  Query query = database_->query("INSERT OR REPLACE INTO replies VALUES(?, ?, ?)");
  return query.bind(session, sequence, reply).run();
}

Status SqliteStore::drop_replies(SessionId session, std::uint64_t up_to_sequence) {
  Query drop = database_->query("DELETE FROM replies WHERE session = ? AND sequence <= ?");
  DFS_CHECK_OK(drop.bind(session, sql_bound(up_to_sequence)).run());
  Query note = database_->query("UPDATE sessions SET acknowledged = ? WHERE session = ?");
  return note.bind(sql_bound(up_to_sequence), session).run();
}

Status SqliteStore::put_orphan(const OrphanRow& row) {
  Query query = database_->query("INSERT OR REPLACE INTO orphans VALUES(?, ?, ?, ?)");
  return query.bind(row.inode, row.since, row.unlinked_by).run();
}

Status SqliteStore::erase_orphan(InodeId inode) {
  return database_->query("DELETE FROM orphans WHERE inode = ?").bind(inode).run();
}

Result<std::vector<OrphanRow>> SqliteStore::scan_orphans(InodeId after, std::size_t limit) {
  Query query = database_->query(
      "SELECT inode, since_s, since_ns, unlinked_by FROM orphans WHERE inode > ? "
      "ORDER BY inode LIMIT ?");
  query.bind(sql_bound(after.value), limit);
  std::vector<OrphanRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back({.inode = InodeId{query.number(0)},
                    .since = time_at(query, 1),
                    .unlinked_by = SessionId{query.number(3)}});
  }
}

Result<std::uint64_t> SqliteStore::orphan_count() {
  Query query = database_->query("SELECT count(*) FROM orphans");
  DFS_TRY(const bool found, query.step());
  return found ? query.number(0) : 0;
}

}  // namespace dfs::master
