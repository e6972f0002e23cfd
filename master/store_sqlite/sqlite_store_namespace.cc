// SqliteStore: inodes, entries, windows, extended attributes.
#include "common/assert.h"
#include "master/store_sqlite/sqlite_database.h"
#include "master/store_sqlite/sqlite_rows.h"
#include "master/store_sqlite/sqlite_store.h"

namespace dfs::master {
namespace {

EntryRow entry_at(const Query& query) {
  return {.parent = InodeId{query.number(0)},
          .cookie = query.number(1),
          .name = query.bytes(2),
          .inode = InodeId{query.number(3)}};
}

Result<std::vector<EntryRow>> read_entries(Query& query) {
  std::vector<EntryRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back(entry_at(query));
  }
}

}  // namespace

InodeRow inode_at(const Query& query, int first) {
  InodeRow row;
  Attributes& attributes = row.attributes;
  attributes.inode = InodeId{query.number(first)};
  attributes.mode = query.number32(first + 1);
  attributes.link_count = query.number32(first + 2);
  attributes.uid = query.number32(first + 3);
  attributes.gid = query.number32(first + 4);
  attributes.device = query.number(first + 5);
  attributes.size_bytes = query.number(first + 6);
  attributes.used_bytes = query.number(first + 7);
  attributes.atime = time_at(query, first + 8);
  attributes.mtime = time_at(query, first + 10);
  attributes.ctime = time_at(query, first + 12);
  attributes.data_version = query.number(first + 14);
  attributes.policy.replicas = query.number32(first + 15);
  attributes.policy.min_replicas = query.number32(first + 16);
  row.parent = InodeId{query.number(first + 17)};
  row.symlink_target = query.bytes(first + 18);
  attributes.xattr_kinds = query.number32(first + 19);
  return row;
}

Result<std::optional<InodeRow>> SqliteStore::inode(InodeId inode) {
  Query query = database_->query("SELECT * FROM inodes WHERE inode = ?");
  DFS_TRY(const bool found, query.bind(inode).step());
  return found ? std::optional(inode_at(query, 0)) : std::nullopt;
}

Status SqliteStore::put_inode(const InodeRow& row) {
  DFS_ASSERT(row.attributes.inode.is_set());
  const Attributes& a = row.attributes;
  Query query = database_->query(
      "INSERT OR REPLACE INTO inodes VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  query.bind(a.inode, a.mode, a.link_count, a.uid, a.gid, a.device, a.size_bytes, a.used_bytes);
  query.bind(a.atime, a.mtime, a.ctime, a.data_version, a.policy.replicas, a.policy.min_replicas);
  return query.bind(row.parent, row.symlink_target, a.xattr_kinds).run();
}

Status SqliteStore::erase_inode(InodeId inode) {
  return database_->query("DELETE FROM inodes WHERE inode = ?").bind(inode).run();
}

Result<std::vector<InodeRow>> SqliteStore::scan_inodes(InodeId after, std::size_t limit) {
  Query query = database_->query("SELECT * FROM inodes WHERE inode > ? ORDER BY inode LIMIT ?");
  query.bind(sql_bound(after.value), limit);
  std::vector<InodeRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back(inode_at(query, 0));
  }
}

Result<std::vector<EntryRow>> SqliteStore::entries(InodeId parent, std::uint64_t first,
                                                   std::uint64_t last, std::size_t limit) {
  Query query = database_->query(
      "SELECT parent, cookie, name, inode FROM entries "
      "WHERE parent = ? AND cookie >= ? AND cookie <= ? ORDER BY cookie LIMIT ?");
  query.bind(parent, sql_bound(first), sql_bound(last), limit);
  return read_entries(query);
}

Result<std::vector<std::pair<EntryRow, InodeRow>>> SqliteStore::entries_with_inodes(
    InodeId parent, std::uint64_t first, std::size_t limit) {
  // CROSS JOIN keeps the order of the loops: entries outside.
  Query query = database_->query(
      "SELECT e.parent, e.cookie, e.name, e.inode, i.* FROM entries AS e "
      "CROSS JOIN inodes AS i ON i.inode = e.inode "
      "WHERE e.parent = ? AND e.cookie >= ? ORDER BY e.cookie LIMIT ?");
  query.bind(parent, sql_bound(first), limit);
  std::vector<std::pair<EntryRow, InodeRow>> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.emplace_back(entry_at(query), inode_at(query, 4));
  }
}

Status SqliteStore::put_entry(const EntryRow& row) {
  DFS_ASSERT(row.cookie > 0 && row.cookie <= kSqlNumberMax);
  Query query = database_->query("INSERT OR REPLACE INTO entries VALUES(?, ?, ?, ?)");
  return query.bind(row.parent, row.cookie, row.name, row.inode).run();
}

Status SqliteStore::erase_entry(InodeId parent, std::uint64_t cookie) {
  Query query = database_->query("DELETE FROM entries WHERE parent = ? AND cookie = ?");
  return query.bind(parent, cookie).run();
}

Result<std::vector<EntryRow>> SqliteStore::scan_entries(InodeId after_parent,
                                                        std::uint64_t after_cookie,
                                                        std::size_t limit) {
  Query query = database_->query(
      "SELECT parent, cookie, name, inode FROM entries "
      "WHERE (parent, cookie) > (?, ?) ORDER BY parent, cookie LIMIT ?");
  query.bind(sql_bound(after_parent.value), sql_bound(after_cookie), limit);
  return read_entries(query);
}

Result<std::vector<WindowRow>> SqliteStore::windows(InodeId inode, std::uint64_t first,
                                                    std::uint64_t last, std::size_t limit) {
  Query query = database_->query(
      "SELECT window, extents FROM windows "
      "WHERE inode = ? AND window >= ? AND window <= ? ORDER BY window LIMIT ?");
  query.bind(inode, sql_bound(first), sql_bound(last), limit);
  std::vector<WindowRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    auto extents = decode_extents(query.view(1));
    if (!extents) {
      database_->mark_broken();
      return make_error(ErrorCode::kCorrupt, "extents of inode " + std::to_string(inode.value) +
                                                 ": " + extents.error().detail);
    }
    rows.push_back({.window = query.number(0), .extents = std::move(*extents)});
  }
}

Status SqliteStore::put_window(InodeId inode, const WindowRow& row) {
  if (row.extents.empty()) {
    return erase_window(inode, row.window);
  }
  std::uint64_t covered_bytes = 0;
  for (const Extent& extent : row.extents) {
    covered_bytes += extent.length_bytes;
  }
  DFS_ASSERT(covered_bytes <= kExtentWindowBytes);
  const std::string encoded = encode_extents(row.extents);
  Query query = database_->query("INSERT OR REPLACE INTO windows VALUES(?, ?, ?, ?)");
  return query.bind(inode, row.window, covered_bytes, encoded).run();
}

Status SqliteStore::erase_window(InodeId inode, std::uint64_t window) {
  Query query = database_->query("DELETE FROM windows WHERE inode = ? AND window = ?");
  return query.bind(inode, window).run();
}

Result<std::uint64_t> SqliteStore::move_windows(InodeId from, InodeId to, std::uint64_t first) {
  Query covered = database_->query(
      "SELECT coalesce(sum(covered_bytes), 0) FROM windows WHERE inode = ? AND window >= ?");
  DFS_TRY(const bool found, covered.bind(from, sql_bound(first)).step());
  DFS_ASSERT(found);
  const std::uint64_t covered_bytes = covered.number(0);
  Query move = database_->query("UPDATE windows SET inode = ? WHERE inode = ? AND window >= ?");
  DFS_CHECK_OK(move.bind(to, from, sql_bound(first)).run());
  return covered_bytes;
}

Result<std::optional<std::string>> SqliteStore::xattr(InodeId inode, const std::string& name) {
  Query query = database_->query("SELECT value FROM xattrs WHERE inode = ? AND name = ?");
  DFS_TRY(const bool found, query.bind(inode, name).step());
  return found ? std::optional(query.bytes(0)) : std::nullopt;
}

Result<std::vector<std::string>> SqliteStore::xattr_names(InodeId inode) {
  Query query = database_->query("SELECT name FROM xattrs WHERE inode = ? ORDER BY name");
  query.bind(inode);
  std::vector<std::string> names;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return names;
    }
    names.push_back(query.bytes(0));
  }
}

Status SqliteStore::put_xattr(InodeId inode, const std::string& name, const std::string& value) {
  Query query = database_->query("INSERT OR REPLACE INTO xattrs VALUES(?, ?, ?)");
  return query.bind(inode, name, value).run();
}

Status SqliteStore::erase_xattr(InodeId inode, const std::string& name) {
  Query query = database_->query("DELETE FROM xattrs WHERE inode = ? AND name = ?");
  return query.bind(inode, name).run();
}

Status SqliteStore::erase_xattrs(InodeId inode) {
  return database_->query("DELETE FROM xattrs WHERE inode = ?").bind(inode).run();
}

}  // namespace dfs::master
