// SqliteStore: chunks, replicas, servers.
#include "master/store_sqlite/sqlite_database.h"
#include "master/store_sqlite/sqlite_rows.h"
#include "master/store_sqlite/sqlite_store.h"

namespace dfs::master {
namespace {

// The indexes of the schema name these states by number.
static_assert(static_cast<int>(ChunkState::kSealed) == 2);
static_assert(static_cast<int>(ReplicaRowState::kDamaged) == 1);
static_assert(static_cast<int>(ReplicaRowState::kDeleting) == 3);

ChunkRow chunk_at(const Query& query) {
  ChunkRow row;
  row.chunk = ChunkId{query.number(0)};
  row.epoch = Epoch{query.number(1)};
  row.state = static_cast<ChunkState>(query.number32(2));
  row.capacity_bytes = query.number32(3);
  row.length_bytes = query.number32(4);
  row.live_bytes = query.number(5);
  row.policy.replicas = query.number32(6);
  row.policy.min_replicas = query.number32(7);
  row.owner = SessionId{query.number(8)};
  return row;
}

Result<std::vector<ChunkRow>> read_chunks(Query& query) {
  std::vector<ChunkRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back(chunk_at(query));
  }
}

Result<std::vector<ReplicaRow>> read_replicas(Query& query) {
  std::vector<ReplicaRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back({.chunk = ChunkId{query.number(0)},
                    .node = NodeId{query.number32(1)},
                    .state = static_cast<ReplicaRowState>(query.number32(2))});
  }
}

}  // namespace

Result<std::optional<ChunkRow>> SqliteStore::chunk(ChunkId chunk) {
  Query query = database_->query("SELECT * FROM chunks WHERE chunk = ?");
  DFS_TRY(const bool found, query.bind(chunk).step());
  return found ? std::optional(chunk_at(query)) : std::nullopt;
}

Status SqliteStore::put_chunk(const ChunkRow& row) {
  Query query = database_->query("INSERT OR REPLACE INTO chunks VALUES(?,?,?,?,?,?,?,?,?)");
  query.bind(row.chunk, row.epoch, static_cast<std::uint32_t>(row.state), row.capacity_bytes);
  query.bind(row.length_bytes, row.live_bytes, row.policy.replicas, row.policy.min_replicas);
  return query.bind(row.owner).run();
}

Status SqliteStore::erase_chunk(ChunkId chunk) {
  return database_->query("DELETE FROM chunks WHERE chunk = ?").bind(chunk).run();
}

Result<std::vector<ChunkRow>> SqliteStore::scan_chunks(ChunkId after, std::size_t limit) {
  Query query = database_->query("SELECT * FROM chunks WHERE chunk > ? ORDER BY chunk LIMIT ?");
  query.bind(sql_bound(after.value), limit);
  return read_chunks(query);
}

Result<std::vector<ChunkRow>> SqliteStore::scan_unsealed_chunks(ChunkId after, std::size_t limit) {
  Query query = database_->query(
      "SELECT * FROM chunks INDEXED BY chunks_unsealed WHERE state < 2 AND chunk > ? "
      "ORDER BY chunk LIMIT ?");
  query.bind(sql_bound(after.value), limit);
  return read_chunks(query);
}

Result<std::vector<ChunkRow>> SqliteStore::scan_dead_chunks(std::size_t limit) {
  Query query = database_->query(
      "SELECT * FROM chunks INDEXED BY chunks_dead WHERE state = 2 AND live_bytes = 0 "
      "ORDER BY chunk LIMIT ?");
  query.bind(limit);
  return read_chunks(query);
}

Result<ChunkCounts> SqliteStore::chunk_counts() {
  Query query = database_->query(
      "SELECT (SELECT count(*) FROM chunks), "
      "(SELECT count(*) FROM chunks INDEXED BY chunks_unsealed WHERE state < 2), "
      "(SELECT count(DISTINCT chunk) FROM replicas INDEXED BY replicas_damaged WHERE state = 1)");
  ChunkCounts counts;
  DFS_TRY(const bool found, query.step());
  if (found) {
    counts = {.chunks = query.number(0), .open = query.number(1), .damaged = query.number(2)};
  }
  return counts;
}

Result<std::vector<ReplicaRow>> SqliteStore::replicas(ChunkId chunk) {
  Query query =
      database_->query("SELECT chunk, node, state FROM replicas WHERE chunk = ? ORDER BY node");
  query.bind(chunk);
  return read_replicas(query);
}

Status SqliteStore::put_replica(const ReplicaRow& row) {
  Query query = database_->query("INSERT OR REPLACE INTO replicas VALUES(?, ?, ?)");
  return query.bind(row.chunk, row.node, static_cast<std::uint32_t>(row.state)).run();
}

Status SqliteStore::erase_replica(ChunkId chunk, NodeId node) {
  Query query = database_->query("DELETE FROM replicas WHERE chunk = ? AND node = ?");
  return query.bind(chunk, node).run();
}

Result<std::vector<ReplicaRow>> SqliteStore::node_replicas(NodeId node, ChunkId after, ChunkId last,
                                                           std::size_t limit) {
  Query query = database_->query(
      "SELECT chunk, node, state FROM replicas INDEXED BY replicas_by_node "
      "WHERE node = ? AND chunk > ? AND chunk <= ? ORDER BY chunk LIMIT ?");
  query.bind(node, sql_bound(after.value), sql_bound(last.value), limit);
  return read_replicas(query);
}

Result<std::vector<ReplicaRow>> SqliteStore::deleting_replicas(NodeId node, std::size_t limit) {
  Query query = database_->query(
      "SELECT chunk, node, state FROM replicas INDEXED BY replicas_deleting "
      "WHERE state = 3 AND node = ? ORDER BY chunk LIMIT ?");
  query.bind(node, limit);
  return read_replicas(query);
}

Result<std::uint64_t> SqliteStore::node_replica_count(NodeId node) {
  Query query = database_->query("SELECT count(*) FROM replicas WHERE node = ?");
  DFS_TRY(const bool found, query.bind(node).step());
  return found ? query.number(0) : 0;
}

Result<std::vector<NodeRow>> SqliteStore::nodes() {
  Query query =
      database_->query("SELECT node, uuid, address, zone, draining FROM nodes ORDER BY node");
  std::vector<NodeRow> rows;
  for (;;) {
    DFS_TRY(const bool found, query.step());
    if (!found) {
      return rows;
    }
    rows.push_back({.node = NodeId{query.number32(0)},
                    .uuid = query.bytes(1),
                    .address = query.bytes(2),
                    .zone = query.bytes(3),
                    .draining = query.number(4) != 0});
  }
}

Status SqliteStore::put_node(const NodeRow& row) {
  Query query = database_->query("INSERT OR REPLACE INTO nodes VALUES(?, ?, ?, ?, ?)");
  return query.bind(row.node, row.uuid, row.address, row.zone, row.draining).run();
}

}  // namespace dfs::master
