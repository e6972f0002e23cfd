#include "tests/sim/sim_vfs.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/sim/sim_events.h"

namespace dfs::sim {
namespace {

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

int execute(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
}

std::string query(sqlite3* db, const std::string& sql) {
  std::string result;
  const auto take = [](void* out, int, char** values, char**) {
    *static_cast<std::string*>(out) += values[0] != nullptr ? values[0] : "NULL";
    return 0;
  };
  const int code = sqlite3_exec(db, sql.c_str(), take, &result, nullptr);
  return code == SQLITE_OK ? result : "error " + std::to_string(code);
}

class SimVfsTest : public ::testing::Test {
 protected:
  void boot(std::uint64_t seed) {
    if (!state_) {
      state_ = std::make_unique<SimDiskState>(seed);
      ASSERT_TRUE(state_->make_directory("/data"));
    }
    vfs_ = std::make_unique<SimVfs>(*state_, events_, seed);
  }

  Database open(const std::string& synchronous) {
    sqlite3* raw = nullptr;
    EXPECT_EQ(sqlite3_open_v2("/data/db", &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              vfs_->name().c_str()),
              SQLITE_OK);
    Database db(raw);
    EXPECT_EQ(query(raw, "pragma journal_mode=wal"), "wal");
    EXPECT_EQ(execute(raw, "pragma synchronous=" + synchronous), SQLITE_OK);
    EXPECT_EQ(execute(raw, "pragma wal_autocheckpoint=20"), SQLITE_OK);
    return db;
  }

  // Inserts rows 1, 2, … in transactions of one until the process dies. The number acknowledged.
  int insert_until_death(sqlite3* db, int count_max) {
    for (int i = 1; i <= count_max; ++i) {
      const std::string row = std::to_string(i) + ", randomblob(" + std::to_string(i * 37) + ")";
      if (execute(db, "insert into t values (" + row + ")") != SQLITE_OK) {
        return i - 1;
      }
    }
    return count_max;
  }

  // One life until a random change, a power loss, and what is found then.
  void crash_once(std::uint64_t seed, const std::string& synchronous, bool must_keep_all) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    state_.reset();
    boot(seed);
    int acknowledged = 0;
    {
      Database db = open(synchronous);
      ASSERT_EQ(execute(db.get(), "create table t (i integer primary key, b blob)"), SQLITE_OK);
      // The directory and the schema are sure before the game starts.
      ASSERT_EQ(execute(db.get(), "pragma wal_checkpoint(full)"), SQLITE_OK);
      vfs_->die_after(SimRandom(seed).below(600), nullptr);
      acknowledged = insert_until_death(db.get(), 150);
      vfs_->kill();
    }
    vfs_.reset();
    state_->crash();
    boot(seed + 1);
    Database db = open(synchronous);
    EXPECT_EQ(query(db.get(), "pragma integrity_check"), "ok");
    const int count = std::stoi(query(db.get(), "select count(*) from t"));
    EXPECT_EQ(query(db.get(), "select coalesce(max(i), 0) from t"), std::to_string(count));
    EXPECT_LE(count, acknowledged + 1);
    if (must_keep_all) {
      EXPECT_GE(count, acknowledged);
    }
    lost_ += acknowledged > count ? 1 : 0;
    died_ += acknowledged < 150 ? 1 : 0;
  }

  SimEvents events_;
  std::unique_ptr<SimDiskState> state_;
  std::unique_ptr<SimVfs> vfs_;
  int lost_ = 0;  // crashes that took an acknowledged transaction
  int died_ = 0;
};

TEST_F(SimVfsTest, full_transactions_survive_power_loss_at_any_change) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    crash_once(seed, "full", true);
  }
  EXPECT_GT(died_, 100);
}

TEST_F(SimVfsTest, normal_transactions_may_be_lost_but_the_database_is_whole) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    crash_once(seed, "normal", false);
  }
  EXPECT_GT(lost_, 20);  // else the simulated disk is too kind to prove anything
}

TEST_F(SimVfsTest, killed_process_loses_no_normal_transaction) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    state_.reset();
    boot(seed);
    int acknowledged = 0;
    {
      Database db = open("normal");
      ASSERT_EQ(execute(db.get(), "create table t (i integer primary key, b blob)"), SQLITE_OK);
      vfs_->die_after(SimRandom(seed).below(300), nullptr);
      acknowledged = insert_until_death(db.get(), 150);
      vfs_->kill();
    }
    vfs_.reset();
    boot(seed);
    Database db = open("normal");
    EXPECT_EQ(query(db.get(), "pragma integrity_check"), "ok");
    EXPECT_GE(std::stoi(query(db.get(), "select count(*) from t")), acknowledged);
  }
}

TEST_F(SimVfsTest, two_connections_see_each_other_and_lock) {
  boot(1);
  Database writer = open("full");
  Database reader = open("full");
  ASSERT_EQ(execute(writer.get(), "create table t (i)"), SQLITE_OK);
  ASSERT_EQ(execute(reader.get(), "begin; select * from t"), SQLITE_OK);
  ASSERT_EQ(execute(writer.get(), "begin immediate; insert into t values (1)"), SQLITE_OK);
  ASSERT_EQ(execute(reader.get(), "rollback"), SQLITE_OK);
  EXPECT_EQ(execute(reader.get(), "begin immediate"), SQLITE_BUSY);
  EXPECT_EQ(query(reader.get(), "select count(*) from t"), "0");
  ASSERT_EQ(execute(writer.get(), "commit"), SQLITE_OK);
  EXPECT_EQ(query(reader.get(), "select count(*) from t"), "1");
}

TEST_F(SimVfsTest, every_method_of_a_dead_process_fails) {
  boot(1);
  Database db = open("full");
  ASSERT_EQ(execute(db.get(), "create table t (i)"), SQLITE_OK);
  bool died = false;
  vfs_->die_after(0, [&died] { died = true; });
  EXPECT_EQ(execute(db.get(), "insert into t values (1)") & 0xff, SQLITE_IOERR);
  EXPECT_TRUE(died);
  EXPECT_NE(execute(db.get(), "select * from t"), SQLITE_OK);
  sqlite3* other = nullptr;
  EXPECT_NE(sqlite3_open_v2("/data/db", &other, SQLITE_OPEN_READWRITE, vfs_->name().c_str()),
            SQLITE_OK);
  sqlite3_close(other);
}

TEST_F(SimVfsTest, a_full_disk_is_sqlite_full) {
  boot(1);
  Database db = open("full");
  ASSERT_EQ(execute(db.get(), "create table t (b blob)"), SQLITE_OK);
  state_->set_capacity(state_->used_bytes() + 10'000);
  EXPECT_EQ(execute(db.get(), "insert into t values (randomblob(100000))"), SQLITE_FULL);
  state_->set_capacity(1 << 30);
  EXPECT_EQ(execute(db.get(), "insert into t values (randomblob(100000))"), SQLITE_OK);
}

TEST_F(SimVfsTest, the_same_seed_gives_the_same_random_numbers_and_time) {
  std::string first;
  for (int i = 0; i < 2; ++i) {
    state_.reset();
    boot(7);
    Database db = open("full");
    const std::string got = query(db.get(), "select hex(randomblob(16)) || datetime('now')");
    EXPECT_TRUE(first.empty() || first == got);
    first = got;
    db.reset();
    vfs_.reset();
  }
  EXPECT_NE(first.find("2026-01-01 00:00:00"), std::string::npos);
}

}  // namespace
}  // namespace dfs::sim
